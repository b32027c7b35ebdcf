"""Trials of several studies compared pair by pair, as Markdown and CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actbench.analysis.paired_studies import compare_paired_studies
from actbench.report.formatting import difference, metric_label, p_value
from actbench.report.markdown import escape_markdown, to_markdown
from actbench.report.studies import warnings_markdown
from actbench.report.table import Table
from actbench.report.tables import to_csv

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from actbench.analysis.frames import Frames
    from actbench.analysis.metrics import Metric


# the metrics of the Markdown; the CSV has all
_SHOWN = ("clean_accuracy", "corrupted_accuracy", "clean_loss", "grad_norm_first")


def paired_studies_files(studies: Mapping[str, Frames]) -> dict[str, str]:
    """Return ``counterparts.md`` and ``counterparts.csv`` as text, by file name.

    Raises:
        UsageError: as ``compare_paired_studies``.
    """
    table = compare_paired_studies(studies)
    return {"counterparts.md": _markdown(studies, table), "counterparts.csv": to_csv(table)}


def _markdown(studies: Mapping[str, Frames], table: pd.DataFrame) -> str:
    reference, *others = studies
    first = studies[reference]
    parts = [
        "# The same trials under other studies",
        *warnings_markdown(studies),
        f"Each row pairs the trials of a study with those of {escape_markdown(reference)} that "
        "have the same activation and seed: the difference from it, with its 95 % t interval, n "
        "pairs, p after "
        "Holm's correction over a metric's rows, and the verdict; the margin is "
        f"±{100 * first.study.margin:g} points.",
    ]
    for other in others:
        rows = [
            _row(row, first.metrics[row["metric"]])
            for row in table[table["study"] == other].to_dict("records")
            if row["metric"] in _SHOWN
        ]
        headers = ["activation", "metric", "difference", "n", "p (Holm)", "verdict"]
        paired = Table(f"{other} against {reference}", headers, rows)
        parts += [
            escape_markdown(f"## {paired.title}"),
            escape_markdown(_what_differs(first, studies[other])),
            to_markdown(paired),
        ]
    return "\n\n".join(parts) + "\n"


def _what_differs(first: Frames, other: Frames) -> str:
    there, here = first.study.identity(), other.study.identity()
    changed = [f"{k} is {there[k]} there and {here[k]} here" for k in there if there[k] != here[k]]
    return f"{'; '.join(changed) or 'The studies have the same configuration'}."


def _row(row: Mapping[Any, Any], metric: Metric) -> list[str]:
    return [
        row["activation"],
        metric_label(metric),
        difference(row, points=metric.kind == "fraction"),
        str(row["n"]),
        p_value(row["p_holm"]),
        row["verdict"],
    ]
