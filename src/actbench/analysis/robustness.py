"""Robustness relative to clean accuracy, and mechanisms: data frames in and out, no I/O."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from actbench.analysis.matched import matched_difference
from actbench.analysis.paired import paired_differences, paired_t

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
MIN_RANKED = 3  # two values have a rank correlation of ±1 whatever they are


def beyond_clean_error(corruptions: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """Return the corruptions with 1 − (error under corruption − clean error) as accuracy.

    The mean corruption error of that frame is the relative mean corruption error (Hendrycks &
    Dietterich 2019, section 4.2), which leaves out a corruption that adds no error to the
    baseline's.

    Args:
        corruptions: as for ``corruption_error_by_trial``.
        trials: the columns ``activation``, ``seed`` and ``clean_accuracy`` in [0, 1].
    """
    both = corruptions.merge(
        trials[["activation", "seed", "clean_accuracy"]], on=["activation", "seed"]
    )
    return both.assign(accuracy=1 - both["clean_accuracy"].astype(float) + both["accuracy"])


def matched_accuracies(trials: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return each trial's corrupted accuracy at the clean accuracy of the baseline's trial.

    That is the baseline's trial with the same seed. A trial is moved along its activation's line
    (see ``matched_difference``); the mean then differs from the baseline's by the intercept of that
    line (cf. effective robustness: Taori et al. 2020). The baseline's trials are not moved.

    Args:
        trials: the columns ``activation``, ``seed``, ``clean_accuracy``, ``corrupted_accuracy``.
        baseline: the activation that is matched.

    Returns:
        The columns ``activation``, ``seed``, ``matched_accuracy`` and ``slope``, NaN where the
        difference is not estimable.
    """
    columns = ["clean_accuracy", "corrupted_accuracy"]
    known = trials[["activation", "seed", *columns]].astype(dict.fromkeys(columns, float)).dropna()
    theirs = known[known["activation"] == baseline].set_index("seed")[columns]
    parts = [known[known["activation"] == baseline].assign(slope=math.nan)]
    for _, ours in known[known["activation"] != baseline].groupby("activation", sort=False):
        paired = ours[ours["seed"].isin(theirs.index)]
        clean, corrupted = (
            paired_differences(paired[name], theirs.loc[paired["seed"], name]) for name in columns
        )
        slope = matched_difference(corrupted, clean).slope if len(clean) else 0
        moved = paired["corrupted_accuracy"] - slope * clean
        parts.append(paired.assign(corrupted_accuracy=moved, slope=slope))
    table = pd.concat(parts).rename(columns={"corrupted_accuracy": "matched_accuracy"})
    return table.drop(columns="clean_accuracy")


def rank_correlation(one: Floats, other: Floats) -> float:
    """Return Spearman's ρ with ties at their mean rank; NaN below three pairs or without spread."""
    if len(one) < MIN_RANKED or np.ptp(one) == 0 or np.ptp(other) == 0:
        return math.nan
    return float(np.corrcoef(pd.Series(one).rank(), pd.Series(other).rank())[0, 1])


def mechanism_correlations(values: pd.DataFrame) -> pd.DataFrame:
    """Return mechanisms' rank correlations with corrupted accuracy, over trials and within seeds.

    ``rank_correlation`` is over all trials; those of a seed share weights and batches, so they are
    not independent and it gets no interval. ``within_seeds`` is the mean, over seeds, of the rank
    correlation among the activations of one seed. Seeds are independent, so this one has a 95 % t
    interval, cut to [−1, 1], which is about further seeds with the same activations.

    Args:
        values: a row per trial with ``activation``, ``seed``, ``corrupted_accuracy`` and
            ``MECHANISMS``.

    Returns:
        A row per mechanism with the columns ``MECHANISM_COLUMNS``; NaN where there are too few
        values, or none that differ.
    """
    rows, outcome = [], "corrupted_accuracy"
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
