"""Data frames → rows of text for every document, and CSV."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd
from pandas.api.types import is_float_dtype, is_numeric_dtype

from actbench.report.formatting import (
    DASH,
    MASKED,
    interval,
    number,
    percent,
    probability,
    signed,
)
from actbench.report.printable import printable
from actbench.report.sentences import seeds_range

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actbench.analysis.frames import Frames

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def to_csv(frame: pd.DataFrame) -> str:
    """Return the frame as CSV, text cells defused that a spreadsheet would run as a formula.

    Numbers are rounded to 12 significant digits: processors and libraries differ in the last ones.
    """
    safe = frame.copy()
    for column in safe.columns[[is_float_dtype(kind) for kind in safe.dtypes]]:
        safe[column] = [float(f"{number:.12g}") for number in safe[column].astype("float64")]
    for column in safe.columns[[not is_numeric_dtype(kind) for kind in safe.dtypes]]:
        cells = safe[column].unique()
        defused = {cell: safer for cell in cells if (safer := _defused(cell)) is not cell}
        if defused:
            changed = [defused.get(cell, cell) for cell in safe[column]]
            safe[column] = pd.Series(changed, safe.index, dtype=object)
    return safe.to_csv(index=False, lineterminator="\n")


def _defused(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    safe = f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell
    # csv quotes a line feed, but not every version a lone return
    return printable(safe.replace("\r", "\n"))


def summary_rows(frames: Frames) -> tuple[list[list[str]], list[str]]:
    """Return the rows and headers of the main table."""
    rows = []
    for row in frames.summary.to_dict("records"):

        def spread(metric: str, row: dict[str, float] = row) -> tuple[float, float]:  # type: ignore[assignment]
            return row[f"{metric}_mean"], row[f"{metric}_std"]

        rows.append(
            [
                str(row["activation"]),
                str(row["n"]),
                percent(*spread("clean_accuracy")),
                percent(*spread("corrupted_accuracy")),
                percent(*spread("accuracy_drop")),
                DASH if math.isnan(row["mce"]) else f"{row['mce']:.1f}",
                number(*spread("grad_norm_first")),
                number(*spread("grad_norm_ratio")),
                percent(*spread("inactive_fraction")),
            ]
        )
    headers = [
        "activation",
        "n",
        "clean accuracy, %",
        "corrupted accuracy, %",
        "drop, points",
        "mCE, %",
        "first-layer gradient norm",
        "first / last layer",
        "inactive units, %",
    ]
    return rows, headers


def compact_rows(frames: Frames) -> tuple[list[list[str]], list[str]]:
    """Return the rows and headers of the main table's part about accuracy, for narrow places."""
    headers = ["activation", "n", "clean %", "corrupted %", "drop", "mCE %"]
    rows, _ = summary_rows(frames)
    return [row[: len(headers)] for row in rows], headers


SENSITIVITY_NOTE = (
    "Each diverged trial is given the accuracy of a network at chance instead of being left out: "
    "an activation that diverges on seeds on which it would have done badly looks better without "
    "them. Crashed trials stay left out."
)


def comparison_rows(frames: Frames, comparisons: pd.DataFrame) -> tuple[list[list[str]], list[str]]:
    """Return the rows and headers of a table of paired differences, all or some of the study's."""
    rows = []
    for row in comparisons.to_dict("records"):
        metric = frames.metrics[row["metric"]]
        points = metric.kind == "fraction"
        rows.append(
            [
                row["activation"],
                f"{metric.label}{', points' if points else ''}",
                str(row["n"]),
                signed(row["difference"], points=points),
                interval(row["ci_low"], row["ci_high"], points=points),
                probability(row["p_holm"]),
                probability(row["p_wilcoxon_holm"]),
                probability(row["p_equivalence_holm"]),
                number(row["pair_correlation"]),
                number(row["minimum_detectable_effect"] * (100 if points else 1)),
                seeds_range(row),
                row["verdict"] + MASKED * _is_masked(frames, row),
            ]
        )
    headers = [
        "activation",
        "metric",
        "n",
        "difference",
        "95 % interval",
        "p (Holm)",
        "p (ranks)",
        "p (equivalent)",
        "pair correlation",
        "MDE",
        "seeds needed",
        "verdict",
    ]
    return rows, headers


def _is_masked(frames: Frames, row: Mapping[Any, Any]) -> bool:
    """Return whether a difference is one in robust accuracy that masked gradients may feign."""
    sides = (row["activation"], row["baseline"])
    return frames.metrics[row["metric"]].guarded and any(map(frames.masking, sides))


def variance_rows(frames: Frames) -> tuple[list[list[str]], list[str]]:
    """Return the rows and headers of the table of the two sources of variance."""
    rows = [
        [
            row["activation"],
            frames.metrics[row["metric"]].label,
            str(row["n_seeds"]),
            str(row["n_images"]),
            *(percent(row[f"standard_error_{of}"]) for of in ("seeds", "images", "total")),
            row["sharpen"] or DASH,
        ]
        for row in frames.variance.to_dict("records")
    ]
    headers = ["activation", "metric", "seeds", "test images", "from seeds", "from images", "total"]
    return rows, [*headers, "what would sharpen it"]
