"""``actbench audit``: what a published table can decide, and whether its numbers agree."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from actbench.analysis.printed import MAX_RUNS
from actbench.cli.options import Folder
from actbench.cli.terminal import log, show
from actbench.errors import UsageError, reason_of

if TYPE_CHECKING:
    from actbench.analysis.audit import AuditOptions
    from actbench.report.audit import AuditDocument

COUNT = click.IntRange(1, MAX_RUNS)


@click.command()
@click.argument("table", required=False, type=click.Path(path_type=Path), metavar="[TABLE]")
@click.option("--claim", metavar="NAME", help="A published table; see `actbench list claims`.")
@click.option("--number", type=click.IntRange(1), metavar="N", help="The N-th table of the file.")
@click.option("--baseline", default="", metavar="ROW", help="[default: ReLU, else the first row]")
@click.option(
    "--reference",
    default="",
    metavar="ROW",
    help="The row that printed p-values and intervals compare with.  "
    "[default: the one without any, else the baseline]",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="ROLE=HEADER",
    help="Which column is name, mean, sd, se, n, ci, ci_low, ci_high, p, d or difference.",
)
@click.option("--n", type=COUNT, metavar="N", help="Runs per row, if no column has it.")
@click.option("--unit", type=click.Choice(["percent", "fraction"]), help="[default: by the means]")
@click.option(
    "--spread",
    type=click.Choice(["sd", "se", "ci"]),
    help="What follows ±.  [default: what the header says, else sd]",
)
@click.option("--better", type=click.Choice(["higher", "lower"]), help="[default: higher]")
@click.option(
    "--correlation",
    metavar="R,…",
    help="The correlation of the two runs of a pair. One number makes the tests paired; several "
    "show the result for each.  "
    "[default: 0,0.25,0.5,0.75]",
)
@click.option(
    "--margin",
    type=float,
    default=0.005,
    metavar="SHARE",
    show_default=True,
    help="The largest difference, as a fraction, that does not matter in practice.",
)
@click.option(
    "--test-images",
    type=COUNT,
    metavar="N",
    help="The number of test images; checks whether each mean is possible with that many.",
)
@click.option("--out", type=Folder(), help="Write Markdown, CSV and an HTML page.")
def audit(
    *, table: Path | None, claim: str | None, number: int | None, out: Path | None, **given: Any
) -> None:
    """Recompute a published TABLE: what can it decide, and do its numbers agree?

    TABLE is a CSV or Markdown file with a row per activation and columns for the mean, its standard
    deviation or error, and the number of runs; it may also print intervals, p-values and effect
    sizes. Nothing is trained.
    """
    if (table is None) == (claim is None):
        raise UsageError("name a file with a table, or a published one with --claim NAME; not both")

    from actbench.report.audit import audit_files
    from actbench.store.store import Store

    document = _of_claim(claim, number, given) if claim else _of_file(table, number, given)
    if out is not None:
        for name, text in audit_files(document).items():
            Store(out).write_text(name, text)
    _print(document)
    if out is not None:
        log(f"{out / 'audit.html'} written, and the same as Markdown and CSV")


def _no_table(number: int, name: str, count: int) -> str:
    return f"--number {number}: {name} has {count} table{'' if count == 1 else 's'}"


def _of_file(path: Path | None, number: int | None, given: dict[str, Any]) -> AuditDocument:
    from actbench.analysis.audit import audit as audit_of
    from actbench.analysis.published_tables import ReadingOptions, is_readable, read_table
    from actbench.analysis.text_tables import parse_tables
    from actbench.report.audit import AuditDocument

    assert path is not None  # noqa: S101 - without a claim there is a file
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"cannot read {str(path)!r}: {reason}") from None
    reading = ReadingOptions(
        columns=_columns(given["columns"]),
        baseline=given["baseline"],
        reference=given["reference"],
        n=given["n"],
        unit=given["unit"],
        spread=given["spread"],
    )
    tables = parse_tables(text, path.name)
    if number is not None and number > len(tables):
        raise UsageError(_no_table(number, path.name, len(tables)))
    readable = (parsed for parsed in tables if is_readable(parsed, reading))
    parsed = tables[number - 1] if number is not None else next(readable, tables[0])
    table = read_table(parsed, path.name, reading)
    if any(row.n is None and (row.sd or row.se) for row in table.rows):
        raise UsageError(f"{path.name} has no column with the number of runs; give it with --n")
    found = audit_of(table, _options(given), given["test_images"] or 0)
    return AuditDocument(path.name, [found])


def _of_claim(name: str, number: int | None, given: dict[str, Any]) -> AuditDocument:
    from dataclasses import replace

    from actbench.analysis.audit import audit as audit_of
    from actbench.analysis.claims import read_claim
    from actbench.analysis.published_tables import find_row
    from actbench.report.audit import AuditDocument
    from actbench.report.claims import claim_facts

    fixed = ("columns", "reference", "n", "unit", "spread", "better", "test_images")
    refused = next((option for option in fixed if given[option]), None)
    if refused is not None:
        option = "--column" if refused == "columns" else f"--{refused.replace('_', '-')}"
        raise UsageError(f"{option} says how to read a file; the tables of a claim are known")
    claim = read_claim(name)
    if number is not None and number > len(claim.tables):
        raise UsageError(_no_table(number, name, len(claim.tables)))
    chosen = claim.tables if number is None else claim.tables[number - 1 : number]
    audits = []
    for each in chosen:
        table = each.table
        if given["baseline"]:
            row = find_row(given["baseline"], table.rows, table.title)
            table = replace(table, baseline=row)
        options = replace(_options(given), better=each.better)
        audits.append(audit_of(table, options, each.test_images))
    return AuditDocument(claim.title, audits, claim_facts(claim))


def _columns(given: tuple[str, ...]) -> dict[str, str]:
    columns = {}
    for text in given:
        role, equals, header = text.partition("=")
        if not equals or not header.strip():
            raise UsageError(f"--column {text}: it must be ROLE=HEADER, such as mean=Accuracy")
        columns[role.strip()] = header.strip()
    return columns


def _options(given: dict[str, Any]) -> AuditOptions:
    from actbench.analysis.audit import PLAUSIBLE_CORRELATIONS, AuditOptions

    if not 0 < given["margin"] <= 1:
        raise UsageError(f"--margin is {given['margin']:g}; it must be a fraction above 0, up to 1")
    correlations: tuple[float, ...] = PLAUSIBLE_CORRELATIONS
    if given["correlation"] is not None:
        try:
            correlations = tuple(map(float, given["correlation"].split(",")))
        except ValueError:
            correlations = (2.0,)
        if not all(-1 <= r <= 1 for r in correlations):
            raise UsageError(
                f"--correlation is {given['correlation']!r}; it must be numbers from -1 to 1"
            )
    correlations = tuple(dict.fromkeys(correlations))
    return AuditOptions(correlations, given["margin"], given["better"] or "higher")


def _print(document: AuditDocument) -> None:
    from actbench.cli.tables import print_line, print_table
    from actbench.report.audit import failed_checks, sentences, terminal_tables

    for audit_ in document.audits:
        print_line(audit_.table.title, "bold")
        for sentence in sentences(audit_):
            print_line(sentence)
        show()
        for table in terminal_tables(audit_):
            print_table(table.rows, table.headers, right=table.headers[1:])
            show()
        for name, kind, printed, expected, why in failed_checks(audit_).rows:
            print_line(f"⚠ {name}: {kind} {printed}, expected {expected}: {why}", "yellow")
        if failed_checks(audit_).rows:
            show()
    for name, text in document.facts:
        print_line(f"{name}: {text}")
