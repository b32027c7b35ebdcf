"""A finished folder: the same command again prints the same, without doing anything."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from actbench import session as conduct
from actbench.cli.finished import FINISHED_FILE, read_finished
from actbench.errors import ResultsFolderError
from actbench.store.store import Store
from actbench.study.study import Study
from helpers.runs import TINY_ACTIVATIONS, TINY_STUDY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.runs import Outcome, TinyRun

ASKED = Study(train_images=128, epochs=2, seeds=2, activations=TINY_ACTIVATIONS)


@pytest.fixture
def copy(tiny_run: TinyRun, tmp_path: Path) -> Path:
    """Return a copy of the tiny study's folder with the times of its files."""
    return shutil.copytree(tiny_run.folder, tmp_path / "copy")


def again(folder: Path, *options: str) -> tuple[str, ...]:
    return ("run", *TINY_STUDY, "--workers", "0", "--out", str(folder), *options)


def test_a_finished_study_is_printed_again_without_a_look_at_its_records(
    tiny_run: TinyRun, actbench_here: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conduct, "prepare_study", None)
    done = actbench_here(*again(tiny_run.folder))
    assert done.code == 0
    assert done.out == tiny_run.outcome.out
    assert done.err == "all 8 trials are stored already\n"
    assert actbench_here(*again(tiny_run.folder, "--quiet")).err == ""


def test_json_is_the_same_either_way(copy: Path, actbench_here: Callable[..., Outcome]) -> None:
    (copy / FINISHED_FILE).unlink()
    looked, noted = (actbench_here(*again(copy, "--json")) for _ in range(2))
    assert "all 8 trials are stored already" in looked.err
    assert "all 8 trials are stored already" in noted.err
    assert noted.out == looked.out


def first(folder: Path) -> Path:
    return next(path for path in folder.iterdir() if path.is_file())


CHANGES: dict[str, Callable[[Path], object]] = {
    "a record changed": lambda folder: first(folder / "trials").write_text("damaged"),
    "a record lost": lambda folder: first(folder / "trials").unlink(),
    "a table changed": lambda folder: (folder / "summary.md").write_text("changed"),
    "a table lost": lambda folder: (folder / "trials.csv").unlink(),
    "a figure changed": lambda folder: first(folder / "figures").write_text("changed"),
    "the study changed": lambda folder: (folder / "study.toml").write_text("changed"),
    "the note damaged": lambda folder: (folder / FINISHED_FILE).write_text("damaged"),
    "another note": lambda folder: (folder / FINISHED_FILE).write_text("{}"),
    "no note": lambda folder: (folder / FINISHED_FILE).unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_folder_that_was_changed_is_not_finished(change: str, copy: Path) -> None:
    assert read_finished(Store(copy), ASKED, until_decided=False) is not None
    CHANGES[change](copy)
    assert read_finished(Store(copy), ASKED, until_decided=False) is None


@pytest.mark.parametrize(
    "other",
    [
        replace(ASKED, epochs=3),
        replace(ASKED, seeds=(0,)),
        replace(ASKED, margin=0.01),
        replace(ASKED, dataset="no such data"),
        replace(ASKED, dataset="imagefolder", data_dir="absent"),
    ],
    ids=["recipe", "seeds", "margin", "dataset", "data"],
)
def test_another_study_is_not_finished(other: Study, tiny_run: TinyRun) -> None:
    assert read_finished(Store(tiny_run.folder), other, until_decided=False) is None
    assert read_finished(Store(tiny_run.folder), ASKED, until_decided=True) is None


def test_a_folder_in_use_is_refused(copy: Path) -> None:
    with Store(copy).locked(), pytest.raises(ResultsFolderError, match="held by another run"):
        read_finished(Store(copy), ASKED, until_decided=False)


FORGERIES: dict[str, Callable[[dict[str, Any]], object]] = {
    "text for a count": lambda note: note["summary"].update(planned="8"),
    "no tables": lambda note: note["summary"].pop("tables"),
    "a table without rows": lambda note: note["summary"]["tables"][0].update(rows=[]),
    "a row of numbers": lambda note: note["summary"]["tables"][0].update(rows=[[1, 2]]),
    "a sentence too deep": lambda note: note["summary"].update(sentences=[[[["x"]]]]),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_note_of_the_right_state_is_not_taken(forgery: str, copy: Path) -> None:
    path = copy / FINISHED_FILE
    note = json.loads(path.read_text(encoding="utf-8"))
    assert read_finished(Store(copy), ASKED, until_decided=False) is not None
    FORGERIES[forgery](note)
    path.write_text(json.dumps(note), encoding="utf-8")
    assert read_finished(Store(copy), ASKED, until_decided=False) is None


def test_a_note_of_endless_brackets_is_not_taken(copy: Path) -> None:
    (copy / FINISHED_FILE).write_text("[" * 200_000, encoding="utf-8")
    assert read_finished(Store(copy), ASKED, until_decided=False) is None


def test_a_report_names_the_record_that_it_leaves_out(
    copy: Path, actbench_here: Callable[..., Outcome]
) -> None:
    path = sorted((copy / "trials").iterdir())[0]
    content = path.read_bytes().replace(b'"seed": 0', b'"seed": 1')
    path.write_bytes(content)
    done = actbench_here("report", str(copy))
    assert done.code == 0
    assert done.err == (
        f"actbench: {path} is damaged and left out: its checksum is not that of its content\n"
    )
    assert path.read_bytes() == content
