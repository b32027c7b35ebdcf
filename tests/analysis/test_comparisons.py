"""The statistics keep their promises: against scipy and statsmodels, and by simulation."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

from actbench.analysis.comparisons import (
    COMPARISON_COLUMNS,
    SUMMARY_FIGURES,
    VERDICTS,
    compare,
    interim_analyses,
    metrics_for,
    spending_level,
    summarise,
    variance_sources,
)
from actbench.analysis.corruption_error import corruption_error_by_trial
from actbench.analysis.paired import (
    detectable_effect,
    equivalence_p_value,
    paired_differences,
    paired_t,
)
from actbench.analysis.planning import seeds_needed
from actbench.analysis.variance import crossed_standard_errors

METRICS = metrics_for(["gaussian_noise"])
ACCURACY = {"clean_accuracy": METRICS["clean_accuracy"]}
LOSS = {"clean_loss": METRICS["clean_loss"]}
GRADIENT = {"grad_norm_first": METRICS["grad_norm_first"]}


def study(metric: str = "clean_accuracy", **activations: Any) -> pd.DataFrame:
    """Return the trials of a study with the given values for seeds 0, 1, ..."""
    rows = [
        {"activation": name, "seed": seed, metric: value}
        for name, values in activations.items()
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def only_row(values: pd.DataFrame, metrics: Any = ACCURACY, **options: Any) -> dict[str, Any]:
    table = compare(values, baseline="relu", metrics=metrics, **options)
    assert len(table) == 1
    return table.iloc[0].to_dict()


def simulated_differences(
    rng: np.random.Generator, studies: int, n: int, activations: int = 5, effect: float = 0.0
) -> np.ndarray:
    """Return normal differences (studies, activations, n) that share the baseline's noise."""
    own = rng.standard_normal((studies, activations, n))
    shared = rng.standard_normal((studies, 1, n))
    return (own + shared) / math.sqrt(2) + effect


def false_alarm(p_values: np.ndarray, level: float) -> np.ndarray:
    """Return whether Holm's procedure calls any of the activations (last axis) significant.

    Its smallest corrected p-value is the number of tests times the smallest p-value.
    """
    alarm: np.ndarray = p_values.shape[-1] * p_values.min(axis=-1) <= level
    return alarm


# Against scipy and statsmodels


@pytest.mark.parametrize("n", [2, 3, 5, 10, 30])
def test_interval_and_p_value_are_scipys(n: int) -> None:
    rng = np.random.default_rng(n)
    ours, theirs = rng.normal(0.7, 0.02, (2, 4, n))
    result = paired_t(paired_differences(ours, theirs))
    expected = stats.ttest_rel(ours, theirs, axis=-1)
    interval = expected.confidence_interval(0.95)
    np.testing.assert_allclose(result.p_value, expected.pvalue, rtol=1e-9)
    np.testing.assert_allclose([result.ci_low, result.ci_high], interval, rtol=1e-9)
    by_hand = stats.t.interval(
        0.95, n - 1, loc=(ours - theirs).mean(-1), scale=stats.sem(ours - theirs, axis=-1)
    )
    np.testing.assert_allclose([result.ci_low, result.ci_high], by_hand, rtol=1e-9)


@pytest.mark.parametrize("n", [2, 5, 10])
def test_equivalence_is_statsmodels_tost(n: int) -> None:
    rng = np.random.default_rng(n)
    for shift in (0.0, 0.003, -0.02):
        ours, theirs = rng.normal(0.7, 0.004, (2, n))
        expected = ttost_paired(ours + shift, theirs, -0.005, 0.005)[0]
        actual = equivalence_p_value(ours + shift - theirs, 0.005)
        assert actual == pytest.approx(expected, rel=1e-9)


def test_equivalence_at_five_percent_is_the_ninety_percent_interval_inside_the_margin() -> None:
    differences = np.random.default_rng(0).normal(0.002, 0.003, (500, 5))
    interval = paired_t(differences, confidence=0.9)
    inside = (interval.ci_low >= -0.005) & (interval.ci_high <= 0.005)
    assert 0 < inside.sum() < 500
    assert ((equivalence_p_value(differences, 0.005) <= 0.05) == inside).all()


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


