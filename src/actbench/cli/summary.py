"""What a run prints when it is done: as plain values, as text for a terminal, as JSON."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actbench.cli.terminal import show
from actbench.report.printable import printable
from actbench.study.plain import from_plain

if TYPE_CHECKING:
    from pathlib import Path

    from actbench.analysis.frames import Frames


@dataclass(frozen=True)
class Table:
    """A table as text: its title, the heads of its columns, its cells, and what to beware of."""

    title: str
    headers: list[str]
    rows: list[list[str]]
    warnings: list[str]


@dataclass(frozen=True)
class Summary:
    """A study's answer, made from its stored records.

    Attributes:
        warnings: what a reader must know before the verdicts.
        tables: a row per activation each.
        sentences: the verdicts, ``activation — …`` each.
        planned: how many trials the study has.
        complete: whether all of them are stored and none diverged or crashed.
        content: what ``--json`` prints, less the folder: study, trials, summary, comparisons,
            attacks, warnings, sensitivity.
    """

    warnings: list[str]
    tables: list[Table]
    sentences: list[str]
    planned: int
    complete: bool
    content: dict[str, Any]

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> Summary:
        """Return the summary that ``dataclasses.asdict`` made these values of.

        Raises:
            ValueError: it made them of no summary.
        """
        summary = from_plain(cls, values)
        for table in summary.tables:
            if not table.rows or any(len(row) != len(table.headers) for row in table.rows):
                raise ValueError(f"the table {table.title!r} is not a row of cells for each line")
        return summary


def summary_of(frames: Frames) -> Summary:
    """Return the summary of a study's frames."""
    from actbench.report.sections import attack_section
    from actbench.report.sentences import verdict_sentences
    from actbench.report.tables import compact_rows
    from actbench.report.warnings import study_warnings

    rows, headers = compact_rows(frames)
    title = f"{frames.study.data_label}, {frames.study.model}"
    tables = [Table(title, headers, rows, [])]
    attacked = attack_section(frames)
    if attacked is not None:
        title, warnings = attacked.title, list(attacked.warnings)
        tables.append(Table(title, attacked.headers, attacked.rows, warnings))
    planned = len(frames.study.trials())
    warnings = study_warnings(frames)
    return Summary(
        warnings=warnings,
        tables=tables,
        sentences=verdict_sentences(frames),
        planned=planned,
        complete=int((frames.trials["status"] == "ok").sum()) == planned,
        content={
            "study": dataclasses.asdict(frames.study),
            "trials": json.loads(frames.trials.to_json(orient="records")),
            "summary": json.loads(frames.summary.to_json(orient="records")),
            "comparisons": json.loads(frames.comparisons.to_json(orient="records")),
            "attacks": json.loads(frames.attacks.to_json(orient="records")),
            "warnings": warnings,
            "sensitivity": json.loads(frames.sensitivity.to_json(orient="records")),
        },
    )


def print_summary(summary: Summary, folder: Path, *, as_json: bool) -> None:
    """Print the summary to stdout, as one JSON document or for people."""
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
    where = printable(f"The tables lie in {folder}; read {folder / 'summary.md'}")
    console.print(Text(where), soft_wrap=True)


def table_within(width: int, table: Table) -> str:
    """Return a table as text; where the terminal is narrow, the names in it give way."""
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
    """Return the text, its middle left out where it is longer than ``longest`` (at least 1)."""
    if len(text) <= longest:
        return text
    head = longest // 2
    return f"{text[:head]}…{text[len(text) - (longest - 1 - head) :]}"


def _coloured(sentence: str) -> list[str | tuple[str, str]]:
    colours = {"better": "green", "worse": "red", "equivalent": "cyan", "undecided": "yellow"}
    colours |= {"identical": "yellow"}
    parts = re.split(rf"(?<=: )({'|'.join(colours)})", sentence)
    return [(part, colours[part]) if part in colours else part for part in parts]
