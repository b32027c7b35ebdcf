"""Random search in several tuning studies: each chooses by its own trials, reproducibly."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from actbench.api.studies import run
from actbench.errors import ActbenchError
from actbench.execution.plan import prepare_study
from actbench.execution.tuning import candidates, choice_table, tuning_plans, with_choice
from actbench.store.store import Store
from actbench.store.tuning import tuning_store
from actbench.study.study import Study, Trial, trial_id
from actbench.study.toml import study_to_toml
from helpers.runs import same_files
from helpers.stored import stored_form
from helpers.synthetic import synthetic_records
from helpers.tuned_study import TUNED

if TYPE_CHECKING:
    from collections.abc import Callable

    from actbench.api.results import Results
    from helpers.runs import Outcome

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
    assert [(c.study, c.point) for c in found] == [(s, t) for s in (1, 2, 3) for t in (1, 2, 3, 4)]
    for base, (low, high), values in (
        (2, ends, [c.learning_rate for c in found]),
        (3, decays, [c.weight_decay for c in found]),
    ):
        assert all(low <= value <= high for value in values)
        positions = np.log(np.array(values) / low) / np.log(high / low)
        expected = [radical_inverse(number, base) for number in range(len(values))]
        turned = (positions - positions[0] - expected + 0.5) % 1 - 0.5
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
        lost = {("tanh", candidate.seeds[0]): "diverged"} if candidate.point == 1 else {}
        for record in synthetic_records(part.study, failed=lost).values():
            tuning_store(store).open(part.study).write(stored_form(record))
    tuned = with_choice(plan, choice_table(plan, store)).study
    second = [(c.learning_rate, c.weight_decay) for _, c in parts if c.point == 2]
    assert tuned.tuned_settings("tanh") == second
    part, candidate = parts[-1]
    failed = synthetic_records(part.study, failed={("tanh", candidate.seeds[0]): "crashed"})
    tuning_store(store).open(part.study).write(
        stored_form(failed[trial_id(part.study, Trial("tanh", candidate.seeds[0]))])
    )
    with pytest.raises(ActbenchError, match="every trial of tuning study 2 made tanh diverge"):
        with_choice(plan, choice_table(plan, store))


@pytest.mark.parametrize("option", [("--lr", "0.1"), ("--weight-decay", "0.1")])
def test_a_search_excludes_what_it_chooses(
    option: tuple[str, str], actbench_here: Callable[..., Outcome]
) -> None:
    done = actbench_here("run", "--tune", SEARCH, *option)
    assert done.code == 2
    assert f"so {option[0]} would do nothing; give one" in done.err