@pytest.mark.parametrize("n", [3, 5, 10, 30, 200])
@pytest.mark.parametrize("level", [0.05, 0.01])
def test_detectable_effect_is_statsmodels_power_solved(n: int, level: float) -> None:
    effect = detectable_effect(n, level)
    assert TTestPower().power(effect, n, level) == pytest.approx(0.8, abs=1e-6)


def test_the_summary_is_scipys() -> None:
    rng = np.random.default_rng(0)
    values = study(relu=rng.normal(0.7, 0.01, 5), b=rng.normal(0.8, 0.02, 3), a=[0.75])
    table = summarise(values, ACCURACY)
    assert list(table["activation"]) == ["relu", "b", "a"]
    assert list(table["n"]) == [5, 3, 1]
    for row, (_, group) in zip(
        table.to_dict("records"), values.groupby("activation", sort=False), strict=True
    ):
        sample = group["clean_accuracy"]
        assert row["clean_accuracy_mean"] == pytest.approx(sample.mean())
        assert row["clean_accuracy_n"] == len(sample)
        ends = [row["clean_accuracy_ci_low"], row["clean_accuracy_ci_high"]]
        if len(sample) == 1:
            assert np.isnan([row["clean_accuracy_std"], *ends]).all()
        else:
            assert row["clean_accuracy_std"] == pytest.approx(sample.std())
            expected = stats.t.interval(0.95, len(sample) - 1, sample.mean(), stats.sem(sample))
            assert ends == pytest.approx(expected)


def test_a_diverged_trial_does_not_count_in_the_summary() -> None:
    table = summarise(study(relu=[0.7, np.nan, 0.8], x=[np.nan, np.nan, np.nan]), ACCURACY)
    assert list(table["n"]) == [2, 0]
    assert table["clean_accuracy_mean"].tolist()[0] == pytest.approx(0.75)
    assert math.isnan(table["clean_accuracy_mean"].tolist()[1])


def test_the_summary_has_its_columns_even_when_nothing_ran() -> None:
    expected = ["activation", "n", *(f"clean_loss_{figure}" for figure in SUMMARY_FIGURES)]
    assert list(summarise(study("clean_loss", relu=[1.0]).iloc[:0], LOSS).columns) == expected


# By simulation


@pytest.mark.parametrize("n", [5, 10])
def test_the_interval_covers_the_truth_as_often_as_it_says(n: int) -> None:
    result = paired_t(np.random.default_rng(n).normal(0.3, 2.0, (2000, n)))
    covered = ((result.ci_low <= 0.3) & (result.ci_high >= 0.3)).mean()
    assert 0.93 <= covered <= 0.97


@pytest.mark.parametrize("n", [2, 5, 10])
def test_at_most_one_study_in_twenty_calls_any_of_five_equal_activations_different(n: int) -> None:
    differences = simulated_differences(np.random.default_rng(n), 20_000, n)
    alarms = false_alarm(paired_t(differences).p_value, 0.05)
    # Holm's rate here is near 4 %, which 20,000 studies measure to 0.14 points: no slack is needed.
    assert 0.03 <= alarms.mean() <= 0.05


def test_compare_raises_the_alarm_exactly_where_the_simulations_say() -> None:
    differences = simulated_differences(np.random.default_rng(8), 40, 5, effect=0.8)
    expected = false_alarm(paired_t(differences).p_value, 0.05)
    assert 0 < expected.sum() < 40
    for sample, alarm in zip(differences, expected, strict=True):
        values = study("clean_loss", relu=[0.0] * 5, **dict(zip("abcde", sample, strict=True)))
        verdicts = compare(values, baseline="relu", metrics=LOSS)["verdict"]
        assert verdicts.isin(["better", "worse"]).any() == alarm


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("images", [100, 360])
def test_accuracies_on_few_images_raise_no_more_false_alarms(n: int, images: int) -> None:
    rng = np.random.default_rng(n)
    right = rng.binomial(images, 0.97, (20_000, 6, n)) / images
    differences = paired_differences(right[:, 1:], right[:, :1])
    # The true rate comes near 5 %; the slack is three standard errors of 20,000 studies.
    assert false_alarm(paired_t(differences).p_value, 0.05).mean() <= 0.05 + 0.0047


def test_a_spread_of_zero_is_common_enough_that_it_must_not_count_as_certainty() -> None:
    right = np.random.default_rng(0).binomial(360, 0.97, (20_000, 2, 2)) / 360
    result = paired_t(paired_differences(right[:, 0], right[:, 1]))
    equal_and_not_zero = (result.deviation == 0) & (result.difference != 0)
    assert equal_and_not_zero.mean() > 0.05
    assert (result.p_value[equal_and_not_zero] == 0.5).all()


