"""The values of trials by activation, seed and metric, and which seeds make a pair."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from actbench.analysis.metrics import Metric

    Floats = NDArray[np.float64]

# The square of a larger value overflows or has no meaning, so the value counts as infinite.
_MAX_VALUE = 1e100


class TrialMatrix:
    """The values of a study's trials: for each metric an array (activations, seeds), NaN if absent.

    Attributes:
        activations: in order of first appearance.
    """

    def __init__(self, values: pd.DataFrame, metrics: Mapping[str, Metric]) -> None:
        """Take the values from a frame with one row per trial, as ``compare`` does.

        Raises:
            ValueError: a trial appears twice.
        """
        self.activations: list[str] = list(pd.unique(values["activation"]))
        seeds = pd.Index(pd.unique(values["seed"])).sort_values()
        self._rows = {activation: row for row, activation in enumerate(self.activations)}
        row = values["activation"].map(self._rows).to_numpy(dtype=np.intp)
        position = (row, seeds.get_indexer(pd.Index(values["seed"])))
        planned = np.zeros((len(self.activations), len(seeds)), dtype=np.intp)
        np.add.at(planned, position, 1)
        if (planned > 1).any():
            raise ValueError("values has more than one row for a trial")
        self._planned = planned > 0
        self._values = {}
        for name in {column for m in metrics.values() for column in (m.name, *m.columns)}:
            table = np.full(planned.shape, np.nan)
            if name in values:
                table[position] = values[name].to_numpy(dtype=np.float64, na_value=np.nan)
            self._values[name] = table
        self._absent = np.full(len(seeds), np.nan)

    def column(self, activation: str, metric: str) -> Floats:
        """Return an activation's values, shape (seeds,), NaN if there is none."""
        if activation not in self._rows:
            return self._absent
        column: Floats = self._values[metric][self._rows[activation]]
        return column

    def finite(self, activation: str, metric: str) -> NDArray[np.bool_]:
        """Return which of an activation's values are present and at most 1e100, shape (seeds,)."""
        finite: NDArray[np.bool_] = np.abs(self.column(activation, metric)) <= _MAX_VALUE
        return finite

    def pairs(self, activation: str, baseline: str, metric: Metric) -> NDArray[np.bool_]:
        """Return the seeds for which both have a finite value in all columns of the metric."""
        finite = [
            self.finite(side, name) for name in metric.columns for side in (activation, baseline)
        ]
        both: NDArray[np.bool_] = np.logical_and.reduce(finite)
        return both

    def left_out(self, activation: str, baseline: str, metric: Metric) -> list[str]:
        """Return notes on the seeds of either activation that give no pair, with their counts."""
        planned = np.zeros_like(self._absent, dtype=bool)
        infinite, absent = planned.copy(), planned.copy()
        for side in (activation, baseline):
            if side in self._rows:
                planned |= self._planned[self._rows[side]]
            for name in metric.columns:
                absent |= np.isnan(self.column(side, name))
                infinite |= ~self.finite(side, name)
        counts = {"missing": (planned & absent).sum(), "infinite": (infinite & ~absent).sum()}
        return [
            f"{count} of {planned.sum()} seeds left out, as a value is {reason}"
            for reason, count in counts.items()
            if count
        ]
