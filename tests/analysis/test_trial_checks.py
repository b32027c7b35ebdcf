"""Trials at chance, and trials far outside those of their activation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from actbench.analysis.signed_rank import MIN_PAIRS, signed_rank
from actbench.analysis.trial_checks import above_chance, far_from_others, robust_z


@pytest.mark.parametrize(
    ("images", "share"), [(360, 37 / 360), (10_000, 0.1), (26_032, 0.2), (1, 1)]
)
def test_chance_is_scipys_one_sided_binomial_test(images: int, share: float) -> None:
    counts = np.unique(np.linspace(0, images, 500).astype(int))
    wanted = stats.binom.sf(counts - 1, images, share) <= 0.05
    assert np.array_equal(above_chance(counts, images, share), wanted)


def test_a_network_that_always_names_the_largest_class_is_at_chance() -> None:
    assert not above_chance(37, 360, 37 / 360)
    assert above_chance(60, 360, 37 / 360)
    assert not above_chance(math.nan, 360, 37 / 360)


@pytest.mark.parametrize("n", [6, 9, 20, 50, 80])
def test_the_signed_rank_test_is_scipys(n: int) -> None:
    draw = np.random.default_rng(n)
    for shift in (0.0, 0.3, -1.0):
        differences = draw.normal(shift, 1, n)
        method = "exact" if n <= 50 else "asymptotic"
        wanted = stats.wilcoxon(differences, method=method).pvalue
        assert signed_rank(differences).p_value == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_with_ties_and_zeros_the_p_value_counts_all_sign_assignments(seed: int) -> None:
    differences = np.random.default_rng(seed).integers(-3, 5, 9) / 360
    kept = differences[differences != 0]
    ranks = stats.rankdata(np.abs(np.round(kept, 12)))
    signs = np.array(list(itertools.product((0, 1), repeat=len(kept))))
    sums = np.minimum(signs @ ranks, (1 - signs) @ ranks)
    found = min(ranks[kept > 0].sum(), ranks[kept < 0].sum())
    assert signed_rank(differences).p_value == pytest.approx((sums <= found).mean())


def test_differences_that_are_equal_but_for_rounding_are_tied() -> None:
    rough = np.array([0.3 - 0.2, 0.2 - 0.1, 0.4 - 0.3, -0.1, 0.5, 0.6, 1e-17])
    clean = np.array([0.1, 0.1, 0.1, -0.1, 0.5, 0.6, 0.0])
    assert signed_rank(rough) == signed_rank(clean)


def test_fewer_than_six_pairs_have_no_test_and_equal_sides_a_p_of_one() -> None:
    assert math.isnan(signed_rank(np.ones(MIN_PAIRS - 1)).p_value)
    assert signed_rank(np.ones(MIN_PAIRS)).p_value == 2 / 2**MIN_PAIRS
    assert signed_rank(np.zeros(8)).p_value == 1


def test_a_collapsed_trial_is_flagged_and_its_neighbours_are_not() -> None:
    accuracies = np.array([0.971, 0.975, 0.10, 0.968, math.nan, 0.977])
    assert np.isfinite(far_from_others(accuracies, 10_000)).tolist() == [
        False,
        False,
        True,
        *[False] * 3,
    ]


def test_seeds_that_agree_to_an_image_flag_nothing() -> None:
    assert np.isnan(far_from_others([0.97, 0.97, 0.97, 0.97, 0.97 + 2 / 360], 360)).all()
    assert np.isnan(far_from_others([0.9, 0.9, 0.9, 0.1], 360)).all()  # too few for a spread


@pytest.mark.parametrize(
    "n", [5, *(pytest.param(n, marks=pytest.mark.slow) for n in (6, 7, 9, 14)), 30]
)
def test_at_most_one_normal_activation_in_a_hundred_has_a_flagged_trial(n: int) -> None:
    draw = np.random.default_rng(n)
    activations = 0.5 + 0.05 * draw.standard_normal((4000, n))
    hits = sum(np.isfinite(far_from_others(accuracies, 10**8)).any() for accuracies in activations)
    assert hits <= 40 + 3 * math.sqrt(40)


def test_robust_z_is_the_distance_from_the_median_in_scaled_mads() -> None:
    sample = np.random.default_rng(0).normal(size=101)
    wanted = (sample - np.median(sample)) / stats.median_abs_deviation(sample, scale="normal")
    assert robust_z(sample) == pytest.approx(wanted, rel=1e-3)
    assert robust_z([1.0, 1.0, 1.0, 2.0]).tolist() == [0, 0, 0, math.inf]
