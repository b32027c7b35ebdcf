"""Paired intervals and tests: against scipy and statsmodels, and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

from actbench.analysis.paired import (
    detectable_effect,
    equivalence_p_value,
    paired_differences,
    paired_t,
)
from helpers.trial_values import false_alarm, only_row, simulated_differences, study


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


@pytest.mark.parametrize("n", [2, 3, 5, 10, 30, 200])
@pytest.mark.parametrize("level", [0.05, 0.01, 0.001])
def test_detectable_effect_is_statsmodels_power_solved(n: int, level: float) -> None:
    effect = detectable_effect(n, level)
    power = TTestPower().power(effect, n, level / 2, alternative="larger")
    assert power == pytest.approx(0.8, abs=1e-9)


@pytest.mark.parametrize("level", [1e-5, 1e-9, 1e-15])
def test_an_effect_of_thousands_of_standard_deviations_is_not_sought(level: float) -> None:
    assert math.isnan(detectable_effect(2, level))
    assert detectable_effect(30, level) < 20


@pytest.mark.parametrize("n", [5, 10])
def test_the_interval_covers_the_true_value_at_its_nominal_rate(n: int) -> None:
    result = paired_t(np.random.default_rng(n).normal(0.3, 2.0, (2000, n)))
    covered = ((result.ci_low <= 0.3) & (result.ci_high >= 0.3)).mean()
    assert 0.93 <= covered <= 0.97


@pytest.mark.parametrize("n", [2, 5, 10])
def test_at_most_one_study_in_twenty_calls_any_of_five_equal_activations_different(n: int) -> None:
    differences = simulated_differences(np.random.default_rng(n), 20_000, n)
    alarms = false_alarm(paired_t(differences).p_value, 0.05)
    # Holm's rate here is near 4 %, which 20,000 studies measure to 0.14 points: no slack is needed.
    assert 0.03 <= alarms.mean() <= 0.05


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("images", [100, 360])
def test_accuracies_on_few_images_raise_no_more_false_alarms(n: int, images: int) -> None:
    rng = np.random.default_rng(n)
    right = rng.binomial(images, 0.97, (20_000, 6, n)) / images
    differences = paired_differences(right[:, 1:], right[:, :1])
    # The true rate comes near 5 %; the slack is three standard errors of 20,000 studies.
    assert false_alarm(paired_t(differences).p_value, 0.05).mean() <= 0.05 + 0.0047


def test_a_spread_of_zero_is_too_common_to_count_as_certainty() -> None:
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


@pytest.mark.parametrize("activations", [1, 2, 5])
def test_at_most_one_study_in_twenty_calls_any_activation_at_the_margin_equivalent(
    activations: int,
) -> None:
    rng = np.random.default_rng(activations)
    draws = simulated_differences(rng, 20_000, 10, activations)
    claims = false_alarm(equivalence_p_value(0.005 + 0.001 * draws, 0.005), 0.05)
    assert 0.03 <= claims.mean() <= 0.05 + 0.0047  # three standard errors; one activation has 5 %


def test_at_the_margin_equivalence_is_claimed_at_most_one_time_in_twenty() -> None:
    for n in (2, 5, 10):
        draws = np.random.default_rng(n).normal(0.005, 0.001, (20_000, n))
        assert (equivalence_p_value(draws, 0.005) <= 0.05).mean() <= 0.055  # truth 5 %, ± 0.3
