"""The script for the tables of docs/statistics.md runs, and the page shows what it prints."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tools" / "simulate_statistics.py"


@pytest.mark.parametrize(
    "table", ["matched", "seeds", "equivalence", "sequential", "mce", "settings"]
)
def test_a_table_has_the_columns_and_the_rows_of_the_page(
    table: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [SCRIPT.name, "--studies", "40", table])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    printed = capsys.readouterr().out
    head, _, *rows = [line for line in printed.splitlines() if line.startswith("|")]
    page = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8").splitlines()
    names = [cell.strip() for cell in head.split("|")]
    (position,) = [
        i for i, line in enumerate(page) if [c.strip() for c in line.split("|")] == names
    ]
    end = page.index("", position)
    assert len(rows) == end - position - 2


def test_an_unknown_table_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [SCRIPT.name, "match"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert ended.value.code == 2
    assert "no table match; there are matched, seeds," in capsys.readouterr().err
