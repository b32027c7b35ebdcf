"""What a run prints when it is done: as plain values, as text for a terminal, as JSON."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pathlib import Path

    from actbench.frames import Frames


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
        tables: a row per activation each.
        sentences: the verdicts, ``activation — …`` each.
        warnings: what to beware of in all of it.
        planned: how many trials the study has.
        complete: whether all of them are stored and none diverged or crashed.
        content: what ``--json`` prints, less the folder: study, warnings, trials, summary,
            comparisons, attacks.
    """

    tables: list[Table]
    sentences: list[str]
    warnings: list[str]
    planned: int
    complete: bool
    content: dict[str, Any]

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> Summary:
        """Return the summary that ``dataclasses.asdict`` made these values of."""
        return cls(**{**values, "tables": [Table(**table) for table in values["tables"]]})


def summary_of(frames: Frames) -> Summary:
    """Return the summary of a study's frames."""
    from actbench.sections import attack_section
    from actbench.tables import compact_rows
    from actbench.verdicts import verdict_sentences

    rows, headers = compact_rows(frames)
    tables = [Table(f"{frames.study.data_label}, {frames.study.model}", headers, rows, [])]
    attacked = attack_section(frames)
    if attacked is not None:
        title, warnings = attacked.title, list(attacked.warnings)
        tables.append(Table(title, attacked.headers, attacked.rows, warnings))
    planned = len(frames.study.trials())
    return Summary(
        tables=tables,
        sentences=verdict_sentences(frames),
        warnings=frames.mixing(),
        planned=planned,
        complete=int((frames.trials["status"] == "ok").sum()) == planned,
        content={
            "study": dataclasses.asdict(frames.study),
            "warnings": frames.mixing(),
            "trials": json.loads(frames.trials.to_json(orient="records")),
            "summary": json.loads(frames.summary.to_json(orient="records")),
            "comparisons": json.loads(frames.comparisons.to_json(orient="records")),
            "attacks": json.loads(frames.attacks.to_json(orient="records")),
        },
    )


def print_summary(summary: Summary, folder: Path, *, as_json: bool) -> None:
    """Print the summary to stdout, as one JSON document or for people."""
    if as_json:
        click.echo(json.dumps({"folder": str(folder), **summary.content}))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console()
    for table in summary.tables:
        click.echo(f"{table.title}\n")
        click.echo(f"{table_within(console.width, table)}\n")
        for warning in table.warnings:
            console.print(Text(f"⚠ {warning}", "yellow"))
    for warning in summary.warnings:
        console.print(Text(f"⚠ {warning}", "yellow"))
    for sentence in summary.sentences:
        name, dash, rest = sentence.partition(" — ")
        console.print(Text.assemble((name, "bold"), dash, *_coloured(rest)))
    console.print(Text(f"The tables lie in {folder}; read {folder / 'summary.md'}"), soft_wrap=True)


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

    longest = max(len(name) for name, *_ in table.rows)
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
    parts = re.split(rf"(?<=: )({'|'.join(colours)})", sentence)
    return [(part, colours[part]) if part in colours else part for part in parts]
