"""Wilcoxon's signed-rank test (1945) of paired differences, exact with ties and zeros."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

MIN_PAIRS = 6  # with five, no p-value is below 0.0625
MAX_EXACT = 50


@dataclass(frozen=True)
class SignedRank:
    """The result of ``signed_rank``.

    ``p_value`` is two-sided. ``sign`` is 1 if the positive differences have the larger sum of
    ranks, −1 if the negative ones have, else 0. ``least_p_value`` is the smallest p-value that
    this many non-zero differences can have.
    """

    p_value: float
    sign: int
    least_p_value: float


def signed_rank(differences: ArrayLike) -> SignedRank:
    """Return Wilcoxon's signed-rank test that the differences are symmetrical about zero.

    Zeros are left out and ties get their mean rank, as ``scipy.stats.wilcoxon`` does. Up to 50
    differences the p-value is exact given the ties, from the distribution over all 2ⁿ signs; scipy
    enumerates these, which takes a second for 13 pairs, and uses a normal approximation from 14
    tied pairs on. Beyond 50 it is that approximation, as in scipy.

    Args:
        differences: finite, shape (n,).

    Returns:
        NaN p-values with fewer than ``MIN_PAIRS`` pairs.
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) < MIN_PAIRS:
        return SignedRank(math.nan, 0, math.nan)
    largest = float(np.abs(values).max())
    if largest == 0:
        return SignedRank(1.0, 0, 1.0)
    values = np.round(values / largest, 12)  # 0.3 − 0.2 and 0.2 − 0.1 are tied
    values = values[values != 0]
    n = len(values)
    _, position, counts = np.unique(np.abs(values), return_inverse=True, return_counts=True)
    twice = (2 * counts.cumsum() - counts + 1)[position]  # mean ranks, doubled to integers
    total, positive = int(twice.sum()), int(twice[values > 0].sum())
    sign = int(np.sign(2 * positive - total))
    smaller = min(positive, total - positive)
    if n > MAX_EXACT:
        deviation = math.sqrt(float((twice.astype(np.float64) ** 2).sum())) / 2
        p_value = 2 * float(special.ndtr((smaller - total / 2) / deviation))
        return SignedRank(min(1.0, p_value), sign, 0.0)
    ways = np.zeros(total + 1)  # how many choices of signs give each sum of ranks
    ways[0] = 1
    for rank in twice:
        ways[rank:] = ways[rank:] + ways[:-rank]
    p_value = 2 * float(ways[: smaller + 1].sum()) / 2.0**n
    return SignedRank(min(1.0, p_value), sign, 2.0 ** (1 - n))
