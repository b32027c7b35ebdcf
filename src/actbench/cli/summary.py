"""The summary of a results folder in the terminal."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from actbench.cli.terminal import show
from actbench.report.printable import printable

if TYPE_CHECKING:
    from pathlib import Path

    from actbench.report.summary import Summary
    from actbench.report.table import Table


def print_summary(summary: Summary, folder: Path, *, as_json: bool) -> None:
    """Print the summary to stdout, as one JSON document or as formatted text."""
    if as_json:
        show(json.dumps({"folder": str(folder), **summary.content}))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console()
    for warning in summary.warnings:
        console.print(Text(f"⚠ {printable(warning)}", "yellow"))
    for table in summary.tables:
        show(f"{printable(table.title)}\n")
        show(f"{printable(table_within(console.width, table))}\n")
        for warning in table.warnings:
            console.print(Text(f"⚠ {printable(warning)}", "yellow"))
    for sentence in summary.sentences:
        name, dash, rest = printable(sentence).partition(" — ")
        console.print(Text.assemble((name, "bold"), dash, *_coloured(rest)))
    where = printable(f"Results written to {folder}; read {folder / 'summary.md'}")
    console.print(Text(where), soft_wrap=True)


def table_within(width: int, table: Table) -> str:
    """Return a table as text; names are shortened to fit ``width`` characters."""
    from tabulate import tabulate

    def text(longest: int) -> str:
        return tabulate(
            [[shortened(name, longest), *cells] for name, *cells in table.rows],
            headers=table.headers,
            disable_numparse=True,
            colalign=("left", *["right"] * (len(table.headers) - 1)),
        )

    longest = max((len(name) for name, *_ in table.rows), default=12)
    excess = max(map(len, text(longest).splitlines())) - width
    return text(longest if excess <= 0 else max(12, longest - excess))


def shortened(text: str, longest: int) -> str:
    """Return the text with its middle removed if it is longer than ``longest`` (at least 1)."""
    if len(text) <= longest:
        return text
    head = longest // 2
    return f"{text[:head]}…{text[len(text) - (longest - 1 - head) :]}"


def _coloured(sentence: str) -> list[str | tuple[str, str]]:
    colours = {"better": "green", "worse": "red", "equivalent": "cyan", "undecided": "yellow"}
    colours |= {"identical": "yellow"}
    parts = re.split(rf"(?<=: )({'|'.join(colours)})", sentence)
    return [(part, colours[part]) if part in colours else part for part in parts]
