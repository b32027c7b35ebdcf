"""Differences of two means from what papers print: means, standard deviations and n.

Pure functions: no I/O and no random numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import special

from actbench.analysis.paired import CONFIDENCE, POWER, ROUNDING, detectable_noncentrality
from actbench.analysis.sequential import LEVEL


@dataclass(frozen=True)
class Sample:
    """A printed mean with its standard deviation over n runs; n may differ between samples."""

    mean: float
    deviation: float
    n: int


@dataclass(frozen=True)
class Estimate:
    """A difference with its standard error, which has ``freedom`` degrees of freedom.

    Attributes:
        difference: the difference of the means.
        error: its standard error, above 0.
        freedom: above 0, not always an integer.
    """

    difference: float
    error: float
    freedom: float

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Return the t interval for the difference."""
        half = float(special.stdtrit(self.freedom, (1 + confidence) / 2)) * self.error
        return self.difference - half, self.difference + half

    def p_value(self) -> float:
        """Return the two-sided p-value for a difference of zero."""
        return 2 * float(special.stdtr(self.freedom, -abs(self.difference) / self.error))

    def equivalence_p_value(self, margin: float) -> float:
        """Return the p-value of two one-sided tests against ± ``margin`` (Schuirmann 1987)."""
        distance = margin - abs(self.difference)
        return float(special.stdtr(self.freedom, -distance / self.error))

    def detectable_effect(self, level: float = LEVEL, power: float = POWER) -> float:
        """Return the true difference that the two-sided test shows with ``power``.

        The observed standard error is taken for the true one.
        """
        return self.error * detectable_noncentrality(self.freedom, level, power)


def welch(sample: Sample, other: Sample) -> Estimate | None:
    """Return the difference sample − other of independent runs (Welch 1947).

    The degrees of freedom are Satterthwaite's. Both tests agree with
    ``scipy.stats.ttest_ind_from_stats(…, equal_var=False)``.

    Returns:
        None if one of them has fewer than two runs, or neither has any spread.
    """
    if min(sample.n, other.n) < 2:
        return None
    shares = [(s.deviation**2 / s.n, s.n) for s in (sample, other)]
    variance = math.fsum(share for share, _ in shares)
    if not variance > 0:
        return None
    parts = [(share / variance, n) for share, n in shares]  # squares of tiny shares would be 0
    freedom = 1 / math.fsum(part**2 / (n - 1) for part, n in parts)
    return Estimate(sample.mean - other.mean, math.sqrt(variance), freedom)


def paired_from_summaries(sample: Sample, other: Sample, correlation: float) -> Estimate | None:
    """Return the difference sample − other of runs that are pairs with this correlation.

    The variance of a paired difference is s₁² + s₂² − 2 r s₁ s₂; the test is the paired t-test.

    Args:
        sample: one side of the pairs.
        other: the other side.
        correlation: Pearson's, over the pairs, in [−1, 1].

    Returns:
        None if the numbers of runs differ or are below two, or the differences have no spread.
    """
    if sample.n != other.n or sample.n < 2:
        return None
    first, second = sample.deviation, other.deviation
    variance = first**2 + second**2 - 2 * correlation * first * second
    if not variance > ROUNDING * (first**2 + second**2):
        return None
    return Estimate(sample.mean - other.mean, math.sqrt(variance / sample.n), sample.n - 1)
