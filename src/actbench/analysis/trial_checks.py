"""Checks of single trials: above chance, and far from the others of the activation.

Pure functions: no I/O and no random numbers. docs/statistics.md has the rules.
"""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

CHANCE_LEVEL = 0.05
# The largest class's share of the test set, for records that do not state it.
KNOWN_CLASS_SHARES = {
    "digits": 37 / 360,
    "cifar10": 0.1,
    "cifar100": 0.01,
    "svhn": 5099 / 26032,
    "mnist": 0.1135,
    "fashion_mnist": 0.1,
}

# By number of trials, the robust z that the farthest of that many normal values exceeds in 1 % of
# samples (tools/simulate_missing_trials.py cutoffs). The usual 3.5 (Iglewicz & Hoaglin 1993) would
# flag a trial in 21 % of samples of five, as five values do not determine a spread.
MIN_TRIALS = 5
_CUTOFFS = ((5, 19.0), (6, 11.0), (8, 8.0), (10, 7.1), (15, 6.1), (20, 5.4), (30, 4.8), (50, 4.5))


def above_chance(correct: ArrayLike, images: int, class_share: float) -> NDArray[np.bool_]:
    """Return whether each network is right more often than one that ignores the image.

    A one-sided binomial test of each network's correct count against the share of the largest
    class, the best accuracy without using the image, at ``CHANCE_LEVEL``. Networks are tested one
    by one, not pooled: one that trains among many at chance would make a pooled test significant.

    Args:
        correct: how many test images each network classified correctly, shape (...).
        images: the number of test images, from 1.
        class_share: the largest class's share of the test images, in (0, 1].

    Returns:
        Shape (...); False where the count is NaN.
    """
    count = np.asarray(correct, dtype=np.float64)
    # P(X >= k) for X binomial is the regularised incomplete beta function
    known = np.nan_to_num(count)
    tail = special.betainc(np.maximum(known, 1), images - np.maximum(known, 1) + 1, class_share)
    above: NDArray[np.bool_] = (tail <= CHANCE_LEVEL) & (known >= 1)
    return above


def robust_z(values: ArrayLike, least_spread: float = 0.0) -> Floats:
    """Return each value's distance from the median, in robust standard deviations.

    (x − median) / (1.4826 MAD), where MAD is the median absolute deviation, 1 / 1.4826 of the
    standard deviation of a normal distribution (Iglewicz & Hoaglin 1993).

    Args:
        values: shape (n,), finite.
        least_spread: the deviation is taken to be at least this.

    Returns:
        Shape (n,); with a spread of 0, ±inf for values other than the median.
    """
    sample = np.asarray(values, dtype=np.float64)
    if not sample.size:
        return sample
    apart = sample - np.median(sample)
    spread = max(1.4826 * float(np.median(np.abs(apart))), least_spread)
    if spread == 0:
        return np.where(apart == 0, 0.0, np.copysign(np.inf, apart))
    scores: Floats = apart / spread
    return scores


def far_from_others(values: ArrayLike, images: int) -> Floats:
    """Return the robust z of each accuracy that is far from the others, NaN elsewhere.

    Far is beyond the value that the farthest of n normal values exceeds in 1 % of samples. The
    spread is taken to be at least the binomial standard deviation of an accuracy at the median on
    this many images, so that nothing is flagged if all seeds agree to an image or two.

    Args:
        values: accuracies of one activation, shape (n,), NaN where there is none.
        images: the number of test images, from 1.

    Returns:
        Shape (n,); all NaN with fewer than ``MIN_TRIALS`` values.
    """
    sample = np.asarray(values, dtype=np.float64)
    found = np.full(sample.shape, np.nan)
    known = np.isfinite(sample)
    n = int(known.sum())
    if n < MIN_TRIALS:
        return found
    centre = float(np.clip(np.median(sample[known]), 0, 1))
    scores = robust_z(sample[known], (centre * (1 - centre) / images) ** 0.5)
    cutoff = _CUTOFFS[bisect.bisect_right([least for least, _ in _CUTOFFS], n) - 1][1]
    found[known] = np.where(np.abs(scores) > cutoff, scores, np.nan)
    return found


def flags_of_activation(
    accuracies: Mapping[str, ArrayLike], images: int, class_share: float | None
) -> tuple[NDArray[np.bool_], list[str]]:
    """Return which trials of one activation are at chance, and each trial's flags as text.

    Args:
        accuracies: by metric, with ``clean_accuracy``: shape (trials,), NaN where there is none.
        images: the number of test images.
        class_share: as for ``above_chance``; None if not known: then nothing is at chance.
    """
    clean = np.asarray(accuracies["clean_accuracy"], dtype=np.float64)
    at_chance = np.zeros(clean.shape, dtype=np.bool_)
    if class_share is not None:
        correct = np.round(clean * images)
        at_chance = np.isfinite(clean) & ~above_chance(correct, images, class_share)
    flags = [["at chance"] if hit else [] for hit in at_chance]
    for metric, values in accuracies.items():
        for flag, score in zip(flags, far_from_others(values, images), strict=True):
            if not np.isnan(score):
                flag.append(
                    f"{metric.replace('_', ' ')} far from the others (robust z {score:+.1f})"
                )
    return at_chance, ["; ".join(flag).replace("-", "−") for flag in flags]


def checks_by_activation(
    trials: pd.DataFrame, metrics: Sequence[str], images: int, class_share: float | None
) -> dict[str, tuple[NDArray[np.bool_], list[str]]]:
    """Return ``flags_of_activation`` of each activation's trials.

    Args:
        trials: a row per trial with ``activation`` and a column of accuracies per metric.
        metrics: with ``clean_accuracy``.
        images: the number of test images; with 0, nothing is flagged.
        class_share: as for ``flags_of_activation``.
    """
    checks = {}
    for activation, part in trials.groupby("activation", sort=False):
        values = {name: part[name].to_numpy(np.float64) for name in metrics}
        nothing = np.zeros(len(part), dtype=np.bool_), [""] * len(part)
        found = flags_of_activation(values, images, class_share) if images else nothing
        checks[str(activation)] = found
    return checks
