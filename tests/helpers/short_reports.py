"""Reports of two files and runs that time no steps, for tests whose subject is neither."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from actbench.analysis.frames import Frames
    from actbench.execution.trials import PendingTrials


@contextlib.contextmanager
def short_reports() -> Iterator[None]:
    """Write of a report only ``trials.csv`` and the summary, in this process and its forks."""
    from actbench.report import write
    from actbench.report.summary import SUMMARY_FILE, summary_of
    from actbench.report.tables import to_csv

    def derived_files(frames: Frames) -> dict[str, str]:
        return {"trials.csv": to_csv(frames.trials), SUMMARY_FILE: summary_of(frames).to_json()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "derived_files", derived_files)
        patch.setattr(write, "all_figures", lambda *_: {})
        patch.setattr(write, "to_html", lambda *_: "")
        yield


@contextlib.contextmanager
def no_estimates() -> Iterator[None]:
    """Say of any trials that they take about 1 s, in this process and its forks."""
    from actbench.execution import estimate

    def about(parts: Iterable[PendingTrials], _: Any) -> str:
        return "about 1 s" if any(part.works for part in parts) else ""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimate, "estimate", about)
        yield
