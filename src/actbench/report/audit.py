"""Audits of published tables as Markdown, CSV and HTML."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pandas as pd

from actbench.analysis.consistency import DOES_NOT_FOLLOW, FOLLOWS, IF_PAIRED, KINDS
from actbench.analysis.verdicts import VERDICTS
from actbench.report.figures.forest import forest, typical_reach
from actbench.report.figures.series import series_styles
from actbench.report.figures.style import shorten, to_svg
from actbench.report.formatting import DASH, MINUS, difference, p_value, percent, signed
from actbench.report.html import picture, render_page
from actbench.report.markdown import escape_markdown, to_markdown
from actbench.report.table import Table
from actbench.report.tables import to_csv

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from actbench.analysis.audit import Audit
    from actbench.report.html import Picture

# the columns that fit a terminal of 80 characters
_TERMINAL_COLUMNS = ("row", "difference, points", "p (Holm)", "MDE", "seeds", "verdict")


@dataclass(frozen=True)
class AuditDocument:
    """Audits of the tables of one source.

    Attributes:
        title: the title of the documents.
        audits: one for each table.
        facts: what is known of the source, as pairs of a name and a text.
    """

    title: str
    audits: Sequence[Audit]
    facts: Sequence[tuple[str, str]] = ()


def audit_files(document: AuditDocument) -> dict[str, str]:
    """Return every file of the audits as text, by file name."""
    return {
        "audit.md": audit_markdown(document),
        "audit.csv": to_csv(_stacked(document, [audit.rows for audit in document.audits])),
        "audit_if_paired.csv": to_csv(
            _stacked(document, [audit.if_paired for audit in document.audits])
        ),
        "audit_checks.csv": to_csv(
            _stacked(document, [_checks_frame(audit) for audit in document.audits])
        ),
        "audit.html": _html(document),
    }


def _stacked(document: AuditDocument, frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the tables' frames below each other, with each table's title first."""
    titled = [
        frame.assign(table=audit.table.title)[["table", *frame.columns]]
        for audit, frame in zip(document.audits, frames, strict=True)
    ]
    filled = [frame for frame in titled if len(frame)]
    return pd.concat(filled, ignore_index=True) if filled else titled[0]


def _checks_frame(audit: Audit) -> pd.DataFrame:
    columns = ["name", "kind", "printed", "expected", "result", "how"]
    return pd.DataFrame([asdict(check) for check in audit.checks], columns=columns)


def audit_markdown(document: AuditDocument) -> str:
    """Return ``audit.md``."""
    parts = [f"# {escape_markdown(document.title)}"]
    parts += [f"{name}: {escape_markdown(text)}" for name, text in document.facts]
    for audit in document.audits:
        if len(document.audits) > 1:
            parts.append(f"## {escape_markdown(audit.table.title)}")
        parts += [escape_markdown(sentence) for sentence in sentences(audit)]
        for table in tables(audit):
            parts += [f"### {escape_markdown(table.title)}", to_markdown(table)]
            parts += [escape_markdown(table.note)] if table.note else []
    return "\n\n".join(parts) + "\n"


def sentences(audit: Audit) -> list[str]:
    """Return what the audit found: how many verdicts of each kind, and what does not follow."""
    found = [*audit.table.notes]
    if len(audit.rows):
        counts = Counter(audit.rows["verdict"])
        listed = ", ".join(f"{counts[word]} {word}" for word in VERDICTS if counts[word])
        found.append(
            f"Against {audit.table.baseline}, of {len(audit.rows)} rows: {listed} "
            f"(margin ±{100 * audit.options.margin:g} points)."
        )
        found += _notes(audit.rows)
    else:
        found.append("The table has one row, or values without a baseline: nothing is compared.")
    by_kind = {kind: [c for c in audit.checks if c.kind == kind] for kind in KINDS}
    names = {"mean": "means as shares of test images", "p-value": "p-values"}
    for kind, checks in by_kind.items():
        if checks:
            results = Counter(check.result for check in checks)
            listed = ", ".join(
                f"{results[result]} {words[results[result] > 1]}"
                for result, words in _COUNTED.items()
                if results[result]
            )
            found.append(f"Of {len(checks)} printed {names.get(kind, f'{kind}s')}: {listed}.")
    if not audit.checks:
        found.append("It prints nothing that could be recomputed from its means and deviations.")
    return found


_COUNTED = {
    FOLLOWS: ("follows", "follow"),
    IF_PAIRED: ("follows only if runs are pairs", "follow only if runs are pairs"),
    DOES_NOT_FOLLOW: ("does not follow", "do not follow"),
}


def tables(audit: Audit) -> list[Table]:
    """Return the audit's tables: the comparisons, those for pairs, and what does not follow."""
    found = [_results(audit), _if_paired(audit), failed_checks(audit)]
    return [table for table in found if table.rows]


def terminal_tables(audit: Audit) -> list[Table]:
    """Return the comparisons, and the verdicts that pairs would change, for 80 characters."""
    paired = _if_paired(audit)
    words = [[name, *(cell.split(" ", 1)[-1] for cell in cells)] for name, *cells in paired.rows]
    changing = [[name, *verdicts] for name, *verdicts in words if len(set(verdicts)) > 1]
    headers = ["pairs would change", *paired.headers[1:]]
    for_pairs = replace(paired, headers=headers, rows=changing)
    found = [_results(audit).columns(*_TERMINAL_COLUMNS), for_pairs]
    return [table for table in found if table.rows]