@pytest.mark.parametrize("n", [2, 5, 10, 30])
def test_the_printed_detectable_effect_is_found_four_times_in_five(n: int) -> None:
    rng = np.random.default_rng(n)
    sample = rng.standard_normal(n)
    sample = 0.01 * (sample - sample.mean()) / sample.std(ddof=1)  # its deviation is the true one
    row = only_row(study(relu=[0.7] * n, x=0.7 + sample))
    draws = rng.normal(row["minimum_detectable_effect"], 0.01, (20_000, n))
    found = (paired_t(draws).p_value <= 0.05).mean()
    assert 0.75 <= found <= 0.85


def decided(rng: np.random.Generator, seeds: np.ndarray, truth: float, tests: int) -> np.ndarray:
    """Return whether studies of so many seeds reach a verdict; margin 0.5, deviation 1."""
    error = np.sqrt(rng.chisquare(seeds - 1) / (seeds - 1) / seeds)
    mean = rng.normal(truth, 1 / np.sqrt(seeds))
    different = np.abs(mean) >= stats.t.isf(0.025 / tests, seeds - 1) * error
    equivalent = 0.5 - np.abs(mean) >= stats.t.isf(0.05 / tests, seeds - 1) * error
    answer: np.ndarray = different | equivalent
    return answer


@pytest.mark.parametrize("pilot", [5, 10])
@pytest.mark.parametrize("tests", [1, 5])
def test_the_printed_seeds_reach_a_verdict_four_times_in_five_at_half_the_margin(
    pilot: int, tests: int
) -> None:
    rng = np.random.default_rng(pilot)
    deviations = np.sqrt(rng.chisquare(pilot - 1, 500) / (pilot - 1))
    printed = [seeds_needed(0.5, deviation, pilot, tests).number for deviation in deviations]
    seeds = np.repeat(np.array(printed), 40)
    by_truth = {part: decided(rng, seeds, part * 0.5, tests).mean() for part in (0, 0.5, 1)}
    assert 0.75 <= by_truth[0.5] <= 0.85
    assert min(by_truth[0], by_truth[1]) >= by_truth[0.5]  # no truth needs more


def test_the_range_of_seeds_is_that_of_the_deviations_interval() -> None:
    needed = seeds_needed(0.5, 1.0, 5)
    assert 5 < needed.low < needed.number < needed.high
    # at four times the variance, four times the seeds, up to the quantiles of t
    assert seeds_needed(0.5, 2.0, 5).high / needed.high == pytest.approx(4, rel=0.05)
    widths = [
        found.high / found.low for found in (seeds_needed(0.5, 1.0, n) for n in (3, 5, 10, 100))
    ]
    assert widths == sorted(widths, reverse=True)


def test_more_activations_and_a_stricter_level_need_more_seeds() -> None:
    numbers = [
        seeds_needed(0.5, 1.0, 5, tests, level).number
        for tests, level in ((1, 0.05), (5, 0.05), (5, 0.01))
    ]
    assert numbers == sorted(set(numbers))


def test_an_undecided_study_never_needs_as_few_seeds_as_it_has() -> None:
    undecided = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        sample = rng.normal(0.0025, 0.008, 24)
        row = only_row(study(relu=[0.7] * 24, x=0.7 + sample))
        if row["verdict"] == "undecided":
            undecided += 1
            low = row["seeds_needed_low"]
            assert 24 < low <= row["seeds_needed"] <= row["seeds_needed_high"]
    assert undecided > 10


@pytest.mark.parametrize("activations", [1, 2, 5])
def test_at_most_one_study_in_twenty_calls_any_activation_at_the_margin_equivalent(
    activations: int,
) -> None:
    rng = np.random.default_rng(activations)
    draws = simulated_differences(rng, 20_000, 10, activations)
    claims = false_alarm(equivalence_p_value(0.005 + 0.001 * draws, 0.005), 0.05)
    assert 0.03 <= claims.mean() <= 0.05 + 0.0047  # three standard errors; one activation has 5 %


