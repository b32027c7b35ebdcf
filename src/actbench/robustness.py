"""Robustness beside clean accuracy and beside mechanism: data frames in, figures out; no I/O."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from actbench.paired import paired_t
from actbench.statistics import mean_corruption_error

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MECHANISMS = ("inactive_fraction", "grad_norm_ratio", "logit_margin", "input_gradient_norm")
MECHANISM_COLUMNS = (
    "mechanism",
    "outcome",
    "n_trials",
    "rank_correlation",
    "n_seeds",
    "within_seeds",
    "within_ci_low",
    "within_ci_high",
)
LEAST_TRIALS = 5  # a line through fewer leaves too little over to speak of residuals
LEAST_RANKED = 3  # two values have a rank correlation of ±1 whatever they are


def relative_corruption_error(
    corruptions: pd.DataFrame, trials: pd.DataFrame, baseline: str
) -> pd.Series[float]:
    """Return each activation's relative mean corruption error in percent; the baseline is 100.

    As ``mean_corruption_error``, but each trial's clean error is subtracted from its errors under
    corruption first (Hendrycks & Dietterich 2019, section 4.2), so it compares what corruption
    adds. A corruption that adds nothing for the baseline is left out of that average.

    Args:
        corruptions: as for ``mean_corruption_error``.
        trials: the columns ``activation``, ``seed`` and ``clean_accuracy`` in [0, 1].
        baseline: the activation to divide by.

    Returns:
        A series named "relative_mce" by activation; NaN where nothing remains.
    """
    both = corruptions.merge(
        trials[["activation", "seed", "clean_accuracy"]], on=["activation", "seed"]
    )
    added = both["clean_accuracy"].astype(float) - both["accuracy"]
    found = mean_corruption_error(both.assign(accuracy=1 - added), baseline)
    return found.rename("relative_mce")


@dataclass(frozen=True, eq=False)
class MatchedAccuracy:
    """Corrupted accuracy with the part that clean accuracy predicts taken away.

    ``accuracies`` (trials,) are what each trial would have, by the line through all of them, at the
    study's mean clean accuracy: its residual plus the mean corrupted accuracy. ``slope`` is the
    line's, in points per point, and ``n`` the trials that it goes through.
    """

    accuracies: Floats
    slope: float
    n: int


def matched_accuracy(clean: Floats, corrupted: Floats) -> MatchedAccuracy:
    """Return corrupted accuracy at matched clean accuracy, by least squares over all trials.

    A difference of two such values is the difference of their residuals, which is what is compared
    pair by pair (cf. effective robustness: Taori et al. 2020). All values and the slope are NaN
    with fewer than five trials or where clean accuracy does not vary.

    Args:
        clean: (trials,), NaN where there is none.
        corrupted: (trials,), likewise.
    """
    known = np.isfinite(clean) & np.isfinite(corrupted)
    n = int(known.sum())
    values = np.full(len(clean), np.nan)
    if n < LEAST_TRIALS or np.ptp(clean[known]) == 0:
        return MatchedAccuracy(values, math.nan, n)
    apart = clean[known] - clean[known].mean()
    slope = float(apart @ corrupted[known] / (apart @ apart))
    values[known] = corrupted[known] - slope * apart
    return MatchedAccuracy(values, slope, n)


def rank_correlation(one: Floats, other: Floats) -> float:
    """Return Spearman's ρ, ties at their mean rank; NaN below three pairs or without variation."""
    if len(one) < LEAST_RANKED or np.ptp(one) == 0 or np.ptp(other) == 0:
        return math.nan
    return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _ranks(values: Floats) -> Floats:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (counts.cumsum() - (counts - 1) / 2)[place]
    return ranks


def mechanism_correlations(
    values: pd.DataFrame, outcome: str = "corrupted_accuracy"
) -> pd.DataFrame:
    """Return how each mechanism's rank goes with the outcome's, over trials and within seeds.

    ``rank_correlation`` is over all trials; those of a seed share weights and batches, so they are
    not independent and it gets no interval. ``within_seeds`` is the mean, over seeds, of the rank
    correlation among the activations of one seed. Seeds are independent, so this one has a 95 % t
    interval, cut to [−1, 1], which speaks of further seeds with the same activations.

    Args:
        values: a row per trial with ``activation``, ``seed``, the outcome and ``MECHANISMS``.
        outcome: the column to go with.

    Returns:
        A row per mechanism with the columns ``MECHANISM_COLUMNS``; NaN where there are too few
        values, or none that differ.
    """
    rows = []
    for mechanism in MECHANISMS:
        known = values.replace([np.inf, -np.inf], np.nan).dropna(subset=[mechanism, outcome])
        sides = known[mechanism].to_numpy(np.float64), known[outcome].to_numpy(np.float64)
        by_seed = [
            rank_correlation(*(side[rows_of_seed] for side in sides))
            for rows_of_seed in known.groupby("seed").indices.values()
        ]
        within = np.array([found for found in by_seed if math.isfinite(found)])
        interval = paired_t(within)
        spread = len(within) > 1 and np.ptp(within) > 0
        rows.append(
            {
                "mechanism": mechanism,
                "outcome": outcome,
                "n_trials": len(known),
                "rank_correlation": rank_correlation(*sides),
                "n_seeds": len(within),
                "within_seeds": within.mean() if len(within) else math.nan,
                "within_ci_low": max(-1.0, float(interval.ci_low)) if spread else math.nan,
                "within_ci_high": min(1.0, float(interval.ci_high)) if spread else math.nan,
            }
        )
    return pd.DataFrame(rows, columns=list(MECHANISM_COLUMNS))