def _results(audit: Audit) -> Table:
    paired = audit.options.paired
    test = (
        "Welch's t-test"
        if paired is None
        else f"the paired t-test for runs that correlate at {paired:g}"
    )
    rows = [
        [
            row["name"],
            percent(row["mean"], row["sd"]),
            _count(row["n"]),
            difference(row, points=True),
            p_value(row["p_holm"]),
            p_value(row["p_equivalence_holm"]),
            signed(row["minimum_detectable_effect"], points=True).lstrip("+"),
            _count(row["seeds_needed"]),
            row["verdict"],
        ]
        for row in audit.rows.to_dict("records")
    ]
    headers = ["row", "mean ± sd, %", "n", "difference, points", "p (Holm)", "p (equivalent)"]
    note = (
        f"The difference from {audit.table.baseline} with its 95 % interval; p (Holm) is {test} "
        f"and p (equivalent) that of two one-sided tests against ±{100 * audit.options.margin:g} "
        "points, each corrected over the rows. MDE is the difference that these runs detect with "
        "80 % power; seeds are how many each row needs for a verdict with 80 % power."
    )
    return Table(
        f"Differences from {audit.table.baseline}",
        [*headers, "MDE", "seeds", "verdict"],
        rows,
        note=note,
    )


def _count(number: Any) -> str:
    return str(number) if pd.notna(number) else DASH


def _notes(rows: pd.DataFrame) -> list[str]:
    """Return the rows' notes as sentences, each once."""
    found = []
    for note, part in rows[rows["note"] != ""].groupby("note", sort=False):
        every = len(part) == len(rows) > 1
        found.append(f"{'Every row' if every else ', '.join(part['name'])}: {note}.")
    return found


def _if_paired(audit: Audit) -> Table:
    frame = audit.if_paired
    correlations = list(dict.fromkeys(frame["correlation"]))
    names = list(dict.fromkeys(frame["name"]))
    cells = {(row["name"], row["correlation"]): _half(row) for row in frame.to_dict("records")}
    rows = [[name, *(cells[name, r] for r in correlations)] for name in names]
    headers = ["row", *(f"r = {r:g}".replace("-", MINUS) for r in correlations)]
    return Table(
        "If the runs of one seed were pairs, by their correlation",
        headers,
        rows,
        note="Half the width of the 95 % interval in points, and the verdict. Papers rarely say "
        "whether runs shared seeds, and never the correlation; shared initial weights and batches "
        "make it positive.",
    )


def _half(row: Mapping[Any, Any]) -> str:
    half = (row["ci_high"] - row["ci_low"]) / 2
    return f"±{100 * half:.2f} {row['verdict']}" if half == half else str(row["verdict"])


def failed_checks(audit: Audit) -> Table:
    """Return the printed statistics that do not follow, or only if the runs are pairs."""
    rows = [
        [
            check.name,
            check.kind,
            check.printed,
            check.expected,
            check.how,
        ]
        for check in audit.checks
        if check.result != FOLLOWS
    ]
    return Table(
        "Printed statistics that do not follow from the printed mean, sd and n",
        ["row", "what", "printed", "expected", "why"],
        rows,
        note=f"Comparisons are with {audit.table.reference}. A statistic follows if any values "
        "that round to the printed ones give it, by a usual formula; expected is what the printed "
        "ones give.",
    )


def _all_checks(audit: Audit) -> Table:
    rows = [[c.name, c.kind, c.printed, c.expected, c.result, c.how] for c in audit.checks]
    headers = ["row", "what", "printed", "expected", "result", "why"]
    return Table("Every printed statistic that was recomputed", headers, rows, folded=True)


def _figure(audit: Audit, number: int) -> Picture | None:
    if not audit.rows["ci_low"].notna().any():
        return None
    baseline = audit.table.baseline
    styles = series_styles(list(audit.rows["name"]))
    panel = [(styles[row["name"]], row) for row in audit.rows.to_dict("records")]
    margin = 100 * audit.options.margin
    name = f"audit-{number}"
    figure = forest(
        name,
        shorten(audit.table.title, 90),
        {f"against {shorten(baseline)}": panel},
        margin,
        typical_reach(audit.rows, margin),
        better="right" if audit.options.better == "higher" else "left",
    )
    text = (
        f"Difference from {baseline} with its 95 % interval, n runs and verdict, recomputed from "
        "printed means, deviations and n. The shaded band is the margin; an arrow is beyond the "
        "scale."
    )
    return picture(name, to_svg(figure), text)


def _html(document: AuditDocument) -> str:
    sections = []
    for number, audit in enumerate(document.audits, 1):
        shown = [*tables(audit), *([_all_checks(audit)] if audit.checks else [])]
        sections.append(
            {
                "title": audit.table.title,
                "sentences": sentences(audit),
                "figure": _figure(audit, number),
                "tables": [
                    replace(table, id=f"table-{number}-{position}")
                    for position, table in enumerate(shown, 1)
                ],
            }
        )
    return render_page(
        "audit.html",
        version("actbench"),
        title=document.title,
        facts=document.facts,
        sections=sections,
        variant_label="",
    )
