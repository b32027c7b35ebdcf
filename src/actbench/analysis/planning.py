"""The number of seeds that a verdict needs: no I/O and no random numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from actbench.analysis.paired import POWER
from actbench.analysis.sequential import LEVEL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

RANGE_CONFIDENCE = 0.8
MAX_SEEDS = 1_000_000
_QUANTILES = 32  # eight times as many change the numbers by less than 1 %


@dataclass(frozen=True)
class SeedsNeeded:
    """Pairs that lead to a verdict with 80 % power; infinite if a million are not enough.

    Attributes:
        number: averages the power over what the standard deviation may be, given the present pairs.
        low: for the lower end of the standard deviation's 80 % interval.
        high: for its upper end.
    """

    number: float
    low: float
    high: float


@lru_cache(maxsize=4096)  # the tables of a report ask for the same
def seeds_needed(
    margin: float,
    deviation: float,
    n: float,
    tests: int = 1,
    level: float = LEVEL,
    *,
    freedom: float = 1.0,
) -> SeedsNeeded:
    """Return how many pairs lead to a verdict, either a difference or equivalence.

    The true difference is assumed to be half the margin, at which the fewest studies are decided by
    either test. Holm's correction is taken at its
    worst case: both tests at ``level`` / ``tests``.

    ``deviation`` is itself an estimate from n pairs, σ² ~ s² (n − 1) / χ²(n − 1). Planning with s
    as if it were σ makes the average power too low, so ``number`` averages over σ
    (Julious & Owen 2006 do so for the difference test).

    Args:
        margin: the margin of equivalence, above 0.
        deviation: the standard deviation of the paired differences, above 0, in the same unit.
        n: the pairs that it was estimated from, at least 2.
        tests: the comparisons that are corrected for one another, at least 1.
        level: the level of every test before correction.
        freedom: the degrees of freedom that each pair after the first adds: 1 for pairs, up to 2
            for runs that are not paired, where ``deviation`` is that of one run's difference from
            another, √(s₁² + s₂²).
    """
    effect = margin / deviation
    tail = (1 - RANGE_CONFIDENCE) / 2
    known = freedom * (n - 1)
    lower, upper = (math.sqrt(special.chdtri(known, q) / known) for q in (tail, 1 - tail))
    return SeedsNeeded(
        _fewest(effect * _relative_deviations(known), tests, level, freedom),
        _fewest(effect * np.array([lower]), tests, level, freedom),
        _fewest(effect * np.array([upper]), tests, level, freedom),
    )


def _fewest(effects: Floats, tests: int, level: float, freedom: float) -> float:
    """Return the fewest pairs with power ``POWER``, averaged over equally likely effects."""
    low, high = 1, 2
    while _chance_undecided(high, effects, tests, level, freedom) > 1 - POWER:
        if high > MAX_SEEDS:
            return math.inf
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        decided = _chance_undecided(middle, effects, tests, level, freedom) <= 1 - POWER
        low, high = (low, middle) if decided else (middle, high)
    return float(high) if high <= MAX_SEEDS else math.inf


def _chance_undecided(n: int, effects: Floats, tests: int, level: float, freedom: float) -> float:
    """Return how often n pairs reach no verdict when the true difference is half the margin.

    In units of the true standard error, the mean difference is normal about half of k, the margin.
    With w the estimated over the true standard error, the study is undecided if that mean is
    between k − w t_equivalence and w t_difference, on either side of zero.

    Args:
        n: the pairs, at least 2.
        effects: equally likely values of margin / σ, shape (effects,).
        tests: as for ``seeds_needed``.
        level: likewise.
        freedom: likewise.
    """
    of_all = freedom * (n - 1)
    of_difference = special.stdtrit(of_all, 1 - level / tests / 2)
    of_equivalence = special.stdtrit(of_all, 1 - level / tests)
    width = _relative_deviations(of_all)
    k = math.sqrt(n) * effects[:, None]
    high = of_difference * width
    low = np.minimum(np.maximum(k - of_equivalence * width, 0), high)
    centre = k / 2
    above = special.ndtr(high - centre) - special.ndtr(low - centre)
    below = special.ndtr(-low - centre) - special.ndtr(-high - centre)
    return float(np.mean(above + below))


@lru_cache(maxsize=4096)
def _relative_deviations(freedom: float) -> Floats:
    """Return equally likely ratios of an estimated to the true standard deviation."""
    upper_tails = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    ratios: Floats = np.sqrt(special.chdtri(freedom, upper_tails) / freedom)
    return ratios
