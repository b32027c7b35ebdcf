"""Tables that fit the terminal, whatever its width."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from actbench.report.printable import printable, shortened

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

MIN_NAME = 12
GAP = 2  # between columns
VERDICT_STYLES = {
    "better": "green",
    "worse": "red",
    "equivalent": "cyan",
    "undecided": "yellow",
    "identical": "yellow",
}


def terminal() -> Console:
    """Return the console of stdout: as wide as the terminal, 80 columns where that is unknown."""
    return Console(file=sys.stdout, highlight=False)


def print_line(text: str, style: str = "") -> None:
    """Print a line; it breaks, between words, only where the width is known."""
    console = terminal()
    width_is_known = console.is_terminal or "COLUMNS" in os.environ
    console.print(Text(printable(text), style), soft_wrap=not width_is_known)


def print_table(
    rows: Sequence[Sequence[str]],
    headers: Sequence[str],
    *,
    wrapped: Collection[str] = (),
    right: Collection[str] = (),
) -> None:
    """Print a table; if it cannot fit, each row as a block of lines.

    First the columns ``wrapped`` become narrower, then names in the first column are shortened in
    the middle. A first cell that repeats the one above is left out.

    Args:
        rows: the cells; the first names the row.
        headers: one per column.
        wrapped: the headers of columns whose cells may continue on the next line.
        right: the headers of columns to align right.
    """
    console = terminal()
    rows = [[printable(cell) for cell in row] for row in rows]
    longest = name_length(rows, headers, wrapped)
    if longest is not None:
        console.print(_rich_table(rows, headers, wrapped, right, longest))
        return
    before = None
    for name, *cells in rows:
        if name != before:
            console.print(Text(name, "bold"), overflow="fold")
        before = name
        shown = [(head, cell) for head, cell in zip(headers[1:], cells, strict=True) if cell]
        for head, cell in shown:
            line = Text.assemble((f"{head}: ", "dim"), styled(cell))
            console.print(Padding(line, (0, 0, 0, 2)), overflow="fold")


def name_length(
    rows: Sequence[Sequence[str]], headers: Sequence[str], wrapped: Collection[str] = ()
) -> int | None:
    """Return how long names can be for the table to fit; ``None`` if it cannot."""
    longest = max((len(row[0]) for row in rows), default=0)
    others = [
        max(map(cell_len, _parts([head, *column], wraps=head in wrapped)), default=0)
        for head, *column in zip(headers[1:], *(row[1:] for row in rows), strict=True)
    ]
    room = terminal().width - sum(others) - GAP * len(others)
    if room < min(max(longest, cell_len(headers[0])), MIN_NAME):
        return None
    return min(longest, room)


def _parts(cells: Sequence[str], *, wraps: bool) -> list[str]:
    return [part for cell in cells for part in (cell.split() if wraps else cell.splitlines())]


def _rich_table(
    rows: Sequence[Sequence[str]],
    headers: Sequence[str],
    wrapped: Collection[str],
    right: Collection[str],
    longest: int,
) -> RichTable:
    table = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for head in headers:
        wraps = head in wrapped
        table.add_column(
            Text(printable(head), "bold"),
            no_wrap=not wraps,
            overflow="fold",
            justify="right" if head in right else "left",
        )
    before = None
    for name, *cells in rows:
        shown = "" if name == before else shortened(name, longest)
        table.add_row(Text(shown), *map(styled, cells))
        before = name
    return table


def styled(cell: str) -> Text:
    """Return a cell, coloured if it begins with a verdict."""
    text = Text(cell)
    for line in cell.splitlines():
        words = line.lstrip("0123456789 ")
        style = next((s for verdict, s in VERDICT_STYLES.items() if words.startswith(verdict)), "")
        if style:
            text.highlight_words([line], style)
    return text