def test_equivalence_is_corrected_over_the_activations_as_the_difference_is() -> None:
    rng = np.random.default_rng(4)
    values = study(relu=[0.7] * 8, **{name: 0.7 + rng.normal(0.002, 0.004, 8) for name in "abcde"})
    table = compare(values, baseline="relu", metrics=ACCURACY)
    expected = multipletests(table["p_equivalence"], method="holm")[1]
    np.testing.assert_allclose(table["p_equivalence_holm"], expected)
    only_uncorrected = (table["p_equivalence"] <= 0.05) & (table["p_equivalence_holm"] > 0.05)
    assert only_uncorrected.any()
    assert not (table.loc[only_uncorrected, "verdict"] == "equivalent").any()


def test_at_the_margin_equivalence_is_claimed_at_most_one_time_in_twenty() -> None:
    for n in (2, 5, 10):
        draws = np.random.default_rng(n).normal(0.005, 0.001, (20_000, n))
        assert (equivalence_p_value(draws, 0.005) <= 0.05).mean() <= 0.055  # truth 5 %, ± 0.3


# Looking repeatedly


def running_p_values(differences: np.ndarray, times: tuple[int, ...]) -> list[np.ndarray]:
    return [paired_t(differences[..., :n]).p_value for n in times]


def test_looking_from_5_to_30_seeds_keeps_false_alarms_at_one_in_twenty() -> None:
    differences = simulated_differences(np.random.default_rng(0), 20_000, 30)
    times = interim_analyses(5, 30)
    by_look = [
        false_alarm(p, spending_level(n, 5, 30))
        for n, p in zip(times, running_p_values(differences, times), strict=True)
    ]
    assert 0.03 <= np.any(by_look, axis=0).mean() <= 0.05
    every = tuple(range(5, 31))
    uncorrected = [false_alarm(p, 0.05) for p in running_p_values(differences[:2000], every)]
    assert np.any(uncorrected, axis=0).mean() > 0.2  # what the rule is there to prevent


def test_looking_repeatedly_claims_equivalence_at_the_margin_one_time_in_twenty() -> None:
    draws = np.random.default_rng(0).normal(0.005, 0.004, (20_000, 30))
    claimed = [
        equivalence_p_value(draws[:, :n], 0.005) <= spending_level(n, 5, 30)
        for n in interim_analyses(5, 30)
    ]
    assert np.any(claimed, axis=0).mean() <= 0.05


def test_looking_repeatedly_costs_little_power_and_saves_seeds() -> None:
    differences = simulated_differences(np.random.default_rng(0), 4000, 30, 1, effect=0.7)
    times = interim_analyses(5, 30)
    p_values = running_p_values(differences[:, 0], times)
    found = [p <= spending_level(n, 5, 30) for n, p in zip(times, p_values, strict=True)]
    once = (p_values[-1] <= 0.05).mean()
    assert np.any(found, axis=0).mean() > once - 0.05
    stopped = np.where(np.any(found, axis=0), np.array(times)[np.argmax(found, axis=0)], 30)
    assert stopped.mean() < 24


@given(st.integers(1, 60), st.integers(2, 300))
@settings(derandomize=True, deadline=None)
def test_the_levels_of_all_looks_add_up_to_the_level(first: int, last: int) -> None:
    if first > last:
        first, last = last, first
    times = interim_analyses(first, last)
    levels = [spending_level(n, first, last) for n in times]
    assert times[0] == max(first, 2)
    assert times[-1] == last
    assert list(times) == sorted(set(times))
    assert min(levels) > 0
    assert sum(levels) == pytest.approx(0.05)


def test_looks_grow_by_half_and_a_single_look_costs_nothing() -> None:
    assert interim_analyses(5, 30) == (5, 8, 13, 20, 30)
    assert interim_analyses(1, 3) == (2, 3)
    assert interim_analyses(10, 10) == (10,)
    assert spending_level(10, 10, 10) == 0.05


def test_a_look_out_of_turn_is_refused() -> None:
    with pytest.raises(ValueError, match="the looks are after 5, 8, 13, 20, 30"):
        spending_level(6, 5, 30)
    for first, last in [(0, 5), (6, 5), (1, 1)]:
        with pytest.raises(ValueError, match="looks from"):
            interim_analyses(first, last)


# The verdict


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


