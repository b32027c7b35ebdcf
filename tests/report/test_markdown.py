"""summary.md: its parts, and cells that contain markup."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from actbench.report.markdown import escape_markdown, to_markdown
from actbench.report.table import Table
from actbench.study.levels import SEVERITIES

if TYPE_CHECKING:
    from helpers.runs import TinyRun


def test_a_bar_or_a_line_break_does_not_break_a_markdown_table() -> None:
    text = to_markdown(Table("", ["x|y", "z"], [["a|b", "c\nd\r\ne"], ["`*<script>", "\\|"]]))
    lines = text.splitlines()
    assert len(lines) == 4
    assert "a\\|b" in lines[2]
    assert "c d e" in lines[2]
    assert "<script>" not in text
    for line in lines:
        bars = line.replace("\\\\", "").replace("\\|", "").count("|")
        assert bars == 3, line


def test_numbers_in_markdown_cells_are_shown_as_they_were_written() -> None:
    lines = to_markdown(Table("", ["a", "b"], [["x", "1e3"], ["y", "0010"]])).splitlines()
    assert [line.split("|")[2].strip() for line in lines[2:]] == ["1e3", "0010"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("![x](http://y)", "\\![x\\](http://y)"),
        ("[x]: http://y", "[x\\]: http://y"),
        ("[a][b]", "[a\\][b]"),
        ("&lt;b&gt; R&D", "&amp;lt;b&gt; R&amp;D".replace("&gt;", "&amp;gt;")),
        ("+0.5 [-0.1, +1.1], n = 5", "+0.5 [-0.1, +1.1], n = 5"),
        ("_a_ my_act ~~b~~", "\\_a\\_ my_act \\~\\~b\\~\\~"),
        ("\x1b[31mred\x07\u202e", "\ufffd[31mred\ufffd\ufffd"),
    ],
)
def test_markdown_shows_a_text_unchanged(text: str, shown: str) -> None:
    assert escape_markdown(text) == shown


def test_summary_md_shows_every_part(tiny_run: TinyRun) -> None:
    markdown = (tiny_run.folder / "summary.md").read_text(encoding="utf-8")
    for part in (
        "| activation",
        "clean accuracy, %",
        "corrupted accuracy, %",
        "drop, points",
        "mCE, %",
        "first-layer gradient norm",
        "inactive units, %",
        "## Accuracy by corruption",
        "## Accuracy by severity",
        "## Mean gradient norm by layer and epoch",
        "### conv1",
        "### fc2",
    ):
        assert part in markdown
    for spec in tiny_run.study.activations:
        assert f"| {spec} " in markdown


def test_corruptions_severities_and_epochs_are_rows(tiny_run: TinyRun) -> None:
    study = tiny_run.study
    lines = (tiny_run.folder / "summary.md").read_text(encoding="utf-8").splitlines()
    for title, first, down in (
        (
            "## Accuracy by corruption, %",
            "corruption",
            [c.replace("_", " ") for c in study.corruptions],
        ),
        ("## Accuracy by severity, %", "severity", [str(severity) for severity in SEVERITIES]),
        ("### conv1", "epoch", [str(epoch + 1) for epoch in range(study.epochs)]),
    ):
        head, _, *rows = lines[lines.index(title) + 2 :][: len(down) + 2]
        assert [cell.strip() for cell in head.split("|")[1:-1]] == [first, *study.activations]
        assert [row.split("|")[1].strip() for row in rows] == down
