"""Who may write to a results folder: one run at a time, and only where it began."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from helpers.forked import start_command
from helpers.runs import TINY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from helpers.runs import Outcome

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes"),
    pytest.mark.usefixtures("short_report"),
]

# an activation that waits for the test: at import if IMPORT is set, else once in training, but
# not in the check of networks before it, when there is no results folder yet
WAITS = """
import os, sys
from pathlib import Path

HERE = Path(__file__).parent

if "IMPORT" in os.environ:
    print("at import", file=sys.stderr, flush=True)
    (HERE / "import").read_text()

def act(x):
    trains = x.requires_grad and any(HERE.glob("*/study.toml"))
    if trains and not (HERE / "waited").exists():
        (HERE / "waited").touch()
        print("in training", file=sys.stderr, flush=True)
        (HERE / "training").read_text()
    return x
"""


@pytest.fixture
def spec(user_module: Callable[[str], str], tmp_path: Path) -> str:
    """Return the spec of the activation, whose named pipes lie in ``tmp_path``."""
    for name in ("import", "training"):
        os.mkfifo(tmp_path / name)
    return f"{user_module(WAITS)}:act"


@contextmanager
def run_of(
    spec: str, folder: Path, *options: str, **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """Give a running ``actbench run`` of two quick trials per seed, the activation's first."""
    asked = ("run", "--train-images", "64", "--epochs", "2", "--seeds", "2", "--verbose")
    asked += ("--model", "mlp:depth=1,width=16", "--corruptions", "none", "--activation", spec)
    asked += ("--out", str(folder), *options)
    with start_command(
        *asked,
        cwd=folder.parent,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until(process: subprocess.Popen[str], says: str) -> None:
    assert process.stderr is not None
    before = []
    for line in process.stderr:
        if line == f"{says}\n":
            return
        before.append(line)
    pytest.fail(f"it ended before it was {says}: {''.join(before)}")


def end_of(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, err = process.communicate()
    return process.returncode, err


def test_of_two_runs_at_once_in_a_new_folder_one_trains_and_the_other_changes_nothing(
    spec: str, tmp_path: Path
) -> None:
    folder = tmp_path / "new"
    with run_of(spec, folder, "--workers", "0", IMPORT="1") as late:
        wait_until(late, "at import")  # it has found no folder by now
        with run_of(spec, folder, "--workers", "0") as early:
            wait_until(early, "in training")
            (folder / "trials").mkdir(exist_ok=True)
            being_written = folder / "trials" / ".record.making"
            being_written.touch()
            before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
            (tmp_path / "import").write_text("")
            code, err = end_of(late)
            assert code == 3
            assert err.splitlines() == [
                f"actbench: {str(folder)!r} is held by another run: "
                f"process {early.pid} on {os.uname().nodename}"
            ]
            assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
            (tmp_path / "training").write_text("")
            code, err = end_of(early)
    assert code == 0, err
    assert list(pd.read_csv(folder / "trials.csv")["status"]) == ["ok"] * 4


@pytest.mark.parametrize("more", [(), ("--dry-run",), ("--shard", "1/2"), ("--restart", "--yes")])
def test_a_folder_of_other_files_is_refused_and_left_unchanged(
    more: tuple[str, ...], tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    images = tmp_path / "images" / "train"
    (images / "cats").mkdir(parents=True)
    (images / "cats" / "1.png").write_bytes(b"an image")
    (tmp_path / "summary.md").write_text("my own")
    for folder in (images, tmp_path):
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        done = actbench_here("run", *TINY, "--workers", "0", "--out", str(folder), *more)
        assert done.code == 3
        assert done.err.splitlines() == [
            f"actbench: {str(folder)!r} is not empty and not a results folder: it has no "
            "study.toml; choose another folder with --out"
        ]
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_folder_with_only_hidden_files_is_run_in(
    tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    for name in (".lock", ".lock-holder", ".0.making", ".DS_Store"):
        (folder / name).touch()
    quick = ("--train-images", "64", "--epochs", "1", "--seeds", "1", "--corruptions", "none")
    asked = ("run", *quick, "--activation", "tanh", "--workers", "0", "--out", str(folder))
    assert actbench_here(*asked).code == 0


def renamed(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))


def deleted(folder: Path) -> None:
    shutil.rmtree(folder)


def emptied(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def replaced(folder: Path) -> None:
    renamed(folder)
    folder.mkdir()
    for name in ("study.toml", ".lock", ".lock-holder"):
        (folder / name).write_text("another run's")


@pytest.mark.parametrize(
    ("change", "workers"),
    [(renamed, "0"), (renamed, "1"), (deleted, "1"), (emptied, "1"), (replaced, "0")],
)
def test_a_folder_that_is_moved_under_a_run_is_noticed_and_nothing_more_is_written(
    change: Callable[[Path], None], workers: str, spec: str, tmp_path: Path
) -> None:
    folder = tmp_path / "results"
    with run_of(spec, folder, "--workers", workers) as process:
        wait_until(process, "in training")
        change(folder)
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        (tmp_path / "training").write_text("")
        code, err = end_of(process)
    assert code == 3, err
    assert err.splitlines()[-1] == (
        f"actbench: {str(folder)!r} was deleted, emptied or renamed while this run was writing to "
        "it; nothing more is written"
    )
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert folder.exists() == (change in (emptied, replaced))
    assert "Traceback" not in err


def test_learning_rates_are_not_chosen_for_a_folder_that_is_gone(spec: str, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    with run_of(spec, folder, "--workers", "0", "--tune-lr", "0.01,0.03") as process:
        wait_until(process, "in training")
        deleted(folder)
        (tmp_path / "training").write_text("")
        code, err = end_of(process)
    assert code == 3, err
    assert not folder.exists()


def test_checkpoints_that_cannot_be_written_end_the_run_before_training(
    tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    asked = ("run", "--train-images", "64", "--epochs", "1", "--seeds", "1", "--corruptions")
    asked += ("none", "--activation", "relu", "--out", "out")
    assert actbench_here(*asked).code == 0
    for record in (tmp_path / "out" / "trials").iterdir():
        record.unlink()
    (tmp_path / "out" / "checkpoints").write_text("a file is in the way")
    done = actbench_here(*asked, "--workers", "1")
    assert done.code == 3
    assert done.err.splitlines()[-1] == "actbench: cannot write 'out/checkpoints': File exists"
    assert "relu, seed 0" not in done.err
