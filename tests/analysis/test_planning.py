"""The seeds that a verdict needs, by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from actbench.analysis.planning import seeds_needed
from helpers.trial_values import only_row, study


def decided(rng: np.random.Generator, seeds: np.ndarray, truth: float, tests: int) -> np.ndarray:
    """Return whether studies of ``seeds`` seeds reach a verdict; margin 0.5, deviation 1."""
    error = np.sqrt(rng.chisquare(seeds - 1) / (seeds - 1) / seeds)
    mean = rng.normal(truth, 1 / np.sqrt(seeds))
    different = np.abs(mean) >= stats.t.isf(0.025 / tests, seeds - 1) * error
    equivalent = 0.5 - np.abs(mean) >= stats.t.isf(0.05 / tests, seeds - 1) * error
    answer: np.ndarray = different | equivalent
    return answer


@pytest.mark.parametrize(
    ("tests", "pilot"),
    [
        (1, 5),
        (5, 10),
        pytest.param(1, 10, marks=pytest.mark.slow),
        pytest.param(5, 5, marks=pytest.mark.slow),
    ],
)
def test_the_printed_seeds_reach_a_verdict_four_times_in_five_at_half_the_margin(
    pilot: int, tests: int
) -> None:
    rng = np.random.default_rng(pilot)
    deviations = np.sqrt(rng.chisquare(pilot - 1, 250) / (pilot - 1))
    printed = [seeds_needed(0.5, deviation, pilot, tests).number for deviation in deviations]
    seeds = np.repeat(np.array(printed), 80)
    by_truth = {part: decided(rng, seeds, part * 0.5, tests).mean() for part in (0, 0.5, 1)}
    assert 0.75 <= by_truth[0.5] <= 0.85
    assert min(by_truth[0], by_truth[1]) >= by_truth[0.5]  # no true difference needs more


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
    for seed in range(36):
        rng = np.random.default_rng(seed)
        sample = rng.normal(0.0025, 0.008, 24)
        row = only_row(study(relu=[0.7] * 24, x=0.7 + sample))
        if row["verdict"] == "undecided":
            undecided += 1
            low = row["seeds_needed_low"]
            assert 24 < low <= row["seeds_needed"] <= row["seeds_needed_high"]
    assert undecided > 10