def test_a_noisy_study_is_undecided_and_says_how_many_seeds_it_needs() -> None:
    row = only_row(study(relu=[0.70, 0.72, 0.69, 0.71, 0.70], x=[0.72, 0.70, 0.70, 0.69, 0.73]))
    assert row["verdict"] == "undecided"
    assert row["seeds_needed"] > 5
    assert row["minimum_detectable_effect"] > row["margin"] == 0.005


def test_a_stricter_level_reaches_every_test() -> None:
    values = study(relu=[0.70, 0.71, 0.69, 0.72], x=[0.72, 0.725, 0.715, 0.735])
    normal, strict = only_row(values), only_row(values, level=0.001)
    assert normal["verdict"] == "better"
    assert strict["verdict"] == "undecided"
    assert strict["level"] == 0.001
    assert strict["minimum_detectable_effect"] > normal["minimum_detectable_effect"]
    assert strict["seeds_needed"] > normal["seeds_needed"]
    assert strict["ci_low"] == normal["ci_low"]  # the interval stays at 95 %


def test_the_table_has_its_columns_in_order_of_activation_and_metric() -> None:
    values = study(b=[0.7, 0.8], relu=[0.7, 0.9], a=[0.7, 0.8])
    table = compare(values, baseline="relu", metrics=METRICS)
    assert tuple(table.columns) == COMPARISON_COLUMNS
    assert list(table["activation"]) == ["b"] * len(METRICS) + ["a"] * len(METRICS)
    assert list(table["metric"]) == list(METRICS) * 2
    assert (table["baseline"] == "relu").all()
    empty = compare(values.iloc[2:4], baseline="relu", metrics=METRICS)
    assert tuple(empty.columns) == COMPARISON_COLUMNS
    assert empty.empty


# Studies that are too small, too even or incomplete


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


def test_one_pair_has_a_difference_and_no_verdict() -> None:
    row = only_row(study(relu=[0.7], x=[0.8]))
    assert row["n"] == 1
    assert row["difference"] == pytest.approx(0.1)
    assert np.isnan([row["ci_low"], row["ci_high"], row["p_value"], row["p_equivalence"]]).all()
    assert row["verdict"] == "no verdict"
    assert "one pair only" in row["note"]


def test_two_pairs_work() -> None:
    row = only_row(study(relu=[0.7, 0.71], x=[0.8, 0.812]))
    expected = stats.ttest_rel([0.8, 0.812], [0.7, 0.71])
    assert row["p_value"] == pytest.approx(expected.pvalue)
    assert row["verdict"] == "better"
    assert math.isnan(row["pair_correlation"])
    assert "correlation" in row["note"]


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
    assert row["seeds_needed"] == 6
    assert math.isnan(row["ci_low"]) == (n < 6)
    assert "the same difference in every pair" in row["note"]


def test_pairs_are_the_seeds_that_both_have_in_any_order() -> None:
    values = pd.DataFrame(
        {
            "activation": ["x", "relu", "x", "relu", "x", "relu", "x"],
            "seed": [11, 3, 3, 7, 7, 5, 4],
            "clean_accuracy": [0.1, 0.70, 0.75, 0.60, 0.66, 0.2, 0.3],
        }
    )
    row = only_row(values)
    assert row["n"] == 2
    assert row["difference"] == pytest.approx(0.055)
    assert "3 of 5 seeds left out, as a value is missing" in row["note"]


def test_diverged_and_infinite_values_leave_their_pair_out_and_are_counted() -> None:
    values = study("clean_loss", relu=[1.0, 1.1, 1.2, np.nan, 1.3], x=[0.9, 1.05, np.inf, 1.0, 1.1])
    row = only_row(values, LOSS)
    assert row["n"] == 3
    assert row["difference"] == pytest.approx((-0.1 - 0.05 - 0.2) / 3)
    assert "1 of 5 seeds left out, as a value is missing" in row["note"]
    assert "1 of 5 seeds left out, as a value is infinite" in row["note"]


@pytest.mark.parametrize(
    "values",
    [
        study(relu=[np.nan, np.nan], x=[0.7, 0.8]),
        study(x=[0.7, 0.8]),
        study("other_column", relu=[0.7, 0.8], x=[0.7, 0.8]),
    ],
    ids=["all diverged", "no baseline", "not measured"],
)
def test_without_pairs_there_is_a_reason_instead_of_a_verdict(values: pd.DataFrame) -> None:
    row = only_row(values)
    assert row["n"] == 0
    assert row["verdict"] == "no verdict"
    assert "no seed has a finite value for both" in row["note"]


