"""Interim analyses keep the level, by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actbench.analysis.paired import (
    equivalence_p_value,
    paired_t,
)
from actbench.analysis.sequential import interim_analyses, spending_level
from helpers.trial_values import false_alarm, simulated_differences

PLAN = interim_analyses(5, 30)


def running_p_values(differences: np.ndarray, times: tuple[int, ...]) -> list[np.ndarray]:
    return [paired_t(differences[..., :n]).p_value for n in times]


def test_interim_analyses_from_5_to_30_seeds_keep_false_alarms_at_one_in_twenty() -> None:
    differences = simulated_differences(np.random.default_rng(0), 20_000, 30)
    times = PLAN
    by_analysis = [
        false_alarm(p, spending_level(n, PLAN))
        for n, p in zip(times, running_p_values(differences, times), strict=True)
    ]
    assert 0.03 <= np.any(by_analysis, axis=0).mean() <= 0.05
    every = tuple(range(5, 31))
    uncorrected = [false_alarm(p, 0.05) for p in running_p_values(differences[:2000], every)]
    assert np.any(uncorrected, axis=0).mean() > 0.2  # the error that the rule prevents


def test_interim_analyses_claim_equivalence_at_the_margin_one_time_in_twenty() -> None:
    draws = np.random.default_rng(0).normal(0.005, 0.004, (20_000, 30))
    claimed = [equivalence_p_value(draws[:, :n], 0.005) <= spending_level(n, PLAN) for n in PLAN]
    assert np.any(claimed, axis=0).mean() <= 0.05


def test_interim_analyses_cost_little_power_and_save_seeds() -> None:
    differences = simulated_differences(np.random.default_rng(0), 4000, 30, 1, effect=0.7)
    times = PLAN
    p_values = running_p_values(differences[:, 0], times)
    found = [p <= spending_level(n, PLAN) for n, p in zip(times, p_values, strict=True)]
    once = (p_values[-1] <= 0.05).mean()
    assert np.any(found, axis=0).mean() > once - 0.05
    stopped = np.where(np.any(found, axis=0), np.array(times)[np.argmax(found, axis=0)], 30)
    assert stopped.mean() < 24


@given(st.integers(1, 60), st.integers(2, 300))
@settings(derandomize=True, deadline=None)
def test_the_levels_of_all_interim_analyses_add_up_to_the_level(first: int, last: int) -> None:
    if first > last:
        first, last = last, first
    times = interim_analyses(first, last)
    levels = [spending_level(n, times) for n in times]
    assert times[0] == max(first, 2)
    assert times[-1] == last
    assert list(times) == sorted(set(times))
    assert min(levels) > 0
    assert sum(levels) == pytest.approx(0.05)


def test_interim_analyses_grow_by_half_and_a_single_one_has_the_full_level() -> None:
    assert interim_analyses(5, 30) == (5, 8, 13, 20, 30)
    assert interim_analyses(1, 3) == (2, 3)
    assert interim_analyses(10, 10) == (10,)
    assert spending_level(10, (10,)) == 0.05


def test_a_plan_of_ones_own_has_the_levels_of_its_own_steps() -> None:
    assert spending_level(4, (2, 4, 5)) == pytest.approx(0.05 * (16 - 4) / 25)
    assert spending_level(5, (2, 5)) == pytest.approx(0.05 * (25 - 4) / 25)


def test_an_analysis_that_is_not_planned_is_refused() -> None:
    with pytest.raises(ValueError, match="they are after 5, 8, 13, 20, 30"):
        spending_level(6, PLAN)
    for first, last in [(0, 5), (6, 5), (1, 1)]:
        with pytest.raises(ValueError, match="interim analyses from"):
            interim_analyses(first, last)
