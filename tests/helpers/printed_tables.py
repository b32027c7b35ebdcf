"""Tables as a paper prints them: computed from runs, then rounded."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from scipy import stats

from actbench.analysis.printed import Printed, parse_number
from actbench.analysis.published_tables import PublishedRow, PublishedTable

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray


def printed(value: float, decimals: int) -> Printed:
    """Return the number as it is printed with that many decimals."""
    found = parse_number(f"{value:.{decimals}f}")
    assert found is not None
    return found


def printed_table(
    runs: Mapping[str, NDArray[np.float64]],
    decimals: Mapping[str, int],
    *,
    test: str = "student",
    interval: str = "difference",
) -> PublishedTable:
    """Return the table of some runs in percent, with comparisons to the first row.

    Args:
        runs: the accuracies of each row, in percent.
        decimals: of mean, sd, ci, p, d and difference.
        test: ``student``, ``welch`` or ``paired``.
        interval: ``difference`` or ``mean``.
    """
    reference = next(iter(runs))
    rows = []
    for name, values in runs.items():
        n, mean, sd = len(values), values.mean(), values.std(ddof=1)
        row = {
            "mean": printed(mean, decimals["mean"]),
            "sd": printed(sd, decimals["sd"]),
            "se": printed(sd / math.sqrt(n), decimals["sd"]),
        }
        other = runs[reference]
        if interval == "mean":
            half = stats.t.ppf(0.975, n - 1) * sd / math.sqrt(n)
            row["ci_low"] = printed(mean - half, decimals["ci"])
            row["ci_high"] = printed(mean + half, decimals["ci"])
        if name != reference:
            if test == "paired":
                found = stats.ttest_rel(values, other)
            else:
                found = stats.ttest_ind(values, other, equal_var=test == "student")
            low, high = found.confidence_interval(0.95)
            if interval == "difference":
                row["ci_low"], row["ci_high"] = (printed(e, decimals["ci"]) for e in (low, high))
            row["p"] = printed(found.pvalue, decimals["p"])
            pooled = math.sqrt(
                ((n - 1) * sd**2 + (len(other) - 1) * other.var(ddof=1)) / (n + len(other) - 2)
            )
            row["d"] = printed(abs(mean - other.mean()) / pooled, decimals["d"])
            row["difference"] = printed(mean - other.mean(), decimals["difference"])
        rows.append(PublishedRow(name, n=n, **row))
    return PublishedTable("table", tuple(rows), "percent", reference, reference)