def test_a_metric_without_a_margin_says_so() -> None:
    row = only_row(study("clean_loss", relu=[1.0, 1.1, 1.3], x=[1.0, 1.2, 1.1]), LOSS)
    assert np.isnan([row["margin"], row["p_equivalence"]]).all()
    assert pd.isna(row["seeds_needed"])
    assert "no natural margin" in row["note"]


def test_a_difference_far_below_its_noise_needs_more_than_a_million_seeds() -> None:
    row = only_row(study(relu=[0.1, 0.9, 0.5], x=[0.9, 0.1, 0.6]), margin=1e-6)
    assert pd.isna(row["seeds_needed"])
    assert "more than a million" in row["note"]


def test_pair_correlation_is_pearsons_and_needs_both_sides_to_vary() -> None:
    relu, x = [0.70, 0.72, 0.69, 0.75], [0.71, 0.74, 0.70, 0.73]
    expected = stats.pearsonr(relu, x).statistic
    assert only_row(study(relu=relu, x=x))["pair_correlation"] == pytest.approx(expected)
    row = only_row(study(relu=[0.7] * 4, x=x))
    assert math.isnan(row["pair_correlation"])
    assert "does not vary" in row["note"]


def test_a_trial_that_appears_twice_is_refused() -> None:
    twice = pd.concat([study(relu=[0.7], x=[0.8])] * 2)
    with pytest.raises(ValueError, match="more than one row"):
        compare(twice, baseline="relu", metrics=ACCURACY)


@pytest.mark.parametrize("options", [{"margin": 0}, {"margin": math.nan}, {"level": 0}])
def test_a_margin_or_level_out_of_range_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="it must"):
        compare(study(relu=[0.7], x=[0.8]), baseline="relu", metrics=ACCURACY, **options)


# Properties

pairs = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=1, max_size=7).map(
    lambda rows: np.array(rows, dtype=np.float64).T / 1000
)
NUMBERS = list(COMPARISON_COLUMNS[4:13])


@given(pairs)
@settings(derandomize=True, deadline=None, max_examples=60)
def test_swapping_activation_and_baseline_flips_the_sign(values: np.ndarray) -> None:
    there = only_row(study(relu=values[0], x=values[1]))
    back = only_row(study(relu=values[1], x=values[0]))
    assert back["difference"] == -there["difference"]
    np.testing.assert_array_equal(
        [-back["ci_high"], -back["ci_low"]], [there["ci_low"], there["ci_high"]]
    )
    np.testing.assert_allclose(
        [back[c] for c in NUMBERS[3:]], [there[c] for c in NUMBERS[3:]], rtol=1e-12
    )
    mirrored = {"better": "worse", "worse": "better"}
    assert back["verdict"] == mirrored.get(there["verdict"], there["verdict"])


@given(pairs, st.randoms(use_true_random=False))
@settings(derandomize=True, deadline=None, max_examples=40)
def test_the_order_of_rows_does_not_matter(values: np.ndarray, random: Any) -> None:
    frame = study(relu=values[0], x=values[1], y=values[0][::-1])
    order = list(range(len(frame)))
    random.shuffle(order)
    tables = [
        compare(f, baseline="relu", metrics=ACCURACY).sort_values("activation", ignore_index=True)
        for f in (frame, frame.iloc[order])
    ]
    pd.testing.assert_frame_equal(*tables)


@given(pairs, st.integers(-8, 8))
@settings(derandomize=True, deadline=None, max_examples=60)
def test_the_unit_does_not_matter(values: np.ndarray, power: int) -> None:
    scale = 2.0**power
    plain = only_row(study(relu=values[0], x=values[1]), margin=0.01)
    scaled = only_row(study(relu=values[0] * scale, x=values[1] * scale), margin=0.01 * scale)
    for column in ("difference", "ci_low", "ci_high", "minimum_detectable_effect"):
        np.testing.assert_equal(scaled[column], plain[column] * scale)
    for column in ("p_value", "p_holm", "p_equivalence", "pair_correlation"):
        np.testing.assert_allclose(scaled[column], plain[column], rtol=1e-12)
    assert scaled["verdict"] == plain["verdict"]


