"""Comparisons → verdicts: Holm's correction over the activations, and the decision rules."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from numpy.typing import NDArray

    from actbench.analysis.metrics import Metric

    Floats = NDArray[np.float64]

NO_VERDICT = "no verdict"
IDENTICAL = "identical"
VERDICTS = ("better", "worse", "higher", "lower", "equivalent", "undecided", NO_VERDICT, IDENTICAL)
SEEDS_COLUMNS = ("seeds_needed", "seeds_needed_low", "seeds_needed_high")


def decide(table: pd.DataFrame, metrics: Mapping[str, Metric], level: float) -> pd.DataFrame:
    """Return the table of ``compare`` with Holm's correction over a metric's rows, and verdicts.

    The columns ``p_holm``, ``p_equivalence_holm`` and ``verdict`` are computed again, and the
    seeds that an undecided row needs are raised above its ``n``.

    Args:
        table: rows of ``compare``, of one or of several calls.
        metrics: by name; all that the table has.
        level: the level of every test, in (0, 1).
    """
    table = table.copy()
    families = [table["metric"] == name for name in table["metric"].unique()]
    for column, corrected in (("p_value", "p_holm"), ("p_equivalence", "p_equivalence_holm")):
        for rows in families:
            table.loc[rows, corrected] = holm(table.loc[rows, column].to_numpy(np.float64))
    table["verdict"] = [
        _verdict(row, metrics[row["metric"]], level) for row in table.to_dict("records")
    ]
    undecided = table["verdict"] == "undecided"
    for column in SEEDS_COLUMNS:
        more = table[column].clip(lower=table["n"] + 1)
        table[column] = table[column].where(~undecided, more)
    return table


def holm(p_values: Floats) -> Floats:
    """Return Holm's step-down correction (Holm 1979) over those p-values that are not NaN.

    The i-th smallest of m is multiplied by m − i (from i = 0), then raised to the one before it and
    cut at 1. statsmodels' ``multipletests`` gives the same, and the tests compare with it; it is
    not used here, because it runs the garbage collector at every call, which took most of a
    report's time.
    """
    corrected = np.full_like(p_values, np.nan)
    tested = np.flatnonzero(~np.isnan(p_values))
    order = tested[np.argsort(p_values[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1)
    return corrected


def _verdict(row: Mapping[Any, Any], metric: Metric, level: float) -> str:
    """Return the verdict of a row of ``compare``, by the rule in its docstring."""
    if row["n"] < 2 or math.isnan(row["difference"]):
        return NO_VERDICT
    identical = row["difference"] == 0 and row["ci_low"] == row["ci_high"]
    if identical or row["p_equivalence_holm"] <= level:
        return "equivalent"
    if not row["p_holm"] <= level:
        return "undecided"
    return _direction(metric, higher=row["difference"] > 0)


def _direction(metric: Metric, *, higher: bool) -> str:
    if metric.direction == "none":
        return "higher" if higher else "lower"
    return "better" if higher == (metric.direction == "higher") else "worse"


def judge_by_ranks(family: list[dict[str, Any]], metric: Metric, level: float) -> None:
    """Add Wilcoxon's corrected p-value and verdict to all rows of ``compare`` in one metric.

    Each row's ``ranks`` (its ``SignedRank``) is removed.
    """
    p_values = np.array([row["p_wilcoxon"] for row in family], dtype=np.float64)
    tests = int(np.isfinite(p_values).sum())
    for row, p_holm in zip(family, holm(p_values), strict=True):
        ranks = row.pop("ranks")
        row["p_wilcoxon_holm"] = p_holm
        row["verdict_wilcoxon"] = NO_VERDICT
        if p_holm <= level:
            row["verdict_wilcoxon"] = _direction(metric, higher=ranks.sign > 0)
        elif tests * ranks.least_p_value <= level:
            row["verdict_wilcoxon"] = "undecided"


def ranks_disagree(row: Mapping[Any, Any]) -> bool:
    """Return whether the signed-rank test contradicts the verdict of a row of ``compare``.

    A difference that ranks find does not contradict "equivalent": it exists, and is too small to
    matter.
    """
    verdicts = {row["verdict"], row["verdict_wilcoxon"]}
    return len(verdicts) > 1 and not verdicts & {NO_VERDICT, "equivalent"}
