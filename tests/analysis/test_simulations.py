"""The script for the tables of docs/statistics.md runs, and the page shows what it prints."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    script = ROOT / "tools" / "simulate_statistics.py"
    return subprocess.run(
        [sys.executable, script, *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "table", ["matched", "seeds", "equivalence", "sequential", "mce", "settings"]
)
def test_a_table_has_the_columns_and_the_rows_of_the_page(table: str) -> None:
    found = simulate("--studies", "40", table)
    assert found.returncode == 0, found.stderr
    head, _, *rows = [line for line in found.stdout.splitlines() if line.startswith("|")]
    page = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8").splitlines()
    names = [cell.strip() for cell in head.split("|")]
    (place,) = [i for i, line in enumerate(page) if [c.strip() for c in line.split("|")] == names]
    end = page.index("", place)
    assert len(rows) == end - place - 2


def test_an_unknown_table_is_refused_by_name() -> None:
    found = simulate("match")
    assert found.returncode == 2
    assert "no table match; there are matched, seeds," in found.stderr
