"""actbench audit: files and claims in, tables out, and a line for what is wrong."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.runs import Outcome

TABLE = (
    "activation,acc,sd,n,p\nrelu,80.00,0.50,5,-\nmish,81.50,0.40,5,0.0008\n<b>elu,80.1,0.3,5,0.7\n"
)


@pytest.fixture
def table(tmp_path: Path) -> str:
    path = tmp_path / "table.csv"
    path.write_text(TABLE, encoding="utf-8")
    return str(path)


def test_the_terminal_shows_verdicts_and_checks(
    table: str, actbench_here: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    outcome = actbench_here("audit", table)
    assert (outcome.code, outcome.err) == (0, "")
    assert "Against relu, of 2 rows: 1 better, 1 undecided (margin ±0.5 points)." in outcome.out
    assert "Of 2 printed p-values: 2 follow." in outcome.out
    assert "+1.50 [+0.83, +2.17]" in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 80


@pytest.mark.parametrize(
    "claim", ["mish-squeezenet", pytest.param("layeract-resnet32", marks=pytest.mark.slow)]
)
def test_a_claim_fits_a_narrow_terminal(
    claim: str, actbench_here: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    outcome = actbench_here("audit", "--claim", claim)
    assert outcome.code == 0
    assert max(map(len, outcome.out.splitlines())) <= 80
    assert "Source: " in outcome.out


def test_every_document_is_written(
    table: str, tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    outcome = actbench_here("audit", table, "--out", str(tmp_path / "out"))
    assert outcome.code == 0
    written = {p.name: p.read_text(encoding="utf-8") for p in (tmp_path / "out").iterdir()}
    assert set(written) == {
        "audit.md",
        "audit.csv",
        "audit_if_paired.csv",
        "audit_checks.csv",
        "audit.html",
    }
    rows = list(csv.DictReader(io.StringIO(written["audit.csv"])))
    assert [row["verdict"] for row in rows] == ["better", "undecided"]
    assert float(rows[0]["difference"]) == pytest.approx(0.015)
    assert "| mish" in written["audit.md"]
    assert "&lt;b>elu" in written["audit.md"]
    page = written["audit.html"]
    assert "<b>elu" not in page
    assert "&lt;b&gt;elu" in page
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_a_table_without_any_test_still_has_documents(
    tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    for name in ("robustbench-standard", "xu-2015-nin"):
        outcome = actbench_here("audit", "--claim", name, "--out", str(tmp_path / name))
        assert outcome.code == 0
        assert (tmp_path / name / "audit.html").stat().st_size > 1000


def test_options_reach_the_analysis(table: str, actbench_here: Callable[..., Outcome]) -> None:
    paired = actbench_here("audit", table, "--correlation", "0.9", "--margin", "0.02")
    assert "1 better" not in paired.out
    assert "2 equivalent" in paired.out
    lower = actbench_here("audit", table, "--better", "lower", "--baseline", "MISH")
    assert "Against mish, of 2 rows: 2 better" in lower.out
    images = actbench_here("audit", table, "--test-images", "7")
    assert "means as shares of test images" in images.out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "name a file with a table, or a published one with --claim NAME; not both"),
        (["TABLE", "--claim", "mish-squeezenet"], "not both"),
        (["none.csv"], "cannot read 'none.csv': No such file"),
        (["--claim", "mish"], "unknown claim 'mish'"),
        (["--claim", "mish-squeezenet", "--n", "3"], "--n says how to read a file"),
        (["--claim", "mish-squeezenet", "--column", "n=x"], "--column says how to read a file"),
        (["--claim", "mish-squeezenet", "--number", "3"], "mish-squeezenet has 2 tables"),
        (["--claim", "mish-squeezenet", "--baseline", "Mich"], "no row 'Mich'; did you mean"),
        (["TABLE", "--number", "2"], "--number 2: table.csv has 1 table"),
        (["TABLE", "--n", "1" + 20 * "0"], "--n"),
        (["TABLE", "--test-images", "1" + 20 * "0"], "--test-images"),
        (["TABLE", "--correlation", "1.5"], "it must be numbers from -1 to 1"),
        (["TABLE", "--correlation", "x"], "it must be numbers from -1 to 1"),
        (["TABLE", "--correlation", "nan"], "it must be numbers from -1 to 1"),
        (["TABLE", "--margin", "0"], "--margin is 0"),
        (["TABLE", "--margin", "nan"], "--margin is nan"),
        (["TABLE", "--column", "mean"], "it must be ROLE=HEADER"),
        (["TABLE", "--column", "mean=x"], "there is no such column"),
        (["TABLE", "--unit", "points"], "points"),
        (["."], "cannot read '.'"),
    ],
)
def test_wrong_usage_is_one_line(
    arguments: list[str], named: str, table: str, actbench_here: Callable[..., Outcome]
) -> None:
    outcome = actbench_here("audit", *[table if a == "TABLE" else a for a in arguments])
    assert (outcome.code, outcome.out) == (2, "")
    assert named in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("a,acc,sd,n\nrelu,80,1,1e300\nelu,81,1,5\n", "'1e300'"),
        ('a,acc,ci,n\nrelu,80,"[1, 1e300]",5\nelu,81,"[1, 2]",5\n', "'[1, 1e300]'"),
        ("a,acc,sd,n\nrelu,1e-400,1,5\nelu,81,1,5\n", "'1e-400'"),
    ],
)
def test_numbers_that_no_arithmetic_can_hold_are_refused(
    text: str, cell: str, tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    (tmp_path / "t.csv").write_text(text, "utf-8")
    outcome = actbench_here("audit", "t.csv", "--test-images", "100")
    assert outcome.code == 2
    assert f"cannot read {cell}" in outcome.err


def test_a_level_of_100_percent_is_none(
    tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    text = 'a,acc,sd,n,100% CI\nrelu,80,1,5,"[1, 2]"\nelu,81,1,5,"[1, 2]"\n'
    (tmp_path / "t.csv").write_text(text, "utf-8")
    assert actbench_here("audit", "t.csv").code == 0


def test_the_number_of_runs_is_asked_for(
    tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    path = tmp_path / "t.md"
    path.write_text("| a | acc |\n|---|---|\n| relu | 80 ± 1 |\n| elu | 81 ± 1 |\n", "utf-8")
    outcome = actbench_here("audit", str(path))
    assert outcome.code == 2
    assert "has no column with the number of runs; give it with --n" in outcome.err
    assert actbench_here("audit", str(path), "--n", "5").code == 0


def test_claims_are_listed(actbench_here: Callable[..., Outcome]) -> None:
    outcome = actbench_here("list", "claims")
    assert outcome.code == 0
    (line,) = (line for line in outcome.out.splitlines() if line.startswith("xu-2015-nin"))
    assert line.split()[-1] == "no"
