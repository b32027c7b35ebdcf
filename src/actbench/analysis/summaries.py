"""Means, standard deviations and intervals over the seeds of each activation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import special

from actbench.analysis.paired import CONFIDENCE, ROUNDING
from actbench.analysis.trial_matrix import TrialMatrix

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actbench.analysis.metrics import Metric

SUMMARY_FIGURES = ("mean", "std", "ci_low", "ci_high", "n")


def summarise(values: pd.DataFrame, metrics: Mapping[str, Metric]) -> pd.DataFrame:
    """Return a row per activation: means, standard deviations and 95 % t intervals over seeds.

    Args:
        values: one row per trial with the columns ``activation``, ``seed`` and one per metric; NaN
            if the trial has no value.
        metrics: by column; a metric without a column counts as without values.

    Returns:
        Activations in order of first appearance with the columns ``activation``, ``n`` (trials with
        any finite value) and for each metric ``<metric>_mean``, ``_std`` (n − 1 in the
        denominator), ``_ci_low``, ``_ci_high`` and ``_n``: the trials with a finite value of this
        metric, from which the other four are computed. A mean of no trial is NaN, as are the other
        three of fewer than two.

    Raises:
        ValueError: a trial appears twice.
    """
    trials = TrialMatrix(values, metrics)
    rows = []
    for activation in trials.activations:
        finite = {name: trials.finite(activation, name) for name in metrics}
        row: dict[str, object] = {"activation": activation, "n": 0}
        if finite:
            row["n"] = int(np.logical_or.reduce(list(finite.values())).sum())
        for name, present in finite.items():
            sample = trials.column(activation, name)[present]
            n = len(sample)
            mean, deviation, half_width = math.nan, math.nan, math.nan
            if n:
                mean = float(sample.mean())
            if n > 1:
                varies = np.ptp(sample) > ROUNDING * np.abs(sample).max()  # not only by rounding
                deviation = float(sample.std(ddof=1)) if varies else 0.0
                quantile = float(special.stdtrit(n - 1, (1 + CONFIDENCE) / 2))
                half_width = quantile * deviation / math.sqrt(n)
            row[f"{name}_mean"] = mean
            row[f"{name}_std"] = deviation
            row[f"{name}_ci_low"] = mean - half_width
            row[f"{name}_ci_high"] = mean + half_width
            row[f"{name}_n"] = n
        rows.append(row)
    figures = [f"{name}_{figure}" for name in metrics for figure in SUMMARY_FIGURES]
    return pd.DataFrame(rows, columns=["activation", "n", *figures])
