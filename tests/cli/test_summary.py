"""The answer in the terminal: one table, and what to do about what is undecided."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest

from actbench.analysis.frames import Frames
from actbench.cli.summary import print_comparison, print_summary
from actbench.cli.tables import print_line
from actbench.report.paired_studies import paired_studies_terminal
from actbench.report.studies import studies_terminal
from actbench.report.summary import Summary, summary_of
from actbench.study.study import Study
from helpers.made_studies import made_frames
from helpers.synthetic import synthetic_records

RELU = [0.80, 0.81, 0.80, 0.82, 0.81]
BETTER = [0.84, 0.85, 0.84, 0.86, 0.86]
OPEN = [0.80, 0.82, 0.79, 0.83, 0.80]


def shown(summary: Summary, width: int, capsys: pytest.CaptureFixture[str]) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        capsys.readouterr()
        print_summary(summary, Path("out"), as_json=False)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


@pytest.fixture(scope="module")
def summary() -> Summary:
    return summary_of(made_frames({"relu": RELU, "leaky_relu:0.1": BETTER, "gelu": OPEN}))


def test_a_row_has_the_difference_its_interval_and_the_verdict(
    summary: Summary, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = shown(summary, 80, capsys)
    assert lines[0] == "digits, cnn: differences from relu in points"
    rows = [line.split() for line in lines]
    assert ["relu", "clean", "5", "80.80", "baseline"] in rows
    better = ["leaky_relu:0.1", "clean", "5", "85.00", "+4.20", "[+3.64,", "+4.76]", "better"]
    assert better in rows
    assert any(row[:1] == ["gelu"] and row[-1] == "undecided" for row in rows)
    assert lines[-1] == "report: out/report.html"


@pytest.mark.parametrize("width", [120, 80, 60, 40])
def test_no_line_but_the_path_is_wider_than_the_terminal(
    width: int, summary: Summary, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = shown(summary, width, capsys)
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    assert "+4.20 [+3.64, +4.76]" in text.replace(" better [", " [")
    assert "better" in text


def test_a_line_does_not_break_where_no_width_is_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS")
    print_line("word " * 40 + "⚠\x1b")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("word word")


def test_one_line_says_how_many_seeds_would_decide(
    summary: Summary, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = (line for line in shown(summary, 300, capsys) if "undecided:" in line)
    assert line.startswith("2 of 4 comparisons undecided: about ")
    assert "; run with --until-decided" in line


def test_diverged_trials_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    study = Study(activations=("relu", "gelu"), seeds=4, epochs=1, corruptions=("fog",))
    records = synthetic_records(study, failed={("gelu", 1): "diverged"})
    lines = shown(summary_of(Frames(study, records)), 80, capsys)
    assert any("1 of 4 seeds of gelu diverged" in line for line in lines)
    assert any(line.split()[:3] == ["gelu", "clean", "3/4"] for line in lines)


def test_several_attacks_are_counted_by_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    study = Study(
        activations=("relu", "gelu"), seeds=3, epochs=1, corruptions=(), attacks=("fgsm", "square")
    )
    lines = shown(summary_of(Frames(study, synthetic_records(study))), 80, capsys)
    assert any(line.split() == ["attacked", "8", "comparisons", "8", "undecided"] for line in lines)


def test_one_activation_alone_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(summary_of(made_frames({"relu": RELU})), 80, capsys)
    assert "Only relu was run, so there is nothing to compare it with." in lines


def test_a_stored_summary_is_shown_alike(
    summary: Summary, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = Summary.from_json(summary.to_json())
    assert shown(stored, 80, capsys) == shown(summary, 80, capsys)


@functools.cache
def comparison(*, paired: bool) -> tuple[Any, ...]:
    """Return the comparison of two studies, or that pair by pair, as the terminal shows it."""
    one = made_frames({"relu": RELU, "leaky_relu:0.1": BETTER})
    other = made_frames({"relu": RELU, "leaky_relu:0.1": OPEN}, model="deep_cnn")
    studies = {"digits, cnn": one, "digits, deep_cnn (a/folder)": other}
    return (paired_studies_terminal if paired else studies_terminal)(studies)


@pytest.mark.parametrize("width", [80, 60, 40])
@pytest.mark.parametrize("paired", [False, True])
def test_a_comparison_of_studies_fits_the_terminal(
    paired: bool, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    print_comparison(*comparison(paired=paired))
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    if paired:
        assert "digits, deep_cnn (a/folder) against digits, cnn" in text
    else:
        assert "#1: digits, cnn, n = 5 #2: digits, deep_cnn (a/folder), n = 5" in text
        assert "+4.20 [+3.64, +4.76]" in text
        assert "open" in text
