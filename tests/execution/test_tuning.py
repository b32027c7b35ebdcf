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
from actbench.execution.tuning import (
    TUNING_SEEDS,
    candidates,
    pending_choice,
    tuning_plans,
    with_choice,
)
from actbench.store.store import Store
from actbench.store.tuning import tuning_store
from actbench.store.values import pack_counts
from actbench.study.study import Study, Trial, conflicts, trial_id
from actbench.study.toml import study_from_toml, study_to_toml
from helpers.runs import same_files
from helpers.stored import stored_form
from helpers.synthetic import synthetic_records

if TYPE_CHECKING:
    from collections.abc import Callable

    from actbench.api.results import Results
    from helpers.runs import Outcome

GRID = (0.001, 0.05)
TUNED = Study(
    model="mlp:depth=1,width=16",
    activations=("relu", "tanh"),
    seeds=(0,),
    train_images=200,
    epochs=2,
    batch_size=16,
    optimizer="sgd:momentum=0.9",
    schedule="constant",
    corruptions=(),
    tune_lr=GRID,
)


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
    tuned = with_choice(plan, store).study
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
    assert pending_choice(plan, Store(tmp_path)) == []
    assert with_choice(plan, Store(tmp_path)) == plan


def test_a_rate_and_a_grid_of_rates_exclude_each_other(
    actbench_here: Callable[..., Outcome],
) -> None:
    done = actbench_here("run", "--tune-lr", "0.01,0.1", "--lr", "0.1")
    assert done.code == 2
    assert "--tune-lr chooses the learning rate" in done.err


# random search in tuning studies

SEARCH = "random:trials=2,studies=2,lr=0.001/0.1,weight_decay=1e-4/1e-2"
SEARCHED = dataclasses.replace(
    TUNED, tune_lr=(), tune=SEARCH, seeds=(0, 1), epochs=1, train_images=100
)
OTHER_FILES = ("tuning.csv", "tuning_studies.csv")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run(SEARCHED, tmp_path_factory.mktemp("searched") / "out", workers=0, quiet=True)


def radical_inverse(number: int, base: int) -> float:
    value, share = 0.0, 1.0
    while number:
        number, digit = divmod(number, base)
        share /= base
        value += digit * share
    return value


def test_the_points_of_a_search_are_haltons_shifted_and_each_study_has_its_own() -> None:
    ends, decays = (0.003, 0.3), (1e-5, 1e-2)
    spec = "random:trials=4,studies={},lr=0.003/0.3,weight_decay=1e-5/1e-2"
    found = candidates(Study(tune=spec.format(3)))
    assert [(c.study, c.trial) for c in found] == [(s, t) for s in (1, 2, 3) for t in (1, 2, 3, 4)]
    for base, (low, high), values in (
        (2, ends, [c.learning_rate for c in found]),
        (3, decays, [c.weight_decay for c in found]),
    ):
        assert all(low <= value <= high for value in values)
        places = np.log(np.array(values) / low) / np.log(high / low)
        expected = [radical_inverse(number, base) for number in range(len(values))]
        turned = (places - places[0] - expected + 0.5) % 1 - 0.5
        assert np.abs(turned).max() < 1e-4  # settings have four digits
    seeds = [c.seeds for c in found]
    assert [seeds.count(each) for each in dict.fromkeys(seeds)] == [4, 4, 4]
    assert candidates(Study(tune=spec.format(2))) == found[:8]
    alone = candidates(Study(tune="random:lr=0.003/0.3", weight_decay=0.5))
    assert {c.weight_decay for c in alone} == {0.5}


def test_each_tuning_study_chooses_by_its_own_trials(searched: Results) -> None:
    table = pd.read_csv(searched.folder / "tuning.csv")
    settings = ["study", "trial", "learning_rate", "weight_decay"]
    sides = [table.loc[table["activation"] == a, settings].to_numpy() for a in ("relu", "tanh")]
    assert np.array_equal(*sides)
    assert len(sides[0]) == 4
    seeds = {c.seeds[0]: c.study for c in candidates(searched.study)}
    best: dict[tuple[int, str], tuple[float, float]] = {}
    for path in (searched.folder / "tuning" / "trials").iterdir():
        record = json.loads(path.read_text())
        if record["seed"] not in seeds:
            continue
        key = seeds[record["seed"]], record["activation"]
        score = record["clean"]["accuracy"], -record["clean"]["loss"]
        best[key] = max(score, best.get(key, score))
    chosen = table[table["chosen"]].set_index(["study", "activation"])
    assert len(chosen) == len(best) == 4
    for key, (accuracy, loss) in best.items():
        row = chosen.loc[key]
        assert (row["validation_accuracy"], -row["validation_loss"]) == pytest.approx(
            (accuracy, loss), rel=1e-9
        )
    for name in SEARCHED.activations:
        rows = chosen.xs(name, level="activation").sort_index()
        expected = list(zip(rows["learning_rate"], rows["weight_decay"], strict=True))
        assert searched.study.tuned_settings(name) == expected


