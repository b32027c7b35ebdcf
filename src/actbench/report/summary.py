"""The results of a study as plain values: `summary.json`, which the terminal shows as well."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actbench.errors import ResultsFolderError
from actbench.report.table import Table  # noqa: TC001 - from_plain reads it
from actbench.study.plain import from_plain, parse_json

if TYPE_CHECKING:
    from pathlib import Path

    from actbench.analysis.frames import Frames

SUMMARY_FILE = "summary.json"


@dataclass(frozen=True)
class Summary:
    """A study's verdicts and tables, computed from its stored records.

    Attributes:
        warnings: shown before the verdicts.
        answer: a row per activation and headline metric.
        lines: what to know of the answer, and what decides what is undecided.
        planned: how many trials the study has.
        complete: whether all of them are stored and none diverged or crashed.
        content: the study and its tables: trials, summary, comparisons, attacks, sensitivity.
    """

    warnings: list[str]
    answer: Table
    lines: list[str]
    planned: int
    complete: bool
    content: dict[str, Any]

    def to_json(self) -> str:
        """Return the summary as one JSON document; numbers that are not finite are ``null``."""
        return json.dumps(dataclasses.asdict(self)) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Summary:
        """Return the summary from the text that ``to_json`` returned.

        Raises:
            ValueError: the text is something else.
        """
        summary = from_plain(cls, parse_json(text))
        table = summary.answer
        if len(table.headers) != 7 or any(len(row) != len(table.headers) for row in table.rows):
            raise ValueError(f"the table {table.title!r} has rows that do not fit its headers")
        return summary


def read_summary(folder: Path) -> Summary:
    """Return the stored summary of a results folder.

    Raises:
        ResultsFolderError: there is none, or it is damaged.
    """
    path = folder / SUMMARY_FILE
    try:
        return Summary.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultsFolderError(
            f"cannot read {str(path)!r}: {error}; `actbench report` writes it again"
        ) from None


def summary_of(frames: Frames) -> Summary:
    """Return the summary of a study's frames."""
    # not at the top: the terminal shows a stored summary without loading pandas
    from actbench.report.answer import answer_lines, answer_table
    from actbench.report.warnings import study_warnings

    warnings = list(study_warnings(frames))
    return Summary(
        warnings=warnings,
        answer=answer_table(frames),
        lines=answer_lines(frames),
        planned=len(frames.study.trials()),
        complete=frames.complete,
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
