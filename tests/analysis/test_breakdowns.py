"""Differences by corruption and level, and accuracy by class, held to scipy and to plain sums."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from actbench.analysis.breakdowns import (
    CLASS_COLUMNS,
    DIFFERENCE_COLUMNS,
    SUMMARY_COLUMNS,
    class_summary,
    classes_table,
    corruption_differences,
)
from actbench.analysis.frames import Frames
from actbench.store.result import AttackScore, CorruptionScore, TrialResult

if TYPE_CHECKING:
    from helpers.runs import TinyRun

ACTIVATIONS = ("relu", "elu", "gelu")
SEEDS = range(4)
IMAGES = (30, 40, 0)  # the last class has no test images
ATTACKED = (3, 0, 0)
NOISE = "gaussian_noise:sigma=0.1/0.2"


def result_of(activation: str, seed: int) -> TrialResult:
    draw = np.random.default_rng([seed, *activation.encode()])

    def score(corruption: str, severity: int) -> CorruptionScore:
        correct = tuple(int(draw.integers(0, n + 1)) for n in IMAGES)
        return CorruptionScore(corruption, severity, sum(correct) / 70, 1.0, 0.1, correct)

    return TrialResult(
        trial_id=f"{activation}-{seed}",
        activation=activation,
        seed=seed,
        status="ok",
        corruptions=(
            *(score("fog", severity) for severity in range(1, 6)),
            *(score(NOISE, severity) for severity in (1, 2)),
        ),
        attacks=(AttackScore("pgd", 8 / 255, 1 / 3, (int(draw.integers(0, 4)), 0, 0), ATTACKED),),
        class_images=IMAGES,
        class_correct=(int(draw.integers(10, 31)), int(draw.integers(10, 41)), 0),
    )


@pytest.fixture(scope="module")
def records() -> list[TrialResult]:
    """All trials but one, which crashed, so that gelu has three pairs."""
    whole = [result_of(activation, seed) for activation in ACTIVATIONS for seed in SEEDS]
    crashed = TrialResult(trial_id="x", activation="gelu", seed=2, status="crashed")
    return [crashed if (r.activation, r.seed) == ("gelu", 2) else r for r in whole]


def test_a_difference_is_paired_by_seed_as_scipy_does(records: list[TrialResult]) -> None:
    table = corruption_differences(records, "relu")
    assert tuple(table) == DIFFERENCE_COLUMNS
    assert len(table) == 2 * (5 + 2)
    for row in table.itertuples():
        sides = [
            {
                r.seed: score.accuracy
                for r in records
                if r.activation == activation
                for score in r.corruptions
                if (score.corruption, score.severity) == (row.corruption, row.severity)
            }
            for activation in (row.activation, "relu")
        ]
        seeds = sorted(set(sides[0]) & set(sides[1]))
        test = stats.ttest_rel(*([side[seed] for seed in seeds] for side in sides))
        low, high = test.confidence_interval(0.95)
        assert row.n == len(seeds) == (3 if row.activation == "gelu" else 4)
        found = (row.ci_low, row.ci_high, row.p_value, row.difference)
        assert found == pytest.approx((low, high, test.pvalue, (low + high) / 2), rel=1e-9)
    levels = table.loc[(table["activation"] == "elu") & (table["corruption"] == NOISE), "level"]
    assert list(levels) == ["σ = 0.1", "σ = 0.2"]


def test_p_values_are_corrected_over_all_corruptions_and_activations(
    records: list[TrialResult],
) -> None:
    from statsmodels.stats.multitest import multipletests

    table = corruption_differences(records, "relu")
    corrected = multipletests(table["p_value"], method="holm")[1]
    assert table["p_holm"].to_numpy() == pytest.approx(corrected)


def test_rows_by_class_add_up_to_the_accuracies(tiny_run: TinyRun) -> None:
    frames = Frames(tiny_run.study, {r.trial_id: r for r in tiny_run.results})
    table = frames.classes
    assert tuple(table) == ("activation", "seed", *CLASS_COLUMNS)
    where = ["activation", "seed", "measured", "severity"]
    sums = table.groupby(where, dropna=False)[["correct", "images"]].sum()
    sums = (sums["correct"] / sums["images"]).rename("by_class").reset_index()
    clean = sums[sums["measured"] == "clean"].merge(frames.trials, on=["activation", "seed"])
    assert len(clean) == len(tiny_run.results)
    assert clean["by_class"].to_numpy() == pytest.approx(clean["clean_accuracy"].to_numpy())
    corrupted = sums.rename(columns={"measured": "corruption"})
    corrupted = corrupted.merge(
        frames.corruptions, on=["activation", "seed", "corruption", "severity"]
    )
    assert len(corrupted) == len(frames.corruptions) > 0
    assert corrupted["by_class"].to_numpy() == pytest.approx(corrupted["accuracy"].to_numpy())


def test_a_summary_by_class_is_over_seeds_and_pairs(records: list[TrialResult]) -> None:
    table = class_summary(records, "relu", versions=7)
    assert tuple(table) == SUMMARY_COLUMNS
    assert len(table) == 3 * 3 * len(IMAGES)
    rows = classes_table(records)
    rows["measured"] = rows["measured"].where(rows["severity"].isna(), "corrupted")
    by_seed = rows.groupby(["measured", "class", "activation", "seed"])["accuracy"].mean()
    for row in table.to_dict("records"):
        ours = by_seed[row["measured"], row["class"], row["activation"]]
        theirs = by_seed[row["measured"], row["class"], "relu"].loc[ours.index]
        assert row["n"] == len(ours)
        assert row["accuracy_mean"] == pytest.approx(ours.mean(), nan_ok=True)
        assert row["accuracy_std"] == pytest.approx(ours.std(), nan_ok=True)
        if row["activation"] == "relu":
            assert row["n_pairs"] == 0
            assert np.isnan(row["difference"])
        else:
            assert row["n_pairs"] == len(ours)
            assert row["difference"] == pytest.approx((ours - theirs).mean(), nan_ok=True)
    empty = table["images"] == 0
    assert table.loc[empty, "accuracy_mean"].isna().all()
    assert table.loc[~empty, "accuracy_mean"].notna().all()
    attacked = table[table["measured"] == "pgd"]
    assert set(attacked["epsilon"]) == {8 / 255}
    assert list(attacked["images"][:3]) == list(ATTACKED)


def test_without_values_the_frames_have_the_same_columns_and_types(
    records: list[TrialResult],
) -> None:
    old = [replace(r, class_images=(), class_correct=(), corruptions=()) for r in records]
    for found, empty in (
        (corruption_differences(records, "relu"), corruption_differences(old, "relu")),
        (classes_table(records), classes_table(old)),
        (class_summary(records, "relu", 7), class_summary(old, "relu", 7)),
    ):
        assert len(empty) == 0
        pd.testing.assert_series_equal(found.dtypes, empty.dtypes)


def test_a_trial_that_lacks_a_corruption_is_in_no_mean_over_all(records: list[TrialResult]) -> None:
    part = [replace(r, corruptions=r.corruptions[:5]) if r.seed == 0 else r for r in records]
    table = class_summary(part, "relu", versions=7).groupby(["measured", "activation"])["n"].first()
    assert (table["clean", "elu"], table["corrupted", "elu"]) == (4, 3)
