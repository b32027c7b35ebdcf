"""Data frames → CSV, and the tables that several documents show."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd
from pandas.api.types import is_float_dtype, is_numeric_dtype

from actbench.analysis.verdicts import NO_VERDICT
from actbench.report.formatting import (
    DASH,
    MASKED,
    correlation,
    interval,
    metric_label,
    number,
    p_value,
    percent,
    signed,
)
from actbench.report.printable import printable
from actbench.report.sentences import seeds_range
from actbench.report.table import Table
from actbench.study.levels import corruption_label, has_levels, name_label

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from actbench.analysis.frames import Frames

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def to_csv(frame: pd.DataFrame) -> str:
    """Return the frame as CSV, with an apostrophe before text that is a formula to a spreadsheet.

    Numbers are ``rounded``.
    """
    safe = rounded(frame)
    for column in safe.columns[[not is_numeric_dtype(kind) for kind in safe.dtypes]]:
        cells = safe[column].unique()
        defused = {cell: safer for cell in cells if (safer := _defused(cell)) is not cell}
        if defused:
            changed = [defused.get(cell, cell) for cell in safe[column]]
            safe[column] = pd.Series(changed, safe.index, dtype=object)
    return safe.to_csv(index=False, lineterminator="\n")


def rounded(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with numbers of 12 significant digits.

    Processors and libraries differ in the last ones.
    """
    table = frame.copy()
    for column in table.columns[[is_float_dtype(kind) for kind in table.dtypes]]:
        table[column] = [float(f"{number:.12g}") for number in table[column].astype("float64")]
    return table


