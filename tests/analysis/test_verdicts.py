"""Verdicts: the correction over activations, the direction, the margin."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

from actbench.analysis.comparisons import compare
from actbench.analysis.paired import (
    paired_t,
)
from helpers.trial_values import (
    ACCURACY,
    GRADIENT,
    LOSS,
    METRICS,
    false_alarm,
    only_row,
    simulated_differences,
    study,
)


def test_holm_is_statsmodels_within_each_metric_over_the_activations_tested() -> None:
    rng = np.random.default_rng(0)
    values = pd.DataFrame(
        [
            {"activation": name, "seed": seed, "clean_accuracy": rng.normal(0.7 + shift, 0.01)}
            for name, shift in {"relu": 0, "a": 0.02, "b": 0.01, "c": 0.0, "d": 0.0}.items()
            for seed in range(6)
        ]
    )
    values["clean_loss"] = rng.normal(1.0, 0.1, len(values))
    values.loc[values["activation"] == "d", "clean_loss"] = np.nan
    metrics = {**ACCURACY, **LOSS}
    table = compare(values, baseline="relu", metrics=metrics).set_index(["metric", "activation"])
    for metric, tested in {"clean_accuracy": list("abcd"), "clean_loss": list("abc")}.items():
        rows = table.loc[metric].loc[tested]
        expected = multipletests(rows["p_value"], method="holm")[1]
        np.testing.assert_allclose(rows["p_holm"].astype(float), expected)
    assert math.isnan(table.loc[("clean_loss", "d"), "p_holm"])


def test_compare_raises_false_alarms_exactly_as_the_simulations_do() -> None:
    differences = simulated_differences(np.random.default_rng(8), 40, 5, effect=0.8)
    expected = false_alarm(paired_t(differences).p_value, 0.05)
    assert 0 < expected.sum() < 40
    for sample, alarm in zip(differences, expected, strict=True):
        values = study("clean_loss", relu=[0.0] * 5, **dict(zip("abcde", sample, strict=True)))
        verdicts = compare(values, baseline="relu", metrics=LOSS)["verdict"]
        assert verdicts.isin(["better", "worse"]).any() == alarm


def test_equivalence_is_corrected_over_the_activations_as_the_difference_is() -> None:
    rng = np.random.default_rng(4)
    values = study(relu=[0.7] * 8, **{name: 0.7 + rng.normal(0.002, 0.004, 8) for name in "abcde"})
    table = compare(values, baseline="relu", metrics=ACCURACY)
    expected = multipletests(table["p_equivalence"], method="holm")[1]
    np.testing.assert_allclose(table["p_equivalence_holm"], expected)
    only_uncorrected = (table["p_equivalence"] <= 0.05) & (table["p_equivalence_holm"] > 0.05)
    assert only_uncorrected.any()
    assert not (table.loc[only_uncorrected, "verdict"] == "equivalent").any()


@pytest.mark.parametrize(
    ("metrics", "shift", "verdict"),
    [
        (ACCURACY, 0.05, "better"),
        (ACCURACY, -0.05, "worse"),
        (ACCURACY, 0.0, "equivalent"),
        (LOSS, 0.05, "worse"),
        (LOSS, -0.05, "better"),
        (LOSS, 0.0, "undecided"),
        (GRADIENT, 0.05, "higher"),
        (GRADIENT, -0.05, "lower"),
        (GRADIENT, 0.0, "undecided"),
        ({"accuracy_drop": METRICS["accuracy_drop"]}, 0.05, "worse"),
    ],
)
def test_the_verdict_follows_the_metrics_direction(
    metrics: Any, shift: float, verdict: str
) -> None:
    (name,) = metrics
    noise = np.array([-0.002, 0.001, 0.0015, -0.001, 0.0005])
    baseline = np.array([0.7, 0.71, 0.69, 0.72, 0.7])
    row = only_row(study(name, relu=baseline, x=baseline + noise + shift), metrics)
    assert row["verdict"] == verdict


def test_a_significant_difference_inside_the_margin_is_equivalent() -> None:
    noise = np.array([-0.0002, 0.0001, 0.00015, -0.0001, 0.0005])
    row = only_row(study(relu=[0.7] * 5, x=0.702 + noise))
    assert row["p_holm"] < 0.05
    assert row["verdict"] == "equivalent"


def test_a_noisy_study_is_undecided_with_the_seeds_it_needs() -> None:
    row = only_row(study(relu=[0.70, 0.72, 0.69, 0.71, 0.70], x=[0.72, 0.70, 0.70, 0.69, 0.73]))
    assert row["verdict"] == "undecided"
    assert row["seeds_needed"] > 5
    assert row["minimum_detectable_effect"] > row["margin"] == 0.005


def test_a_stricter_level_applies_to_every_test() -> None:
    values = study(relu=[0.70, 0.71, 0.69, 0.72], x=[0.72, 0.725, 0.715, 0.735])
    normal, strict = only_row(values), only_row(values, level=0.001)
    assert normal["verdict"] == "better"
    assert strict["verdict"] == "undecided"
    assert strict["level"] == 0.001
    assert strict["minimum_detectable_effect"] > normal["minimum_detectable_effect"]
    assert strict["seeds_needed"] > normal["seeds_needed"]
    assert strict["ci_low"] == normal["ci_low"]  # the interval stays at 95 %


@pytest.mark.parametrize("metrics", [ACCURACY, LOSS, GRADIENT])
@pytest.mark.parametrize("n", [2, 5])
def test_the_same_activation_under_two_names_is_equivalent(metrics: Any, n: int) -> None:
    (name,) = metrics
    baseline = np.random.default_rng(0).normal(0.7, 0.01, n)
    row = only_row(study(name, relu=baseline, x=baseline), metrics)
    assert row["difference"] == row["ci_low"] == row["ci_high"] == 0
    assert row["p_value"] == row["p_holm"] == 1
    assert row["verdict"] == "equivalent"
    assert "identical in every pair" in row["note"]
    if metrics is ACCURACY:
        assert row["p_equivalence"] == 0


@pytest.mark.parametrize(
    ("n", "shift", "verdict"),
    [
        (2, 0.01, "undecided"),
        (5, 0.01, "undecided"),
        (6, 0.01, "better"),
        (6, -0.01, "worse"),
        (4, 0.002, "undecided"),
        (5, 0.002, "equivalent"),
    ],
)
def test_equal_differences_are_judged_by_signs_not_by_a_spread_of_zero(
    n: int, shift: float, verdict: str
) -> None:
    baseline = np.linspace(0.5, 0.7, n)
    row = only_row(study(relu=baseline, x=baseline + shift))
    assert row["verdict"] == verdict
    assert row["p_value"] == 2.0 ** (1 - n)
    assert row["difference"] == pytest.approx(shift)
    assert row["seeds_needed"] == (6 if abs(shift) > 0.005 else 5)
    assert math.isnan(row["ci_low"]) == (n < 6)
    assert "the same difference in every pair" in row["note"]
