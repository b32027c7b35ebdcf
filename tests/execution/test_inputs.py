"""A finished results folder: the same command prints the same and reads no record."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from actbench.execution import inputs, plan
from actbench.execution.inputs import INPUTS_FILE, are_unchanged, write_inputs
from actbench.report.summary import SUMMARY_FILE
from actbench.store.store import Store
from actbench.store.stored_study import StoredStudy
from actbench.study.study import Study
from helpers.runs import TINY_ACTIVATIONS, TINY_STUDY, run_process

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.runs import Outcome, TinyRun

STUDY = Study(
    train_images=128,
    epochs=2,
    seeds=2,
    activations=TINY_ACTIVATIONS,
    corruptions=("gaussian_noise", "impulse_noise"),
)


@pytest.fixture
def copy(tiny_run: TinyRun, tmp_path: Path) -> Path:
    """Return a copy of the tiny study's folder with the modification times of its files."""
    return shutil.copytree(tiny_run.folder, tmp_path / "copy")


def same_command(folder: Path, *options: str) -> tuple[str, ...]:
    return ("run", *TINY_STUDY, "--workers", "0", "--out", str(folder), *options)


def unchanged(folder: Path, study: Study = STUDY, *, until_decided: bool = False) -> bool:
    return are_unchanged(Store(folder), study, until_decided=until_decided)


def test_the_same_command_prints_the_same_and_reads_no_record(
    tiny_run: TinyRun, actbench_here: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "prepare_study", None)
    monkeypatch.setattr(StoredStudy, "records", None)
    done = actbench_here(*same_command(tiny_run.folder))
    assert done.code == 0
    assert done.out == tiny_run.outcome.out
    assert done.err == "all 8 trials are stored already\n"
    assert actbench_here(*same_command(tiny_run.folder, "--quiet")).err == ""


def test_the_same_command_loads_neither_torch_nor_pandas(
    tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nsys.modules['torch'] = sys.modules['pandas'] = None\n", encoding="utf-8"
    )
    path = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    monkeypatch.setenv("PYTHONPATH", path)
    command = (sys.executable, "-m", "helpers.few_digits")
    done = run_process(*same_command(tiny_run.folder), cwd=tmp_path, command=command)
    assert done.code == 0, done.err
    assert done.out == tiny_run.outcome.out


@pytest.mark.usefixtures("short_report")
def test_json_is_the_same_with_and_without_work(
    copy: Path, actbench_here: Callable[..., Outcome]
) -> None:
    (copy / INPUTS_FILE).unlink()
    first, second = (actbench_here(*same_command(copy, "--json")) for _ in range(2))
    assert "all 8 trials are stored already" in first.err
    assert second.err == "all 8 trials are stored already\n"
    assert second.out == first.out


def first_file(folder: Path) -> Path:
    return min(path for path in folder.iterdir() if path.is_file())