def _defused(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    safe = f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell
    # csv quotes a line feed, but not in every version a carriage return
    return printable(safe.replace("\r", "\n"))


def summary_table(frames: Frames) -> Table:
    """Return the main table: mean ± standard deviation of the most important metrics."""

    def mean(row: dict[Hashable, Any], metric: str, show: Callable[[float, float], str]) -> str:
        return show(row[f"{metric}_mean"], row[f"{metric}_std"])

    columns: dict[str, Callable[[dict[Hashable, Any]], str]] = {
        "activation": lambda row: str(row["activation"]),
        "n": lambda row: str(row["n"]),
        "clean accuracy, %": lambda row: mean(row, "clean_accuracy", percent),
    }
    if frames.study.corruptions:
        columns |= {
            "corrupted accuracy, %": lambda row: mean(row, "corrupted_accuracy", percent),
            "drop, points": lambda row: mean(row, "accuracy_drop", percent),
            "mCE, %": lambda row: DASH if math.isnan(row["mce"]) else f"{row['mce']:.1f}",
        }
    columns |= {
        "first-layer gradient norm": lambda row: mean(row, "grad_norm_first", number),
        "first / last layer": lambda row: mean(row, "grad_norm_ratio", number),
        "inactive units, %": lambda row: mean(row, "inactive_fraction", percent),
    }
    return Table(
        id="summary",
        title="Mean ± standard deviation over n seeds",
        headers=list(columns),
        rows=[
            [cell(row) for cell in columns.values()] for row in frames.summary.to_dict("records")
        ],
    )


def compact_table(frames: Frames) -> Table:
    """Return the columns of ``summary_table`` about accuracy, for narrow pages and terminals."""
    headers = ["activation", "n", "clean %"]
    if frames.study.corruptions:
        headers += ["corrupted %", "drop", "mCE %"]
    rows = [row[: len(headers)] for row in summary_table(frames).rows]
    return Table(f"{frames.study.data_label}, {frames.study.model}", headers, rows)


def comparison_table(frames: Frames, comparisons: pd.DataFrame) -> Table:
    """Return paired differences with intervals, p-values and verdicts.

    Args:
        frames: the study's.
        comparisons: the rows of ``frames.comparisons`` to show, if their metric was asked for.
    """
    rows = []
    for row in comparisons.to_dict("records"):
        metric = frames.metrics[row["metric"]]
        if metric.of_corruptions and not frames.study.corruptions:
            continue
        points = metric.kind == "fraction"
        ends = row["ci_low"], row["ci_high"]
        rows.append(
            [
                row["activation"],
                metric_label(metric),
                str(row["n"]),
                signed(row["difference"], points=points, ends=ends),
                interval(*ends, points=points),
                p_value(row["p_holm"]),
                p_value(row["p_wilcoxon_holm"]),
                p_value(row["p_equivalence_holm"]),
                correlation(row["pair_correlation"]),
                number(row["minimum_detectable_effect"] * (100 if points else 1)),
                seeds_range(row) if row["verdict"] in ("undecided", NO_VERDICT) else DASH,
                f"{row['verdict']}{MASKED if _is_masked(frames, row) else ''}",
            ]
        )
    return Table(
        title=f"Paired differences from {frames.study.baseline}",
        headers=[
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
        ],
        rows=rows,
    )


def _is_masked(frames: Frames, row: Mapping[Any, Any]) -> bool:
    """Return whether the row is about robust accuracy and masked gradients may have raised it."""
    sides = (row["activation"], row["baseline"])
    return frames.metrics[row["metric"]].guarded and any(map(frames.masking, sides))


def sensitivity_table(frames: Frames) -> Table:
    """Return the primary comparisons with diverged trials scored as chance."""
    verdicts = {
        (row["activation"], row["metric"]): f"{row['verdict']}, n = {row['n']}"
        for row in frames.comparisons.to_dict("records")
    }
    return Table(
        id="sensitivity",
        title="With diverged trials scored as chance",
        headers=[
            "activation",
            "metric",
            "without diverged trials",
            "n",
            "difference",
            "95 % interval",
            "p (Holm)",
            "verdict",
        ],
        rows=[
            [
                row["activation"],
                metric_label(frames.metrics[row["metric"]]),
                verdicts[row["activation"], row["metric"]],
                str(row["n"]),
                signed(row["difference"], points=True),
                interval(row["ci_low"], row["ci_high"], points=True),
                p_value(row["p_holm"]),
                row["verdict"],
            ]
            for row in frames.sensitivity.to_dict("records")
        ],
        note="Each diverged trial is given the accuracy of a network at chance instead of being "
        "left out: without its diverged trials, an activation that diverges on difficult seeds has "
        "too high a mean. Crashed trials stay left out.",
    )


def variance_table(frames: Frames) -> Table:
    """Return the standard errors of each primary difference by source: seeds and test images."""
    return Table(
        id="variance",
        title="Standard errors of the difference, in points",
        headers=[
            "activation",
            "metric",
            "seeds",
            "test images",
            "from seeds",
            "from images",
            "total",
            "what reduces it",
        ],
        rows=[
            [
                row["activation"],
                frames.metrics[row["metric"]].label,
                str(row["n_seeds"]),
                str(row["n_images"]),
                *(percent(row[f"standard_error_{of}"]) for of in ("seeds", "images", "total")),
                row["reduced_by"] or DASH,
            ]
            for row in frames.variance.to_dict("records")
        ],
    )


def failures_table(frames: Frames) -> Table:
    """Return the trials that diverged or crashed, with the reasons."""
    headers = ["activation", "seed", "status", "reason"]
    failed = frames.trials[frames.trials["status"] != "ok"]
    return Table(
        id="failed",
        title="They are left out of every mean; n is the number of trials that remain",
        headers=headers,
        rows=failed[headers].astype(str).to_numpy().tolist(),
    )


def means_table(
    frames: Frames,
    frame: pd.DataFrame,
    by: str,
    value: str,
    show: Callable[[float, float], str] = percent,
) -> Table:
    """Return mean ± standard deviation over seeds, a row per value of a column.

    Args:
        frames: the study's.
        frame: a table of ``frames``, or some rows of it.
        by: its column with the names of the rows; the columns are the activations.
        value: its column to average.
        show: formats a mean and a standard deviation. A dash: no trial has a value.
    """
    by_seed = frame.groupby(["activation", by, "seed"], sort=False)[value].mean()
    groups = by_seed.groupby(["activation", by], sort=False).agg(["mean", "std"])
    cells = {key: show(*row) for key, row in zip(groups.index, groups.to_numpy(), strict=True)}
    known = {activation for activation, _ in cells}
    activations = [activation for activation in frames.study.activations if activation in known]
    label = corruption_label if by == "corruption" else str
    rows = [
        [label(name), *(cells.get((column, name), DASH) for column in activations)]
        for name in frame[by].unique()
    ]
    return Table(f"Accuracy by {by}, %", [by, *activations], rows, id=f"by-{by}")


def accuracy_tables(frames: Frames) -> list[Table]:
    """Return accuracy under corruption: by corruption, by severity and by level of one's own.

    A table without rows is left out. That by severity is over the corruptions that have the
    severities 1 to 5.
    """
    frame = frames.corruptions
    own = frame["corruption"].map({name: has_levels(name) for name in frame["corruption"].unique()})
    levels = frame[own.astype(bool)]
    levels = levels.assign(level=levels["corruption"].map(name_label) + ": " + levels["level"])
    parts = {"corruption": frame, "severity": frame[~own.astype(bool)], "level": levels}
    return [means_table(frames, part, by, "accuracy") for by, part in parts.items() if len(part)]
