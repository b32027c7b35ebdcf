"""The summary of a results folder in the terminal."""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING

from rich.table import Table as RichTable
from rich.text import Text

from actbench.cli.tables import name_length, print_line, print_table, styled, terminal
from actbench.cli.terminal import show
from actbench.report.formatting import with_interval
from actbench.report.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from actbench.report.summary import Summary
    from actbench.report.table import Table


def print_summary(summary: Summary, folder: Path, *, as_json: bool) -> None:
    """Print the summary to stdout, as one JSON document or as formatted text."""
    if as_json:
        show(json.dumps({"folder": str(folder), **summary.content}))
        return
    for warning in summary.warnings:
        print_line(f"⚠ {warning}", "yellow")
    print_line(summary.answer.title, "bold")
    print_answer(summary.answer)
    show()
    for line in summary.lines:
        print_line(line)
    terminal().print(Text(printable(f"report: {folder / 'report.html'}")), soft_wrap=True)


def print_comparison(lines: Sequence[str], tables: Sequence[Table]) -> None:
    """Print a comparison of studies: lines, then tables with an activation in the first column."""
    for line in lines:
        print_line(line)
    for table in tables:
        show()
        print_line(table.title, "bold")
        print_table(table.rows, table.headers, wrapped={"metric"}, right={"n", "p (Holm)"})


def print_answer(table: Table) -> None:
    """Print the table of ``answer_table`` in a form that fits the terminal."""
    rows = [
        [name, label, n, mean, with_interval(difference, ends), _stacked(verdict)]
        for name, label, n, mean, difference, ends, verdict in table.rows
    ]
    name, label, n, mean, difference, _, verdict = table.headers
    headers = [name, label, n, mean, f"{difference} [95 %]", verdict]
    if name_length(rows, headers) is not None:
        print_table(rows, headers, right={n, mean})
        return
    # an interval is below its difference, and n only in the report
    console = terminal()
    for name, rows_of_name in groupby(table.rows, key=lambda row: row[0]):
        console.print(Text(printable(name), "bold"), overflow="fold")
        grid = RichTable.grid(padding=(0, 1, 0, 0))
        grid.add_column(min_width=10, no_wrap=True)
        grid.add_column(min_width=16)
        grid.add_column()
        for _, label, _, mean, difference, ends, verdict in rows_of_name:
            shown = with_interval(difference, ends, "\n") or f"{mean} %"
            grid.add_row(Text(f" {label}"), Text(shown), styled(_stacked(verdict)))
        console.print(grid)


def _stacked(verdict: str) -> str:
    """Return the counts of several verdicts one below the other."""
    return verdict.replace(", ", "\n")
