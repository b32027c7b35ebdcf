"""Synthetic trial values, the input of the statistics, and simulated differences."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from actbench.analysis.comparisons import compare
from actbench.analysis.metrics import metrics_for

if TYPE_CHECKING:
    import numpy as np

METRICS = metrics_for(["gaussian_noise"])

ACCURACY = {"clean_accuracy": METRICS["clean_accuracy"]}

LOSS = {"clean_loss": METRICS["clean_loss"]}

GRADIENT = {"grad_norm_first": METRICS["grad_norm_first"]}


def study(metric: str = "clean_accuracy", **activations: Any) -> pd.DataFrame:
    """Return the trials of a study with the given values for seeds 0, 1, ..."""
    rows = [
        {"activation": name, "seed": seed, metric: value}
        for name, values in activations.items()
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def only_row(values: pd.DataFrame, metrics: Any = ACCURACY, **options: Any) -> dict[str, Any]:
    table = compare(values, baseline="relu", metrics=metrics, **options)
    assert len(table) == 1
    return table.iloc[0].to_dict()


def simulated_differences(
    rng: np.random.Generator, studies: int, n: int, activations: int = 5, effect: float = 0.0
) -> np.ndarray:
    """Return normal differences (studies, activations, n) that share the baseline's noise."""
    own = rng.standard_normal((studies, activations, n))
    shared = rng.standard_normal((studies, 1, n))
    return (own + shared) / math.sqrt(2) + effect


def false_alarm(p_values: np.ndarray, level: float) -> np.ndarray:
    """Return whether Holm's procedure calls any of the activations (last axis) significant.

    Its smallest corrected p-value is the number of tests times the smallest p-value.
    """
    alarm: np.ndarray = p_values.shape[-1] * p_values.min(axis=-1) <= level
    return alarm
