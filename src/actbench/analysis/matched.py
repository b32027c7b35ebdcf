"""Paired differences in one quantity at equal values of another: formulas on arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from actbench.analysis.paired import CONFIDENCE, ROUNDING, PairedT, equivalence_p_value, paired_t

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MIN_PAIRS_OF_LINE = 5  # a line through four leaves two degrees of freedom
MAX_EXTRAPOLATION = 10.0  # of the line, in standard deviations of the covariate


@dataclass(frozen=True)
class MatchedDifference:
    """The result of ``matched_difference``; NaN if it cannot be estimated.

    Attributes:
        test: the difference with its interval and t-test; ``deviation`` is √n standard errors.
        p_equivalence: from two one-sided tests of the difference against ± margin.
        slope: that of the outcome's differences over the covariate's; 0 if the latter are zero.
        freedom: the degrees of freedom of the tests.
        reason: why there is no estimate, else "".
    """

    test: PairedT
    p_equivalence: float
    slope: float
    freedom: int
    reason: str = ""


def matched_difference(
    outcome: Floats, covariate: Floats, margin: float = math.inf
) -> MatchedDifference:
    """Return the paired difference in an outcome at equal values of a covariate.

    The intercept of the least-squares line of the paired differences in the outcome on those in the
    covariate, with the t interval for an intercept on n − 2 degrees of freedom (Draper & Smith
    1998, chapter 1). The interval contains the uncertainty of the slope, so it is wide if zero is
    far from the pairs' differences in the covariate. If the covariate never differs, the result is
    that of ``paired_t``.

    There is no estimate from fewer than five pairs, if the mean of the covariate's differences is
    more than ten of their standard deviations from zero, or if all pairs are on one line, which
    leaves no spread.

    Args:
        outcome: paired differences, finite, shape (n,).
        covariate: the same for another quantity, of the same pairs.
        margin: above zero, in the outcome's unit.
    """
    n = len(outcome)
    if not covariate.any():
        equivalence = float(equivalence_p_value(outcome, margin))
        return MatchedDifference(paired_t(outcome), equivalence, 0.0, n - 1)
    if n < MIN_PAIRS_OF_LINE:
        return _none(f"fewer than {MIN_PAIRS_OF_LINE} pairs")
    distance = float(covariate.mean())
    apart = covariate - distance
    squares = float(apart @ apart)
    if abs(distance) > MAX_EXTRAPOLATION * math.sqrt(squares / (n - 1)):
        return _none("the seeds vary too little in the difference that is to be taken away")
    slope = float(apart @ outcome) / squares
    difference = float(outcome.mean()) - slope * distance
    residuals = outcome - difference - slope * covariate
    if np.abs(residuals).max() <= ROUNDING * max(1, np.abs(outcome).max()):
        return _none("all pairs lie on one line, so the spread about it is unknown")
    variance = float(residuals @ residuals) / (n - 2)
    error = math.sqrt(variance * (1 / n + distance**2 / squares))
    half_width = float(special.stdtrit(n - 2, (1 + CONFIDENCE) / 2)) * error
    p_value = 2 * special.stdtr(n - 2, -abs(difference) / error)
    figures = (
        difference,
        error * math.sqrt(n),
        difference - half_width,
        difference + half_width,
        p_value,
    )
    return MatchedDifference(
        PairedT(*map(np.asarray, figures)),
        float(special.stdtr(n - 2, -(margin - abs(difference)) / error)),
        slope,
        n - 2,
    )


def _none(reason: str) -> MatchedDifference:
    nothing = PairedT(*[np.asarray(math.nan)] * 5)
    return MatchedDifference(nothing, math.nan, math.nan, 0, f"not estimable: {reason}")
