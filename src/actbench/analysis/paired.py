"""Formulas for paired differences, on arrays along the last axis: interval, tests and power.

Pure functions: no I/O and no random numbers. ``comparisons`` applies them to the tables of a study.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from actbench.analysis.sequential import LEVEL

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

CONFIDENCE = 0.95
POWER = 0.8

# Differences that vary by less than this share of the values compared are rounding, not spread:
# far above the error of averaging float64 numbers, far below one test image in any data set.
ROUNDING = 1e-12


def paired_differences(values: ArrayLike, baseline: ArrayLike) -> NDArray[np.float64]:
    """Return ``values`` − ``baseline`` without the spread that is only rounding.

    0.3 − 0.2 and 0.2 − 0.1 differ in the last bit; without this, equal differences would look like
    a sample with a tiny deviation, and any test would be certain of them.

    Args:
        values: finite, shape (..., n).
        baseline: those of the same pairs, same shape.

    Returns:
        Shape (..., n). If the differences of a series are equal (zero) within 1e-12 of its largest
        value, they are exactly equal (zero).
    """
    first = np.asarray(values, dtype=np.float64)
    second = np.asarray(baseline, dtype=np.float64)
    difference = first - second
    if difference.shape[-1] == 0:
        return difference
    largest = np.maximum(np.abs(first), np.abs(second)).max(axis=-1, keepdims=True)
    spread = np.ptp(difference, axis=-1, keepdims=True)
    centre = difference[..., :1]
    centre = np.where(np.abs(centre) <= ROUNDING * largest, 0.0, centre)
    return np.where(spread <= ROUNDING * largest, centre, difference)


@dataclass(frozen=True)
class PairedT:
    """The result of ``paired_t``: arrays of shape (...), an entry per series of differences.

    Attributes:
        difference: the mean.
        deviation: the standard deviation, with n − 1 in the denominator.
        ci_low: the lower end of the interval for the mean.
        ci_high: its upper end.
        p_value: two-sided, for a mean of zero.
    """

    difference: Floats
    deviation: Floats
    ci_low: Floats
    ci_high: Floats
    p_value: Floats


def paired_t(differences: ArrayLike, confidence: float = CONFIDENCE) -> PairedT:
    """Return the mean of paired differences with its t interval and paired t-test.

    This is Student's one-sample test on the differences, as ``scipy.stats.ttest_rel``. Where all n
    differences of a series are equal, the t statistic divides by zero, and p = 0 would be wrong:
    accuracies are multiples of 1/images, so a few seeds agree by chance. Such a series gets the
    exact sign-flip test instead (Fisher 1935), which needs only differences symmetrical about
    their centre: p = 2^(1 − n), or 1 where all are zero. Its interval is the one value, if
    p ≤ 1 − ``confidence`` or all are zero; else NaN, as there are too few pairs for an interval.

    Args:
        differences: finite, shape (..., n).
        confidence: the interval's coverage, in (0, 1).

    Returns:
        Arrays of shape (...). With n = 1 all but ``difference`` are NaN, with n = 0 all are.
    """
    values = np.asarray(differences, dtype=np.float64)
    n = values.shape[-1]
    if n < 2:
        nothing = np.full(values.shape[:-1], np.nan)
        return PairedT(values[..., 0] if n else nothing, *[nothing] * 4)
    constant = _constant(values)
    mean = np.where(constant, values[..., 0], values.mean(axis=-1))
    deviation = np.where(constant, 0.0, values.std(axis=-1, ddof=1))
    error = deviation / math.sqrt(n)
    statistic = np.divide(mean, error, out=np.zeros_like(mean), where=~constant)
    half_width = special.stdtrit(n - 1, (1 + confidence) / 2) * error
    sign_flip = 2.0 ** (1 - n)
    unbounded = constant & (mean != 0) & (sign_flip > 1 - confidence)
    p_value = np.where(
        constant, np.where(mean == 0, 1.0, sign_flip), 2 * special.stdtr(n - 1, -np.abs(statistic))
    )
    return PairedT(
        mean,
        deviation,
        np.where(unbounded, np.nan, mean - half_width),
        np.where(unbounded, np.nan, mean + half_width),
        p_value,
    )


def equivalence_p_value(differences: ArrayLike, margin: float) -> Floats:
    """Return the p-value of two one-sided paired t-tests (TOST) against ± ``margin``.

    The larger of the p-values against "at most −margin" and "at least +margin" (Schuirmann 1987),
    as statsmodels' ``ttost_paired``; at most 5 % exactly where the 90 % t interval is inside the
    margin. A series of equal differences gets the sign-flip test of ``paired_t``, one-sided: 2^−n
    inside the margin, else 1. Differences that are all zero get 0: the two compute the same.

    Args:
        differences: finite, shape (..., n).
        margin: above zero, in the differences' unit.

    Returns:
        An array of shape (...); NaN for n < 2.
    """
    values = np.asarray(differences, dtype=np.float64)
    n = values.shape[-1]
    if n < 2:
        return np.full(values.shape[:-1], np.nan)
    constant = _constant(values)
    mean = np.where(constant, values[..., 0], values.mean(axis=-1))
    error = values.std(axis=-1, ddof=1) / math.sqrt(n)
    distance = margin - np.abs(mean)
    statistic = np.divide(distance, error, out=np.zeros_like(distance), where=~constant)
    exact = np.where(mean == 0, 0.0, np.where(distance > 0, 2.0**-n, 1.0))
    p_value: Floats = np.where(constant, exact, special.stdtr(n - 1, -statistic))
    return p_value


def _constant(values: Floats) -> NDArray[np.bool_]:
    """Return where values are equal, or differ so little that the squares underflow to 0."""
    equal = values.min(axis=-1) == values.max(axis=-1)
    constant: NDArray[np.bool_] = equal | (values.std(axis=-1) == 0)
    return constant


@lru_cache(maxsize=1024)
def detectable_noncentrality(freedom: float, level: float, power: float) -> float:
    """Return the noncentrality of t at which a two-sided test at ``level`` has ``power``.

    Rejections on the other side are left out: at any power of interest they are below 1e-6. NaN if
    it is above 10,000, where computing the noncentral t distribution takes seconds.
    """
    critical = -float(special.stdtrit(freedom, level / 2))

    def suffices(noncentrality: float) -> bool:
        below = float(special.nctdtr(freedom, noncentrality, critical))
        return not below >= 1 - power  # NaN: it overflows, which it does far above only

    low, high = 0.0, min(critical + 10 + 10 * critical / math.sqrt(freedom), 10_000)
    if not suffices(high):
        return math.nan
    # importing scipy.optimize for this would cost every report a tenth of a second
    while low < (middle := (low + high) / 2) < high:
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high


def detectable_effect(n: int, level: float = LEVEL, freedom: int | None = None) -> float:
    """Return the smallest effect that n pairs show with ``POWER``, in standard deviations.

    The effect is the mean of the paired differences over their standard deviation (Cohen's d_z),
    the test a two-sided t-test at ``level``, with n − 1 degrees of freedom unless ``freedom`` is
    given.
    """
    freedom = n - 1 if freedom is None else freedom
    return detectable_noncentrality(freedom, level, POWER) / math.sqrt(n)
