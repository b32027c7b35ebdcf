"""Published claims, and studies beside the claims that they repeat: sentences and tables."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from actbench.analysis.claims import read_claim
from actbench.analysis.protocol import NOT_STATED, protocol_differences
from actbench.analysis.replication import NOT_DECIDABLE, counts
from actbench.report.formatting import DASH, capitalised, difference, percent
from actbench.report.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actbench.analysis.claims import Claim
    from actbench.analysis.frames import Frames
    from actbench.study.study import Study

RULE = (
    "Reproduced: both studies decide the same (better, worse or equivalent, each by its own test "
    "with Holm's correction), and their 95 % intervals overlap. Contradicted: they decide the "
    "opposite, or the intervals do not overlap and a test finds the two differences to differ, "
    "with Holm's correction over the table's rows. Not decidable: anything else, at this number "
    "of runs in the source and here. The source's interval is Welch's, for independent runs; the "
    "one here is for pairs."
)


def claim_facts(claim: Claim) -> list[tuple[str, str]]:
    """Return what is known of a published claim, as pairs of a name and a text."""
    return [
        ("Claim", claim.statement),
        ("Source", f"{claim.source}. {claim.url}"),
        *(("Note", note) for note in claim.notes),
        *(("Unverified", text) for text in claim.unverified),
        *([("Not stated by the source", "; ".join(claim.unstated))] if claim.unstated else []),
    ]


def claim_line(frames: Frames) -> str:
    """Return how many published rows have which result, in one line for a terminal."""
    reduced = " (a reduced run)" if frames.study.scale != 1 else ""
    return f"claim {frames.study.claim}: {_tally(frames.replication)}{reduced}"


def reduced_run(study: Study) -> str:
    """Return the warning that a study is a reduced run of its claim; empty if it is none."""
    if study.scale == 1:
        return ""
    stated = read_claim(study.claim).study
    length = "steps" if study.steps else "epochs"
    seeds = stated.get("seeds")
    seeds = len(seeds) if isinstance(seeds, list) else seeds
    parts = [
        f"{number} of {total} {unit}" if total else f"{number} {unit}"
        for number, total, unit in (
            (getattr(study, length), stated.get(length), length),
            (len(study.seeds), seeds, "seeds"),
        )
    ]
    return (
        f"This is a reduced run of the claim {study.claim} at scale {study.scale:g}: "
        f"{' and '.join(parts)}. Its results say whether the study runs, and nothing about the "
        "claim."
    )


def departures(study: Study) -> str:
    """Return a line with what departs from the protocol of the study's claim; it may be empty.

    What the source does not state is left out.
    """
    found = protocol_differences(read_claim(study.claim), study)
    stated = [f"{d.setting} {d.here} (source: {d.source})" for d in found if d.source != NOT_STATED]
    return f"departs from the source's protocol: {'; '.join(stated)}" if stated else ""


def claim_facts_of(frames: Frames) -> list[tuple[str, str]]:
    """Return what the source claims, the result here, and what is known of the source's figures."""
    if not frames.study.claim:
        return []
    claim = read_claim(frames.study.claim)
    repeated = [each.table.title for each in claim.tables if each.repeats]
    (name, statement), *others = claim_facts(claim)
    return [
        (name, statement),
        ("Here", f"{capitalised(_tally(frames.replication))}."),
        *others,
        *(("Not compared", f"{title}, as it prints the same runs again.") for title in repeated),
    ]


def replication_tables(frames: Frames) -> list[Table]:
    """Return the published rows beside the study's, table by table, and how the protocols differ.

    Empty if the study has no claim.
    """
    study = frames.study
    if not study.claim:
        return []
    found = []
    parts = frames.replication.groupby("table", sort=False)
    for number, (title, part) in enumerate(parts, 1):
        compares = bool(part["baseline"].iloc[0])
        what = f"differences from {study.baseline} in points" if compares else "accuracy, %"
        rows = [
            [
                row["row"],
                _side(row, "source", compares=compares),
                _count(row["source_n"]),
                _side(row, "here", compares=compares),
                _count(row["here_n"]),
                row["result"],
                row["reason"],
            ]
            for row in part.to_dict("records")
        ]
        headers = ["published row", "source", "n", "here", "n here", "result", "why"]
        found.append(Table(f"{title}: {what}", headers, rows, id=f"claim-{number}"))
    differences = protocol_differences(read_claim(study.claim), study)
    if differences:
        rows = [list(each) for each in differences]
        headers = ["setting", "in the source", "in this study"]
        found.append(
            Table(
                "Where this study is not known to do what the source did",
                headers,
                rows,
                id="protocol",
            )
        )
    return found


def _tally(table: pd.DataFrame) -> str:
    words = {NOT_DECIDABLE: f"{NOT_DECIDABLE} at this n"}
    listed = ", ".join(
        f"{count} {words.get(result, result)}" for result, count in counts(table).items() if count
    )
    return f"of {len(table)} published rows, {listed}"


def _side(row: Mapping[Any, Any], side: str, *, compares: bool) -> str:
    """Return a difference with its interval and verdict, or an accuracy in percent."""
    value = float(row[side])
    if not math.isfinite(value):
        return DASH
    if not compares:
        return percent(value)
    ends = {name: row[f"{side}_{name}"] for name in ("ci_low", "ci_high")}
    return f"{difference({'difference': value, **ends}, points=True)} {row[f'{side}_verdict']}"


def _count(n: Any) -> str:
    return str(n) if pd.notna(n) and n else DASH