CHANGES: dict[str, Callable[[Path], object]] = {
    "a record changed": lambda folder: first_file(folder / "trials").write_text("damaged"),
    "a record lost": lambda folder: first_file(folder / "trials").unlink(),
    "a record added": lambda folder: (folder / "trials" / "more.json").write_text("{}"),
    "a table changed": lambda folder: (folder / "summary.md").write_text("changed"),
    "a table lost": lambda folder: (folder / "trials.csv").unlink(),
    "a figure changed": lambda folder: first_file(folder / "figures").write_text("changed"),
    "a figure lost": lambda folder: first_file(folder / "figures").unlink(),
    "the study changed": lambda folder: (folder / "study.toml").write_text("changed"),
    "the summary changed": lambda folder: (folder / SUMMARY_FILE).write_text("{}"),
    "the summary lost": lambda folder: (folder / SUMMARY_FILE).unlink(),
    "the checksum damaged": lambda folder: (folder / INPUTS_FILE).write_bytes(b"\xff"),
    "another checksum": lambda folder: (folder / INPUTS_FILE).write_text("0" * 64),
    "no checksum": lambda folder: (folder / INPUTS_FILE).unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_in_the_folder_is_noticed(change: str, copy: Path) -> None:
    assert unchanged(copy)
    CHANGES[change](copy)
    assert not unchanged(copy)


@pytest.mark.parametrize(
    "other",
    [
        replace(STUDY, epochs=3),
        replace(STUDY, seeds=(0,)),
        replace(STUDY, margin=0.01),
        replace(STUDY, dataset="no such data"),
        replace(STUDY, dataset="imagefolder", data_dir="absent"),
        replace(STUDY, cifar10c="absent"),
    ],
    ids=["recipe", "seeds", "margin", "dataset", "data", "published corruptions"],
)
def test_another_study_has_work_to_do(other: Study, tiny_run: TinyRun) -> None:
    assert not unchanged(tiny_run.folder, other)
    assert not unchanged(tiny_run.folder, until_decided=True)


@pytest.mark.parametrize("part", ["api/studies.py", "training/steps.py"])
def test_another_version_of_the_code_is_noticed(
    part: str, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = shutil.copytree(inputs.PACKAGE, tmp_path / "actbench")
    monkeypatch.setattr(inputs, "PACKAGE", other)
    write_inputs(Store(copy), STUDY, STUDY, until_decided=False)
    (other / "training" / "__pycache__").mkdir(exist_ok=True)
    (other / "training" / "__pycache__" / "new.pyc").touch()
    assert unchanged(copy)
    with (other / part).open("a") as file:
        file.write("# changed\n")
    assert not unchanged(copy)


def test_changed_data_is_noticed(copy: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in ("one", "two"):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            Image.new("RGB", (32, 32)).save(tmp_path / "data" / split / name / "0.png")
    study = replace(STUDY, dataset="imagefolder", data_dir=str(tmp_path / "data"))
    write_inputs(Store(copy), study, study, until_decided=False)
    assert unchanged(copy, study)
    Image.new("RGB", (32, 32), (255, 0, 0)).save(tmp_path / "data" / "test" / "one" / "0.png")
    assert not unchanged(copy, study)


def test_a_study_with_the_users_own_code_has_no_checksum(copy: Path) -> None:
    (copy / INPUTS_FILE).unlink()
    with_code = replace(STUDY, code=(("mine:act", "sha256:0"),))
    write_inputs(Store(copy), STUDY, with_code, until_decided=False)
    assert not (copy / INPUTS_FILE).exists()


@pytest.mark.usefixtures("short_report")
def test_failed_trials_are_work_to_do_only_on_request(
    actbench_here: Callable[..., Outcome],
) -> None:
    command = (
        "run",
        "--train-images",
        "128",
        "--epochs",
        "1",
        "--seeds",
        "1",
        "--lr",
        "1e5",
        "--optimizer",
        "sgd:momentum=0.9",
        "--schedule",
        "constant",
    )
    command += ("--corruptions", "none", "--batch-size", "16", "--workers", "0", "--out", "out")
    command += ("--activation", "relu", "--activation", "tanh")
    assert actbench_here(*command).code == 1
    again = actbench_here(*command)
    assert again.code == 1
    assert again.err == "all 2 trials are stored already\n"
    assert "1 of 2 trials are stored already" in actbench_here(*command, "--retry-failed").err


def test_a_folder_in_use_is_refused(copy: Path, actbench_here: Callable[..., Outcome]) -> None:
    with Store(copy).locked():
        done = actbench_here(*same_command(copy))
    assert done.code == 3
    assert "held by another run" in done.err


FORGERIES: dict[str, Callable[[dict[str, Any]], object]] = {
    "text for a count": lambda summary: summary.update(planned="8"),
    "no answer": lambda summary: summary.pop("answer"),
    "a row without cells": lambda summary: summary["answer"].update(rows=[[]]),
    "a row of numbers": lambda summary: summary["answer"].update(rows=[[1] * 7]),
    "a nested line": lambda summary: summary.update(lines=[[[["x"]]]]),
}


@pytest.mark.parametrize("forgery", [*FORGERIES, "brackets"])
def test_a_damaged_summary_of_the_expected_size_and_time_is_one_line(
    forgery: str, copy: Path, actbench_here: Callable[..., Outcome]
) -> None:
    path = copy / SUMMARY_FILE
    if forgery == "brackets":
        path.write_text("[" * 200_000, encoding="utf-8")
    else:
        summary = json.loads(path.read_text(encoding="utf-8"))
        FORGERIES[forgery](summary)
        path.write_text(json.dumps(summary), encoding="utf-8")
    write_inputs(Store(copy), STUDY, STUDY, until_decided=False)
    done = actbench_here(*same_command(copy, "--quiet"))
    assert done.code == 3
    assert done.out == ""
    assert done.err.startswith(f"actbench: cannot read {str(path)!r}: ")
    assert done.err.endswith("; `actbench report` writes it again\n")
    assert done.err.count("\n") == 1


@pytest.mark.usefixtures("short_report")
def test_a_report_names_the_record_that_it_excludes(
    copy: Path, actbench_here: Callable[..., Outcome]
) -> None:
    path = first_file(copy / "trials")
    content = path.read_bytes().replace(b'"seed": 0', b'"seed": 1')
    path.write_bytes(content)
    done = actbench_here("report", str(copy))
    assert done.code == 0
    assert done.err == (
        f"actbench: {path} is damaged and left out: its checksum is not that of its content\n"
    )
    assert path.read_bytes() == content
