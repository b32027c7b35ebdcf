"""The usual ways from printed means and deviations to intervals, p-values and effect sizes.

Every number is a ``Range``: all values that round to what is printed. The results
contain all that any of these values give.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from scipy import special

from actbench.analysis.printed import Range

_QUANTILE_ROUNDING = 0.0005  # 1.96, and printed tables of t, which have three decimals


@dataclass(frozen=True)
class RunSummary:
    """The mean and standard deviation of n runs, at least two."""

    mean: Range
    deviation: Range
    n: int


@dataclass(frozen=True)
class Convention:
    """A way to the standard error of an estimate, with its degrees of freedom (inf: normal)."""

    name: str
    error: Range
    freedom: Range

    def half_width(self, confidence: float) -> Range:
        """Return the half-widths of the interval; quantiles may be rounded to three decimals."""
        low, high = (quantile(f, confidence) for f in (self.freedom.high, self.freedom.low))
        low, high = low - _QUANTILE_ROUNDING, high + _QUANTILE_ROUNDING
        return Range(low * self.error.low, high * self.error.high)

    def p_value(self, difference: Range) -> Range:
        """Return the two-sided p-values of a difference."""
        statistic = ratio(difference.magnitude(), self.error)
        low = _two_sided(statistic.high, self.freedom.high)
        return Range(low, _two_sided(statistic.low, self.freedom.low))


def of_mean(summary: RunSummary) -> list[Convention]:
    """Return the conventions for an interval of the mean."""
    error = summary.deviation.scaled(1 / math.sqrt(summary.n))
    freedom = float(summary.n - 1)
    return [
        Convention("t interval of the mean", error, Range(freedom, freedom)),
        Convention("normal interval of the mean", error, Range(math.inf, math.inf)),
    ]


def of_difference(one: RunSummary, other: RunSummary) -> list[Convention]:
    """Return the conventions for a difference of runs that are not paired, Student's first."""
    first, second = (
        Range(s.deviation.low**2 / s.n, s.deviation.high**2 / s.n) for s in (one, other)
    )
    separate = Range(math.sqrt(first.low + second.low), math.sqrt(first.high + second.high))
    pooled = pooled_deviation(one, other).scaled(math.sqrt(1 / one.n + 1 / other.n))
    freedom = float(one.n + other.n - 2)
    return [
        Convention("Student's t", pooled, Range(freedom, freedom)),
        Convention("Welch's t", separate, _welch_freedom(first, second, one.n, other.n)),
        Convention("normal", separate, Range(math.inf, math.inf)),
    ]


def pooled_deviation(one: RunSummary, other: RunSummary) -> Range:
    """Return the standard deviations within both groups together, as Student's test has them."""
    total = one.n + other.n - 2

    def pooled(first: float, second: float) -> float:
        return math.sqrt(((one.n - 1) * first**2 + (other.n - 1) * second**2) / total)

    lows, highs = (
        (one.deviation.low, other.deviation.low),
        (one.deviation.high, other.deviation.high),
    )
    return Range(pooled(*lows), pooled(*highs))


def effect_sizes(one: RunSummary, other: RunSummary) -> dict[str, Range]:
    """Return the absolute standardised differences by their usual names."""
    difference = one.mean.minus(other.mean).magnitude()
    pooled = pooled_deviation(one, other)
    averaged = Range(
        math.hypot(one.deviation.low, other.deviation.low) / math.sqrt(2),
        math.hypot(one.deviation.high, other.deviation.high) / math.sqrt(2),
    )
    correction = 1 - 3 / (4 * (one.n + other.n - 2) - 1)  # Hedges (1981)
    return {
        "Cohen's d": ratio(difference, pooled),
        "Cohen's d with averaged variances": ratio(difference, averaged),
        "Hedges' g": ratio(difference, pooled).scaled(correction),
        "Glass's Δ by the reference's deviation": ratio(difference, other.deviation),
        "Glass's Δ by the row's deviation": ratio(difference, one.deviation),
    }


def correlations(one: RunSummary, other: RunSummary, deviation: Range) -> Range:
    """Return the correlations with which paired differences have a standard deviation.

    They solve d² = a² + b² − 2 r a b, which is monotone in d, and in a and b on either side of
    a² = b² − d² and b² = a² − d². Values outside [−1, 1] mean that no pairs have it.

    Args:
        one: one side of the pairs.
        other: the other side; both deviations above 0.
        deviation: that of the paired differences; its upper end may be infinite.
    """
    found = []
    for ours, theirs in ((one.deviation, other.deviation), (other.deviation, one.deviation)):
        for b, d in itertools.product((theirs.low, theirs.high), (deviation.low, deviation.high)):
            if math.isinf(d):
                found.append(-math.inf)
                continue
            sides = (ours.low, ours.high, _within(b**2 - d**2, ours))
            found += [(a**2 + b**2 - d**2) / (2 * a * b) for a in sides]
    return Range(min(found), max(found))


def _within(square: float, values: Range) -> float:
    """Return the root of a square, or the nearest value in a range."""
    return min(max(math.sqrt(max(square, 0.0)), values.low), values.high)


def deviation_for_p(p: Range, difference: Range, n: int) -> Range:
    """Return the standard deviations of n paired differences with which a p-value comes about.

    Args:
        p: the p-value of the two-sided paired t-test.
        difference: the mean of the paired differences.
        n: pairs.
    """
    least, most = (
        -float(special.stdtrit(n - 1, end / 2)) if end > 0 else math.inf
        for end in (min(p.high, 1.0), p.low)
    )
    return ratio(difference.magnitude(), Range(max(least, 0.0), most)).scaled(math.sqrt(n))


def _welch_freedom(first: Range, second: Range, n: int, n_other: int) -> Range:
    """Return Satterthwaite's degrees of freedom for these variances of two means.

    They depend only on the first variance's share of the sum; the largest are n + m − 2, at the
    share (n − 1) / (n + m − 2), and they fall to either side of it.
    """

    def freedom(share: float) -> float:
        return 1 / (share**2 / (n - 1) + (1 - share) ** 2 / (n_other - 1))

    shares = Range(_share(first.low, second.high), _share(first.high, second.low))
    best = min(max((n - 1) / (n + n_other - 2), shares.low), shares.high)
    return Range(min(freedom(shares.low), freedom(shares.high)), freedom(best))


def _share(part: float, rest: float) -> float:
    return part / (part + rest) if part + rest > 0 else 0.0


def quantile(freedom: float, confidence: float) -> float:
    """Return the t quantile of a two-sided interval; with infinite freedom the normal one."""
    upper = (1 + confidence) / 2
    return float(special.ndtri(upper) if math.isinf(freedom) else special.stdtrit(freedom, upper))


def _two_sided(statistic: float, freedom: float) -> float:
    if math.isinf(statistic):
        return 0.0
    tail = special.ndtr(-statistic) if math.isinf(freedom) else special.stdtr(freedom, -statistic)
    return 2 * float(tail)


def ratio(numerator: Range, denominator: Range) -> Range:
    """Return the quotients of two ranges without negative numbers; the upper end may be inf."""
    low = numerator.low / denominator.high if denominator.high > 0 else 0.0
    high = numerator.high / denominator.low if denominator.low > 0 else math.inf
    return Range(low, high)
