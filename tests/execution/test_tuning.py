"""Learning rates chosen for each activation: on held-out training images, once, reproducibly."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import torch

from actbench.api.studies import run
from actbench.data.images import open_images, prepare, study_images
from actbench.errors import ActbenchError, UsageError
from actbench.execution.plan import prepare_study
from actbench.execution.tuning import TUNING_SEEDS, choice_table, tuning_plans, with_choice
from actbench.store.store import Store
from actbench.store.tuning import tuning_store
from actbench.store.values import pack_counts
from actbench.study.study import Study, Trial, conflicts, trial_id
from actbench.study.toml import study_from_toml, study_to_toml
from helpers.runs import same_files
from helpers.stored import stored_form
from helpers.synthetic import synthetic_records
from helpers.tuned_study import GRID, TUNED

if TYPE_CHECKING:
    from collections.abc import Callable

    from actbench.api.results import Results
    from helpers.runs import Outcome


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run(TUNED, tmp_path_factory.mktemp("tuned") / "out", workers=0, quiet=True)


@pytest.fixture
def copy(results: Results, tmp_path: Path) -> Path:
    shutil.copytree(results.folder, tmp_path / "copy")
    return tmp_path / "copy"


# what is held out


def test_held_out_images_are_training_images_that_are_not_trained_on() -> None:
    whole = open_images(prepare("digits"))
    part = whole.validation_split(144)
    assert (len(part.train_images), len(part.test_images)) == (1437 - 144, 144)
    together = torch.cat([part.train_images, part.test_images]).flatten(1)
    rows = [sorted(map(bytes, side.numpy())) for side in (together, whole.train_images.flatten(1))]
    assert rows[0] == rows[1]
    assert len(part.train_labels) == len(part.train_images)
    assert len(part.test_labels) == 144
    assert part.checksum != whole.checksum


def test_images_and_labels_correspond_and_the_held_out_part_is_the_same_for_all() -> None:
    whole = open_images(prepare("digits"))
    part, again = whole.validation_split(50), whole.validation_split(50)
    assert torch.equal(part.test_images, again.test_images)
    pairs = zip(whole.train_images, whole.train_labels, strict=True)
    labels = {bytes(image.numpy()): int(label) for image, label in pairs}
    for image, label in zip(part.test_images, part.test_labels, strict=True):
        assert labels[bytes(image.numpy())] == label


def test_more_images_than_there_are_cannot_be_held_out() -> None:
    with pytest.raises(UsageError, match="validation_images is 1437; there are 1437"):
        study_images(prepare("digits"), Study(validation_images=1437))


@pytest.mark.parametrize("with_what", [{"cifar10c": "folder"}, {"tune_lr": GRID}])
def test_held_out_images_exclude_published_corruptions_and_are_not_held_out_twice(
    with_what: dict[str, object],
) -> None:
    with pytest.raises(UsageError, match="validation_images is 10"):
        Study(validation_images=10, **with_what)  # type: ignore[arg-type]


# the choice


def test_each_rate_of_the_grid_is_evaluated_on_a_held_out_tenth(results: Results) -> None:
    table = pd.read_csv(results.folder / "tuning.csv")
    assert list(zip(table["activation"], table["learning_rate"], strict=True)) == [
        (name, rate) for rate in GRID for name in TUNED.activations
    ]
    assert set(table["n"]) == {len(TUNING_SEEDS)}
    # twentieths and two seeds
    assert (table["validation_accuracy"] * 20 * 2 % 1).abs().max() < 1e-9


def test_the_study_runs_with_the_best_rate_on_held_out_images(results: Results) -> None:
    table = pd.read_csv(results.folder / "tuning.csv")
    best = table.sort_values("validation_accuracy").groupby("activation").tail(1)
    expected = dict(zip(best["activation"], best["learning_rate"], strict=True))
    assert dict(results.study.learning_rates) == expected
    chosen = table[table["chosen"]]
    assert dict(zip(chosen["activation"], chosen["learning_rate"], strict=True)) == expected
    # a rate of 0.001 learns nothing in two epochs
    assert set(expected.values()) == {0.05}


@pytest.mark.usefixtures("short_report")
def test_a_tuned_trial_equals_the_trial_of_that_rate(results: Results, tmp_path: Path) -> None:
    fixed = dataclasses.replace(TUNED, tune_lr=(), learning_rate=0.05)
    plain = run(fixed, tmp_path / "fixed", workers=0, quiet=True)
    for path in (plain.folder / "trials").iterdir():
        assert path.read_bytes() == (results.folder / "trials" / path.name).read_bytes()


def test_equal_accuracies_are_decided_by_the_loss_and_no_rate_that_diverged_is_chosen(
    tmp_path: Path,
) -> None:
    plan = prepare_study(dataclasses.replace(TUNED, tune_lr=(0.1, 0.2, 0.3, 0.4)))
    losses = {0.1: 1.2, 0.2: 1.0, 0.3: 1.1, 0.4: 0.1}
    store = Store(tmp_path)
    for part in tuning_plans(plan):
        for trial in part.study.trials():
            rate = part.study.learning_rate
            diverged = rate == 0.4 and trial.seed == TUNING_SEEDS[1]
            name, status = trial_id(part.study, trial), "diverged" if diverged else "ok"
            made = synthetic_records(part.study, failed={(trial.activation, trial.seed): status})
            record = made[name]
            if not diverged:
                record = dataclasses.replace(
                    record,
                    clean_accuracy=0.5,
                    clean_loss=losses[rate],
                    clean_correct=pack_counts(np.array([1, 0], np.uint8)),
                )
            tuning_store(store).open(part.study).write(stored_form(record))
    tuned = with_choice(plan, choice_table(plan, store)).study
    assert tuned.learning_rates == (("relu", 0.2), ("tanh", 0.2))


def test_the_report_shows_that_rates_were_tuned_and_which(results: Results) -> None:
    for name in ("summary.md", "report.html", "summary.tex"):
        text = (results.folder / name).read_text(encoding="utf-8")
        assert "learning rate tuned for each activation" in text
        assert "best learning rate of 0.001, 0.05 on held" in text


# repeating and resuming


def test_the_stored_study_repeats_the_run_without_choosing_again(
    results: Results, tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    config = str(results.folder / "study.toml")
    done = actbench_here("run", "--config", config, "--workers", "0", "--out", "again")
    assert done.code == 0, done.err
    assert same_files(results.folder, tmp_path / "again") == []
    assert not (tmp_path / "again" / "tuning").exists()


def test_an_interrupted_choice_resumes_to_the_same_bytes(results: Results, copy: Path) -> None:
    shutil.rmtree(copy / "trials")
    missing, *_ = sorted((copy / "tuning" / "trials").iterdir())
    missing.unlink()
    others = {p: p.stat().st_mtime_ns for p in (copy / "tuning" / "trials").iterdir()}
    run(TUNED, copy, workers=0, quiet=True)
    assert same_files(results.folder, copy) == []
    assert missing.read_bytes() == (results.folder / "tuning/trials" / missing.name).read_bytes()
    assert {p: p.stat().st_mtime_ns for p in others} == others


@pytest.mark.usefixtures("short_report")
def test_adding_activations_and_seeds_does_not_change_stored_rates(copy: Path) -> None:
    before = {p.name: p.read_bytes() for p in (copy / "trials").iterdir()}
    grown = dataclasses.replace(TUNED, activations=("relu", "tanh", "elu"), seeds=(0, 1))
    rates = dict(run(grown, copy, workers=0, quiet=True).study.learning_rates)
    assert set(rates) == {"relu", "tanh", "elu"}
    after = {p.name: p.read_bytes() for p in (copy / "trials").iterdir()}
    assert len(after) == 6
    assert {name: after[name] for name in before} == before
    table = pd.read_csv(copy / "tuning.csv")
    assert table.groupby("activation").size().to_dict() == dict.fromkeys(rates, len(GRID))
    assert dict(table[table["chosen"]][["activation", "learning_rate"]].to_numpy()) == rates


def test_a_folder_tuned_in_another_way_is_refused(
    copy: Path, actbench_here: Callable[..., Outcome]
) -> None:
    for tune_lr in ((), (0.01, 0.02)):
        other = dataclasses.replace(TUNED, tune_lr=tune_lr)
        Path("other.toml").write_text(study_to_toml(other))
        trials = sorted((copy / "tuning" / "trials").iterdir())
        done = actbench_here("run", "--config", "other.toml", "--workers", "0", "--out", str(copy))
        assert done.code == 3
        assert "tune_lr is [0.001, 0.05] there" in done.err
        assert sorted((copy / "tuning" / "trials").iterdir()) == trials


def test_a_dry_run_counts_what_the_choice_needs(
    copy: Path, actbench_here: Callable[..., Outcome]
) -> None:
    Path("tuned.toml").write_text(study_to_toml(TUNED))
    asked = ("run", "--config", "tuned.toml", "--dry-run", "--json", "--out")
    new = json.loads(actbench_here(*asked, "new").out)
    assert new["trials_to_tune"] == 2 * 2 * len(TUNING_SEEDS)
    assert not any(trial["stored"] for trial in new["trials"])
    done = json.loads(actbench_here(*asked, str(copy)).out)
    assert done["trials_to_tune"] == 0
    assert all(trial["stored"] for trial in done["trials"])
    assert "8 trials first, to choose" in actbench_here(*asked[:4], "--out", "new").out


def test_a_grid_of_diverging_rates_is_an_error(tmp_path: Path) -> None:
    relu = dataclasses.replace(TUNED, model="cnn", activations=("relu",), epochs=1)
    study = dataclasses.replace(relu, tune_lr=(1e5, 1e6))
    with pytest.raises(ActbenchError, match="every learning rate of the grid made relu diverge"):
        run(study, tmp_path / "out", workers=0, quiet=True)


# the study


def test_rates_are_read_back_from_the_studys_toml() -> None:
    study = dataclasses.replace(TUNED, learning_rates=(("relu", 0.1 + 0.2), ("tanh", 0.05)))
    assert study_from_toml(study_to_toml(study), "here") == study
    assert study.learning_rate_of("relu") == 0.1 + 0.2
    assert study.learning_rate_of("elu") == study.learning_rate


def test_a_trials_name_depends_on_its_own_rate() -> None:
    study = Study(learning_rates=(("relu", 0.03), ("tanh", 0.1)))
    other = Study(learning_rates=(("relu", 0.03), ("tanh", 0.2)), tune_lr=(0.03, 0.2))
    plain = Study(learning_rate=0.03)
    relu, tanh, elu = (Trial(name, 0) for name in ("relu", "tanh", "elu"))
    assert trial_id(study, relu) == trial_id(other, relu) == trial_id(plain, relu)
    assert trial_id(study, tanh) != trial_id(other, tanh)
    assert trial_id(study, elu) == trial_id(Study(), elu)


def test_studies_of_one_folder_may_grow_but_not_change_a_rate() -> None:
    small = Study(learning_rates=(("relu", 0.03),))
    large = Study(learning_rates=(("relu", 0.03), ("tanh", 0.1)))
    assert conflicts(small, large) == conflicts(small, Study()) == []
    (line,) = conflicts(large, Study(learning_rates=(("tanh", 0.2),)))
    assert line == "the learning rate of tanh is 0.1 there and 0.2 here"


def test_activations_with_rates_are_resolved() -> None:
    study = Study(activations=("relu",), learning_rates=(("leaky_relu:0.10", 0.1),))
    assert prepare_study(study).study.learning_rates == (("leaky_relu:0.1", 0.1),)


def test_without_a_grid_there_is_nothing_to_choose(tmp_path: Path) -> None:
    plan = prepare_study(dataclasses.replace(TUNED, tune_lr=()))
    assert tuning_plans(plan) == []
    assert with_choice(plan, choice_table(plan, Store(tmp_path))) == plan


def test_a_rate_and_a_grid_of_rates_exclude_each_other(
    actbench_here: Callable[..., Outcome],
) -> None:
    done = actbench_here("run", "--tune-lr", "0.01,0.1", "--lr", "0.1")
    assert done.code == 2
    assert "--tune-lr chooses the learning rate" in done.err
