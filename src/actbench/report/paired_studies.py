"""Trials of several studies compared pair by pair, as Markdown and CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actbench.analysis.paired_studies import compare_paired_studies
from actbench.report.formatting import difference, metric_label, p_value
from actbench.report.markdown import escape_markdown, to_markdown
from actbench.report.studies import warnings_markdown, warnings_text
from actbench.report.table import Table
from actbench.report.tables import to_csv
from actbench.study.specs import setting_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from actbench.analysis.frames import Frames
    from actbench.analysis.metrics import Metric


# the metrics of the Markdown; the CSV has all
_SHOWN = ("clean_accuracy", "corrupted_accuracy", "clean_loss", "grad_norm_first")


def paired_studies_files(studies: Mapping[str, Frames]) -> dict[str, str]:
    """Return ``paired.md`` and ``paired.csv`` as text, by file name.

    Raises:
        UsageError: as ``compare_paired_studies``.
    """
    table = compare_paired_studies(studies)
    return {"paired.md": _markdown(studies, table), "paired.csv": to_csv(table)}


def paired_studies_terminal(studies: Mapping[str, Frames]) -> tuple[list[str], list[Table]]:
    """Return the comparison for a terminal: the lines above, and a table for each other study.

    Raises:
        UsageError: as ``compare_paired_studies``.
    """
    table = compare_paired_studies(studies)
    reference, *others = studies
    lines = warnings_text(studies)
    lines += [f"{name}: {_what_differs(studies[reference], studies[name])}" for name in others]
    return lines, [_paired_table(studies, table, name) for name in others]


def _paired_table(studies: Mapping[str, Frames], table: pd.DataFrame, other: str) -> Table:
    reference = next(iter(studies))
    rows = [
        _row(row, studies[reference].metrics[row["metric"]])
        for row in table[table["study"] == other].to_dict("records")
        if row["metric"] in _SHOWN
    ]
    headers = ["activation", "metric", "difference", "n", "p (Holm)", "verdict"]
    return Table(f"{other} against {reference}", headers, rows)


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
        paired = _paired_table(studies, table, other)
        parts += [
            escape_markdown(f"## {paired.title}"),
            escape_markdown(_what_differs(first, studies[other])),
            to_markdown(paired),
        ]
    return "\n\n".join(parts) + "\n"


def _what_differs(first: Frames, other: Frames) -> str:
    there, here = first.study.identity(), other.study.identity()
    changed = []
    for name, value in there.items():
        if value != here[name]:
            texts = setting_text(value), setting_text(here[name])
            changed.append(f"{name.replace('_', ' ')} is {texts[0]} there and {texts[1]} here")
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
