"""Differences of printed means, against scipy, statsmodels and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestIndPower, TTestPower

from actbench.analysis.paired import equivalence_p_value, paired_t
from actbench.analysis.planning import seeds_needed
from actbench.analysis.unpaired import Sample, paired_from_summaries, welch


def sample(values: np.ndarray) -> Sample:
    return Sample(float(values.mean()), float(values.std(ddof=1)), len(values))


def test_welch_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(1, 2, 7), rng.normal(0, 0.5, 12)
    found = welch(sample(first), sample(second))
    expected = stats.ttest_ind(first, second, equal_var=False)
    assert found is not None
    assert found.p_value() == pytest.approx(expected.pvalue, rel=1e-12)
    interval = expected.confidence_interval(0.9)
    assert found.interval(0.9) == pytest.approx((interval.low, interval.high), rel=1e-12)


def test_pairs_agree_with_the_paired_test_of_their_values() -> None:
    rng = np.random.default_rng(1)
    shared = rng.normal(0, 1, 9)
    first, second = shared + rng.normal(0.3, 0.5, 9), shared + rng.normal(0, 0.4, 9)
    correlation = float(np.corrcoef(first, second)[0, 1])
    found = paired_from_summaries(sample(first), sample(second), correlation)
    expected = paired_t(first - second)
    assert found is not None
    assert found.p_value() == pytest.approx(float(expected.p_value))
    assert found.interval() == pytest.approx((float(expected.ci_low), float(expected.ci_high)))
    p = float(equivalence_p_value(first - second, 0.7))
    assert found.equivalence_p_value(0.7) == pytest.approx(p)


@pytest.mark.parametrize("n", [3, 5, 10, 30])
def test_the_detectable_effect_has_the_power_that_statsmodels_computes(n: int) -> None:
    unpaired = welch(Sample(0, 2, n), Sample(0, 2, n))
    paired = paired_from_summaries(Sample(0, 2, n), Sample(0, 2, n), 0.5)
    assert unpaired is not None
    assert paired is not None
    power = TTestIndPower().power(unpaired.detectable_effect() / 2, n, 0.025, alternative="larger")
    assert power == pytest.approx(0.8, abs=1e-6)
    power = TTestPower().power(paired.detectable_effect() / 2, n, 0.025, alternative="larger")
    assert power == pytest.approx(0.8, abs=1e-6)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Sample(1, 0, 5), Sample(0, 0, 5)),
        (Sample(1, 0.1, 1), Sample(0, 0.1, 5)),
    ],
)
def test_without_spread_or_runs_there_is_no_test(first: Sample, second: Sample) -> None:
    assert welch(first, second) is None
    assert paired_from_summaries(first, second, 0) is None


def test_pairs_need_equal_numbers_and_a_spread() -> None:
    assert paired_from_summaries(Sample(1, 1, 5), Sample(0, 1, 6), 0) is None
    assert paired_from_summaries(Sample(1, 1, 5), Sample(0, 1, 5), 1) is None


@pytest.mark.parametrize("deviations", [(1, 1), (3, 0.5)])
def test_welch_intervals_cover(deviations: tuple[float, float]) -> None:
    rng = np.random.default_rng(2)
    draws = [rng.normal(0, sd, (2000, 5)) for sd in deviations]
    covered = 0
    for first, second in zip(*draws, strict=True):
        found = welch(sample(first), sample(second))
        assert found is not None
        low, high = found.interval()
        covered += low <= 0 <= high
    # three binomial standard errors of 95 %
    assert abs(covered / 2000 - 0.95) < 3 * math.sqrt(0.95 * 0.05 / 2000)


def test_unpaired_runs_need_fewer_of_them_than_pairs_with_the_same_deviation() -> None:
    pairs = seeds_needed(0.5, 1, 10)
    groups = seeds_needed(0.5, 1, 10, freedom=2)
    assert groups.number < pairs.number
    assert pairs.low < groups.low < groups.high < pairs.high


def test_the_seeds_needed_by_unpaired_runs_decide_four_of_five_studies() -> None:
    """Both deviations known well, true difference half the margin: the least power."""
    deviation = 0.4
    n = int(seeds_needed(0.5, math.sqrt(2) * deviation, 10_001, freedom=2).number)
    rng = np.random.default_rng(3)
    decided = 0
    for first, second in rng.normal(0, deviation, (2000, 2, n)):
        found = welch(sample(first + 0.25), sample(second))
        assert found is not None
        decided += found.p_value() <= 0.05 or found.equivalence_p_value(0.5) <= 0.05
    assert abs(decided / 2000 - 0.8) < 0.03