@pytest.mark.usefixtures("short_report")
def test_the_comparison_of_a_tuning_study_is_that_of_a_study_with_its_settings(
    searched: Results, tmp_path: Path
) -> None:
    (other,) = searched.study.retuned
    plain = dataclasses.replace(SEARCHED, tune="", tuned=other.tuned)
    expected = run(plain, tmp_path / "plain", workers=0, quiet=True).comparisons
    expected = expected[expected["metric"] == "clean_accuracy"].iloc[0]
    table = pd.read_csv(searched.folder / "tuning_studies.csv")
    first, second = table[table["activation"] == "tanh"].to_dict("records")
    numbers = ["n", "difference", "ci_low", "ci_high", "p_holm"]
    assert [second[name] for name in numbers] == pytest.approx(list(expected[numbers]), rel=1e-9)
    assert second["verdict"] == expected["verdict"]
    assert (first["study"], second["study"]) == (1, 2)
    assert first["difference"] == pytest.approx(
        searched.comparisons.set_index(["activation", "metric"]).loc[
            ("tanh", "clean_accuracy"), "difference"
        ]
    )


def test_an_interrupted_search_resumes_to_the_same_bytes(
    searched: Results, tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(searched.folder, copy)
    trials = copy / "tuning" / "trials"
    (other,), own = searched.study.retuned, searched.study
    lost = [
        trials / f"{trial_id(other, Trial('tanh', 1))}.json",
        min(p for p in trials.iterdir() if "-seed0-" not in p.name and "-seed1-" not in p.name),
        copy / "trials" / f"{trial_id(own, Trial('relu', 0))}.json",
    ]
    for path in lost:
        path.unlink()
    Path("search.toml").write_text(study_to_toml(SEARCHED))
    asked = ("run", "--config", "search.toml", "--out")
    dry = actbench_here(*asked, "copy", "--dry-run", "--json")
    assert json.loads(dry.out)["trials_to_tune"] == 1
    kept = {p: p.stat().st_mtime_ns for p in trials.iterdir()}
    assert actbench_here(*asked, "copy").code in (0, 1)
    assert same_files(searched.folder, copy) == []
    for name in (*OTHER_FILES, *(str(path.relative_to(copy)) for path in lost)):
        assert (copy / name).read_bytes() == (searched.folder / name).read_bytes()
    assert {p: p.stat().st_mtime_ns for p in kept} == kept
    assert (
        "4 trials last, with the settings of the further"
        in actbench_here(*asked, "new", "--dry-run").out
    )
    done = json.loads(actbench_here(*asked, "copy", "--dry-run", "--json").out)
    assert (done["trials_to_tune"], done["trials_with_other_settings"]) == (0, 0)
    for trial in other.trials():
        (trials / f"{trial_id(other, trial)}.json").unlink()
    assert actbench_here("report", "copy").code == 0
    assert not (copy / "tuning_studies.csv").exists()


def test_a_setting_that_diverged_is_not_chosen_and_a_study_of_these_is_an_error(
    tmp_path: Path,
) -> None:
    plan, store = prepare_study(SEARCHED), Store(tmp_path)
    parts = list(zip(tuning_plans(plan), candidates(plan.study), strict=True))
    for part, candidate in parts:
        lost = {("tanh", candidate.seeds[0]): "diverged"} if candidate.trial == 1 else {}
        for record in synthetic_records(part.study, failed=lost).values():
            tuning_store(store).open(part.study).write(stored_form(record))
    tuned = with_choice(plan, store).study
    second = [(c.learning_rate, c.weight_decay) for _, c in parts if c.trial == 2]
    assert tuned.tuned_settings("tanh") == second
    part, candidate = parts[-1]
    failed = synthetic_records(part.study, failed={("tanh", candidate.seeds[0]): "crashed"})
    tuning_store(store).open(part.study).write(
        stored_form(failed[trial_id(part.study, Trial("tanh", candidate.seeds[0]))])
    )
    with pytest.raises(ActbenchError, match="every trial of tuning study 2 made tanh diverge"):
        with_choice(plan, store)


@pytest.mark.parametrize("option", [("--lr", "0.1"), ("--weight-decay", "0.1")])
def test_a_search_excludes_what_it_chooses(
    option: tuple[str, str], actbench_here: Callable[..., Outcome]
) -> None:
    done = actbench_here("run", "--tune", SEARCH, *option)
    assert done.code == 2
    assert f"so {option[0]} would do nothing; give one" in done.err