@given(st.lists(st.tuples(st.floats(), st.floats()), min_size=1, max_size=5))
@settings(derandomize=True, deadline=None, max_examples=150)
def test_any_numbers_get_a_verdict_and_a_reason_where_there_is_none(values: Any) -> None:
    ours, theirs = np.array(values, dtype=np.float64).T
    frame = study(relu=theirs, x=ours)
    summarise(frame, ACCURACY)
    row = only_row(frame)
    assert row["verdict"] in VERDICTS
    missing = np.isnan([row[column] for column in NUMBERS if column != "margin"])
    assert row["note"] or not missing.any()


# Mean corruption error


def corruption_table(accuracies: dict[tuple[str, int, str, int], float]) -> pd.DataFrame:
    columns = ["activation", "seed", "corruption", "severity"]
    frame = pd.DataFrame(list(accuracies), columns=columns)
    return frame.assign(accuracy=list(accuracies.values()))


def mean_corruption_error(table: pd.DataFrame) -> pd.Series:
    return corruption_error_by_trial(table, "relu").groupby("activation").mean()


def test_mean_corruption_error_is_the_ratio_of_summed_errors_averaged_over_corruptions() -> None:
    table = corruption_table(
        {
            ("relu", 0, "fog", 1): 0.8,
            ("relu", 0, "fog", 2): 0.6,
            ("relu", 0, "snow", 1): 0.9,
            ("relu", 0, "snow", 2): 0.9,
            ("x", 0, "fog", 1): 0.9,
            ("x", 0, "fog", 2): 0.8,
            ("x", 0, "snow", 1): 0.8,
            ("x", 0, "snow", 2): 0.9,
        }
    )
    result = mean_corruption_error(table)
    assert result["relu"] == pytest.approx(100)
    assert result["x"] == pytest.approx(100 * (0.3 / 0.6 + 0.3 / 0.2) / 2)


def test_mean_corruption_error_uses_the_seeds_that_both_have() -> None:
    errors = {("relu", 0): 0.2, ("relu", 1): 0.4, ("relu", 2): 0.9, ("x", 0): 0.1, ("x", 1): 0.2}
    table = corruption_table({(a, s, "fog", 1): 1 - e for (a, s), e in errors.items()})
    diverged = pd.DataFrame(
        [{"activation": "x", "seed": 2, "corruption": "fog", "severity": 1, "accuracy": np.nan}]
    )
    result = mean_corruption_error(pd.concat([table, diverged]))
    assert result.to_dict() == pytest.approx({"relu": 100, "x": 50})


def test_mean_corruption_error_without_a_yardstick_is_not_a_division_by_zero() -> None:
    perfect = {("relu", 0, "fog", 1): 1.0, ("x", 0, "fog", 1): 0.9}
    assert corruption_error_by_trial(corruption_table(perfect), "relu").empty
    usable = {**perfect, ("relu", 0, "snow", 1): 0.8, ("x", 0, "snow", 1): 0.9}
    result = mean_corruption_error(corruption_table(usable))
    assert result.to_dict() == pytest.approx({"relu": 100, "x": 50})
    assert corruption_error_by_trial(corruption_table(usable), "absent").empty


# Two sources of variance


def test_the_standard_errors_are_those_of_a_two_way_analysis_of_variance() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, 6)) + rng.normal(size=(4, 1)) + rng.normal(size=6)
    cells = pd.DataFrame(
        [{"seed": s, "image": i, "y": values[s, i]} for s in range(4) for i in range(6)]
    )
    table = anova_lm(ols("y ~ C(seed) + C(image)", data=cells).fit())
    squares = table["sum_sq"] / table["df"] / 24
    seeds, images, residual = squares["C(seed)"], squares["C(image)"], squares["Residual"]
    error = crossed_standard_errors(values)
    assert error.seeds**2 == pytest.approx(seeds)
    assert error.images**2 == pytest.approx(images)
    assert error.total**2 == pytest.approx(seeds + images - residual)


def test_the_standard_errors_are_right_on_average() -> None:
    rng = np.random.default_rng(0)
    n_seeds, n_images, deviations = 5, 40, (0.2, 0.7, 0.9)  # of seeds, images, residual
    squares, means = [], []
    for _ in range(2000):
        values = (
            deviations[0] * rng.standard_normal((n_seeds, 1))
            + deviations[1] * rng.standard_normal(n_images)
            + deviations[2] * rng.standard_normal((n_seeds, n_images))
        )
        error = crossed_standard_errors(values)
        squares.append([error.seeds**2, error.images**2, error.total**2])
        means.append(values.mean())
    shared = deviations[2] ** 2 / (n_seeds * n_images)
    of_seeds, of_images = deviations[0] ** 2 / n_seeds, deviations[1] ** 2 / n_images
    expected = [of_seeds + shared, of_images + shared, of_seeds + of_images + shared]
    np.testing.assert_allclose(np.mean(squares, axis=0), expected, rtol=0.05)
    assert np.var(means) == pytest.approx(expected[2], rel=0.1)


