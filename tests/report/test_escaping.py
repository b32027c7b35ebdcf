"""Names and reasons in documents: no program executes them, and no terminal or page obeys them."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pandas as pd
import pytest

from actbench.analysis.frames import Frames
from actbench.cli.summary import print_summary
from actbench.report.html import to_html
from actbench.report.summary import summary_of
from actbench.report.tables import to_csv
from actbench.report.write import derived_files
from actbench.store.result import TrialResult
from actbench.study.study import Study, trial_id


@pytest.mark.parametrize(
    "cell", ['=HYPERLINK("http://x";"y")', "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1"]
)
def test_a_text_that_a_spreadsheet_would_run_is_escaped(cell: str) -> None:
    text = to_csv(pd.DataFrame({"activation": ["relu", cell], "seed": [1, 2]}))
    _, *rows = csv.reader(io.StringIO(text, newline=""))
    assert rows == [["relu", "1"], ["'" + cell.replace("\r", "\n"), "2"]]


def hostile_frames() -> Frames:
    study = Study(
        dataset_name="=1+1|\"'<b>",
        activations=("relu", "=cmd|' /C calc'!A0"),
        seeds=(0,),
        corruptions=(),
    )
    records = {}
    for trial in study.trials():
        name = trial_id(study, trial)
        records[name] = TrialResult(
            trial_id=name,
            activation=trial.activation,
            seed=0,
            status="crashed",
            reason="=HYPERLINK(1) | two\nlines",
        )
    return Frames(study, records)


def test_names_and_reasons_of_the_user_are_escaped_in_every_file() -> None:
    files = derived_files(hostile_frames())
    for name, text in files.items():
        if name.endswith(".csv"):
            for row in csv.reader(io.StringIO(text, newline="")):
                assert not [c for c in row if c.startswith(("=", "@", "+"))], (name, row)
    markdown = files["summary.md"]
    assert "<b>" not in markdown
    assert "=cmd\\|' /C calc'!A0" in markdown
    tables = [line for line in markdown.splitlines() if line.startswith("|")]
    assert any("two lines" in line for line in tables)


def test_control_characters_of_names_and_reasons_reach_no_document(
    capsys: pytest.CaptureFixture[str],
) -> None:
    study = Study(
        dataset_name="![x](http://y)", activations=("relu", "mish"), seeds=1, corruptions=()
    )
    records = {}
    for trial in study.trials():
        name = trial_id(study, trial)
        reason = "boom \x1b]0;title\x07 ![x](http://y) \u202e \x9b31m"
        records[name] = TrialResult(
            trial_id=name, activation=trial.activation, seed=0, status="crashed", reason=reason
        )
    frames = Frames(study, records)
    print_summary(summary_of(frames), Path("out\x1b"), as_json=False)
    printed = capsys.readouterr().out
    files = derived_files(frames)
    for text in (*files.values(), to_html(frames, {}, {}, "0"), printed):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert "![x](" not in files["summary.md"]
