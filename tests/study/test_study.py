"""Studies: values, trials and their names, and seeds of generators."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actbench.errors import UsageError
from actbench.study.fields import MAX_SEED
from actbench.study.study import Study, Trial, conflicts, next_interim_analysis, seed_for, trial_id
from actbench.study.toml import study_from_toml, study_to_toml


def test_the_default_study_is_relu_and_two_leaky_slopes_with_ten_seeds_on_digits() -> None:
    study = Study()
    assert study.dataset == "digits"
    assert study.model == "cnn"
    assert study.baseline == "relu"
    assert study.activations == ("relu", "leaky_relu:0.1", "leaky_relu:0.5")
    assert study.seeds == tuple(range(10))
    assert study.corruptions == ("gaussian_noise:sigma=0.05/0.1/0.2/0.4/0.8",)


def test_the_default_recipe_is_adam_with_a_cosine() -> None:
    study = Study()
    recipe = (study.epochs, study.batch_size, study.learning_rate, study.optimizer)
    assert recipe == (10, 64, 0.002, "adam")
    assert (study.schedule, study.augment, study.normalise) == (
        "cosine:warmup=0.1",
        ("auto",),
        "half",
    )
    assert study.weight_decay == 0


def test_a_seed_is_63_bits_of_the_hash_of_its_named_context() -> None:
    digest = hashlib.sha256(json.dumps(["batch order", 3, 1]).encode()).digest()
    assert seed_for("batch order", 3, 1) == int.from_bytes(digest[:8], "big") >> 1
    assert 0 <= seed_for("x") < 2**63


def test_draws_for_different_purposes_have_different_seeds() -> None:
    contexts = [
        ("flip", 1, 2),
        ("batch order", 1, 2),
        ("flip", 12),
        ("flip", "1", 2),
        ("flip", 2, 1),
    ]
    assert len({seed_for(*context) for context in contexts}) == len(contexts)


def test_a_count_of_seeds_is_the_seeds_from_zero() -> None:
    assert Study(seeds=3).seeds == (0, 1, 2)  # type: ignore[arg-type]


def test_a_missing_baseline_is_added_first() -> None:
    study = Study(activations=("tanh", "elu"))
    assert study.activations == ("relu", "tanh", "elu")


def test_trials_are_in_the_order_of_seeds_so_that_an_interrupted_study_has_pairs() -> None:
    study = Study(activations=("relu", "tanh"), seeds=(7, 3))
    assert study.trials() == [
        Trial("relu", 7),
        Trial("tanh", 7),
        Trial("relu", 3),
        Trial("tanh", 3),
    ]


def test_paths_and_lists_in_tuples_are_read_as_their_text_and_as_tuples() -> None:
    study = Study(data_dir=Path("images"), cifar10c=Path("c"), learning_rates=(["relu", 0.1],))
    assert study.data_dir == "images"
    assert study.cifar10c == "c"
    assert study.learning_rates == (("relu", 0.1),)


def test_an_integer_is_accepted_for_a_number() -> None:
    study = Study(learning_rate=1, weight_decay=0)
    assert (study.learning_rate, study.weight_decay) == (1.0, 0.0)
    assert study == Study(learning_rate=1.0, weight_decay=0.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dataset", ""),
        ("dataset", 3),
        ("dataset", "two\nlines"),
        ("dataset", np.zeros((3, 2))),
        ("dataset_name", "tab\there"),
        ("data_checksum", "sha256:abc"),
        ("train_images", -1),
        ("train_images", 1.0),
        ("model", []),
        ("activations", "relu"),
        ("activations", ()),
        ("activations", ("relu", 3)),
        ("activations", ("relu", " ")),
        ("baseline", None),
        ("seeds", 0),
        ("seeds", -3),
        ("seeds", True),
        ("seeds", ()),
        ("seeds", (1, 1)),
        ("seeds", (0, -1)),
        ("seeds", (1.0,)),
        ("seeds", ([1],)),
        ("seeds", (MAX_SEED + 1,)),
        ("seeds", "5"),
        ("epochs", 0),
        ("epochs", True),
        ("epochs", 2.0),
        ("epochs", 10**9 + 1),
        pytest.param("epochs", 10**6000, id="epochs-6001 digits"),
        ("batch_size", 0),
        ("learning_rate", 0),
        ("learning_rate", -0.1),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("learning_rate", "0.1"),
        ("learning_rate", 1e7),
        pytest.param("learning_rate", 10**400, id="learning_rate-401 digits"),
        ("optimizer", ""),
        ("optimizer", 3),
        ("schedule", None),
        ("steps", -1),
        ("clip_gradients", -1),
        ("label_smoothing", 1),
        ("train_against", []),
        ("normalise", "imagenet"),
        ("pixel_statistics", ((0.5, 0.2),)),
        ("pixel_statistics", ((0.5, 0.2), (0.5, 0.2), (0.5, 0))),
        ("validation", 0.6),
        ("select", "first"),
        ("decay", "all"),
        ("weight_decay", -1e-9),
        ("augment", "flip"),
        ("augment", ("",)),
        ("corruptions", "noise"),
        ("corruptions", ("",)),
        ("attacks", "fgsm"),
        ("attack_images", 0),
        ("epsilons", ()),
        ("epsilons", (0,)),
        ("epsilons", (0.1, 0.1)),
        ("epsilons", ("8/255",)),
        ("epsilons", (float("nan"),)),
        ("margin", 0),
        ("margin", 2),
        ("interim_analyses", (5, 3)),
        ("interim_analyses", (1, 5)),
    ],
)
def test_a_wrong_value_is_named_in_one_line_with_what_is_expected(name: str, value: Any) -> None:
    with pytest.raises(UsageError) as error:
        Study(**{name: value})
    assert str(error.value).startswith(f"{name} is ")
    assert "must be" in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 250


def test_a_number_above_the_maximum_is_refused_with_the_maximum() -> None:
    with pytest.raises(UsageError, match="1000000"):
        Study(learning_rate=1e7)
    with pytest.raises(UsageError, match="100000"):
        Study(seeds=100_001)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["activations", "corruptions"])
def test_a_name_given_twice_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="'gelu' twice"):
        Study(**{name: ["relu", "gelu", "gelu"]})


def test_a_trial_id_is_readable_unique_and_safe_as_a_file_name() -> None:
    study = Study(activations=("relu", "my.mod:Act:alpha=0.1", "../../etc:passwd", "x" * 300))
    names = [trial_id(study, trial) for trial in study.trials()]
    assert len(set(names)) == len(names)
    assert names[0].startswith("relu-seed0-")
    for name in names:
        assert len(name) <= 120
        assert set(name) <= set(
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.=-_"
        )
        assert not name.startswith(".")


def test_a_trial_id_changes_with_everything_that_decides_the_training() -> None:
    study, trial = Study(), Trial("relu", 0)
    changes: dict[str, Any] = {
        "dataset": "mnist",
        "data_checksum": f"sha256:{'0' * 64}",
        "train_images": 7,
        "model": "resnet20",
        "epochs": 3,
        "batch_size": 3,
        "learning_rate": 0.3,
        "optimizer": "adamw",
        "schedule": "cosine",
        "steps": 3,
        "clip_gradients": 1.0,
        "label_smoothing": 0.1,
        "train_against": "fgsm",
        "normalise": "dataset",
        "validation": 0.1,
        "decay": "weights",
        "weight_decay": 0.3,
        "augment": ("flip",),
    }
    names = {trial_id(dataclasses.replace(study, **{k: v}), trial) for k, v in changes.items()}
    assert len(names | {trial_id(study, trial)}) == len(changes) + 1


def test_a_trial_id_stays_when_the_study_grows_or_its_data_moves() -> None:
    study, trial = Study(), Trial("relu", 0)
    grown = Study(
        activations=("tanh", "relu"),
        baseline="tanh",
        seeds=(9, 0),
        data_dir="elsewhere",
        dataset_name="Digits",
        margin=0.01,
    )
    assert trial_id(grown, trial) == trial_id(study, trial)


def test_a_trial_id_stays_whatever_is_measured() -> None:
    study, trial = Study(), Trial("relu", 0)
    measured = Study(
        corruptions=("fog",),
        cifar10c="elsewhere",
        cifar10c_checksums=(("fog", "sha256:1"),),
        attacks=("fgsm",),
        attack_images=7,
        epsilons=(0.1,),
    )
    assert trial_id(measured, trial) == trial_id(study, trial)
    assert conflicts(study, measured) == conflicts(measured, study) == []


def test_a_study_gets_new_seeds_up_to_its_last_interim_analysis() -> None:
    study = Study(seeds=(4, 7), interim_analyses=(2, 3, 5))
    grown = next_interim_analysis(study)
    assert grown is not None
    assert grown.seeds == (4, 7, 8)
    last = next_interim_analysis(grown)
    assert last is not None
    assert last.seeds == (4, 7, 8, 9, 10)
    assert next_interim_analysis(last) is None


def test_equal_recipes_are_equal_studies() -> None:
    first = Study(
        optimizer="sgd:nesterov=true,momentum=0.9",
        augment=["crop:4", "flip"],
        train_against="pgd:steps=10,step=2/255,epsilon=0.5,norm=l2",
    )
    second = Study(
        optimizer="sgd:momentum=9e-1,nesterov=True",
        augment=("flip", "crop"),
        train_against="pgd:norm=l2,epsilon=1/2",
    )
    assert first == second
    assert first.train_against == "pgd:epsilon=0.5,norm=l2"
    assert study_from_toml(study_to_toml(first), "here") == first