def test_the_standard_error_from_seeds_is_that_of_the_paired_test() -> None:
    rng = np.random.default_rng(0)
    correct = {
        (name, seed): rng.random(200) < 0.7 for name in ("relu", "b", "a") for seed in range(4)
    }
    del correct["b", 2]
    table = variance_sources(correct, "relu").set_index("activation")
    assert list(table.index) == ["b", "a"]
    assert list(table["n_seeds"]) == [3, 4]
    assert (table["n_images"] == 200).all()
    seeds = {"b": [0, 1, 3], "a": [0, 1, 2, 3]}
    for name, shared in seeds.items():
        accuracy = [correct[name, s].mean() - correct["relu", s].mean() for s in shared]
        assert table.loc[name, "standard_error_seeds"] == pytest.approx(stats.sem(accuracy))
        assert table.loc[name, "difference"] == pytest.approx(np.mean(accuracy))


@pytest.mark.parametrize(
    ("of_seeds", "of_images", "answer"),
    [(1.0, 0.1, "more seeds"), (0.01, 1.0, "more test images"), (0.223, 1.0, "either")],
)
def test_the_larger_source_is_the_one_to_enlarge(
    of_seeds: float, of_images: float, answer: str
) -> None:
    rng = np.random.default_rng(0)
    seeds = stats.zscore(rng.standard_normal(10), ddof=1)
    images = stats.zscore(rng.standard_normal(200), ddof=1)
    correct = {("relu", s): np.zeros(200) for s in range(10)}
    correct |= {("x", s): of_seeds * seeds[s] + of_images * images for s in range(10)}
    assert variance_sources(correct, "relu")["sharpen"].tolist() == [answer]


def test_too_little_to_decompose_is_said_and_not_guessed() -> None:
    scores = np.array([1.0, 0.0, 1.0])
    one = variance_sources({("relu", 0): scores, ("x", 0): scores[::-1].copy() * 0.5}, "relu")
    assert one["sharpen"].tolist() == ["more seeds"]
    assert one[["standard_error_seeds", "standard_error_total"]].isna().all(axis=None)
    assert one["standard_error_images"].notna().all()
    same = {(name, seed): scores for name in ("relu", "x") for seed in range(2)}
    assert variance_sources(same, "relu")["sharpen"].tolist() == ["neither"]
    unpaired = variance_sources({("relu", 0): scores, ("x", 1): scores}, "relu")
    assert unpaired["n_seeds"].tolist() == [0]
    assert unpaired["sharpen"].tolist() == [""]
    assert variance_sources({}, "relu").empty


@pytest.mark.parametrize(
    "scores", [np.zeros(4), np.zeros((3, 1)), np.array([1.0, np.nan, 0.0])], ids=str
)
def test_scores_that_do_not_fit_are_refused(scores: np.ndarray) -> None:
    with pytest.raises(ValueError, match="scores"):
        variance_sources({("relu", 0): np.zeros(3), ("x", 0): scores}, "relu")


# The module


def test_every_corruption_adds_an_accuracy() -> None:
    metrics = metrics_for(["fog", "jpeg_compression"])
    assert list(metrics)[-2:] == ["accuracy_fog", "accuracy_jpeg_compression"]
    assert metrics["accuracy_jpeg_compression"].label == "accuracy under jpeg compression"
    assert all(name == metric.name for name, metric in metrics.items())
    assert {m.name for m in metrics.values() if m.has_margin} == {
        "clean_accuracy",
        "corrupted_accuracy",
        "accuracy_drop",
        "matched_accuracy",
        "accuracy_fog",
        "accuracy_jpeg_compression",
    }


def test_importing_it_leaves_the_slow_libraries_for_later() -> None:
    program = (
        "import sys, actbench.analysis.comparisons; sys.exit(any(n in sys.modules for n in "
        "('statsmodels', 'scipy.stats', 'scipy.optimize', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
