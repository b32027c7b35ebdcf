"""The command in this process or as a real one, and the tiny study that many tests run."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from actbench.analysis.trial_results import stored_results
from actbench.store.store import Store
from helpers.forked import start_command

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from actbench.store.record import TrialRecord
    from actbench.store.result import TrialResult
    from actbench.study.study import Study


# two epochs of two steps each: a trial of it takes about a second
TINY = ("--train-images", "128", "--epochs", "2", "--seeds", "2")


TINY_ACTIVATIONS = ("relu", "leaky_relu:0", "prelu", "rrelu")


# the recipe and the measurements of the tiny study, for a part of its trials
TINY_PART = (*TINY, "--corruptions", "gaussian_noise,impulse_noise")
TINY_STUDY = (
    *TINY_PART,
    *(part for spec in TINY_ACTIVATIONS for part in ("--activation", spec)),
)


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class TinyRun:
    """A finished run of the tiny study: its folder and what the command left."""

    folder: Path
    outcome: Outcome

    @property
    def study(self) -> Study:
        """The study that the folder holds."""
        return Store(self.folder).study()

    @property
    def records(self) -> list[TrialRecord]:
        """The records of all its trials, in the order in which they ran."""
        return list(Store(self.folder).open(self.study).records().values())

    @property
    def results(self) -> list[TrialResult]:
        """The results in the study's measurements, in that order."""
        return list(stored_results(Store(self.folder), self.study).values())


SAME_BYTES = (
    "trials.csv",
    "corruptions.csv",
    "gradients.csv",
    "attacks.csv",
    "mechanism.csv",
    "summary.csv",
    "comparisons.csv",
    "corruption_differences.csv",
    "class_summary.csv",
    "summary.md",
    "study.toml",
)


def same_files(one: Path, other: Path) -> list[str]:
    """Return the names of the files that differ between two results folders."""
    names = [*SAME_BYTES, *(f"trials/{p.name}" for p in sorted((one / "trials").iterdir()))]
    return [name for name in names if (one / name).read_bytes() != (other / name).read_bytes()]


@contextlib.contextmanager
def without_figures() -> Iterator[None]:
    """Draw one small picture in place of a report's figures, in this process."""
    from actbench.report import write
    from helpers.quick_command import small_picture

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "all_figures", small_picture)
        yield


def run_here(*arguments: str, cwd: Path) -> Outcome:
    """Return the outcome of the command line with these arguments, run in this process.

    Trials run here too, unless ``--workers`` is among the arguments.
    """
    from actbench.cli import main as cli

    workers = (
        ("--workers", "0") if arguments[:1] == ("run",) and "--workers" not in arguments else ()
    )
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2)]
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.chdir(cwd))
        stack.enter_context(contextlib.redirect_stdout(streams[0]))
        stack.enter_context(contextlib.redirect_stderr(streams[1]))
        # changes that the command makes to its process must end with it
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(cli.signal, "signal", lambda *_: None)
        ended = stack.enter_context(pytest.raises(SystemExit))
        cli.main([*arguments, *workers])
    printed = []
    for stream in streams:
        stream.seek(0)
        printed.append(stream.read())
    return Outcome(int(ended.value.code or 0), *printed)


def run_process(*arguments: str, cwd: Path, command: Sequence[str] = ()) -> Outcome:
    """Return the outcome of the command with these arguments, a real process.

    It has few digits and no figures, and is a fork where possible, unless a ``command`` is given.
    """
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if command:
        process = subprocess.Popen(
            [*command, *arguments], cwd=cwd, text=True, encoding="utf-8", **streams
        )
    else:
        process = start_command(*arguments, cwd=cwd, **streams)
    with process:
        out, err = process.communicate()
    return Outcome(process.returncode, out, err)


# how a command starts whose end ``ended_with_the_parent`` observes
OBSERVED: dict[str, Any] = {
    "stdout": subprocess.DEVNULL,
    "stderr": subprocess.PIPE,
    "start_new_session": True,
}


def observed(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """Start Python with these arguments for ``ended_with_the_parent``."""
    return subprocess.Popen([sys.executable, *arguments], cwd=cwd, text=True, **OBSERVED)


def interrupted(line: str, number: signal.Signals, *arguments: str, cwd: Path) -> Outcome:
    """Return how a command ended that got a signal with its workers, after a line on stderr.

    Its stderr is what followed the first line that begins with ``line``.
    """
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with start_command(*arguments, cwd=cwd, start_new_session=True, **streams) as process:
        assert process.stderr is not None
        for written in process.stderr:
            if written.startswith(line):
                break
        os.killpg(process.pid, number)
        out, err = process.communicate()
    return Outcome(process.returncode, out, err)


def ended_with_the_parent(process: subprocess.Popen[str]) -> bool:
    """Return whether all processes of a command end once it is killed while a worker computes.

    They share its stderr, which is at its end when the last of them is.
    """
    with process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.strip() == "worker computes":
                break
        process.kill()
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return False
    return True
