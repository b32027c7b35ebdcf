"""What the tests share: a cache of their own, the command as a real process, one tiny study."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

import actbench
from actbench.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from actbench.record import TrialRecord
    from actbench.study import Study

# two epochs of two steps each: a trial of it takes about a second
TINY = ("--train-images", "128", "--epochs", "2", "--seeds", "2")
TINY_ACTIVATIONS = ("relu", "leaky_relu:0", "prelu", "rrelu")
TINY_STUDY = (*TINY, *(part for spec in TINY_ACTIVATIONS for part in ("--activation", spec)))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep prepared data away from the user's cache, in child processes as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACTBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("PYTHONPATH", str(Path(actbench.__file__).parents[1]))
        patch.setenv("PYTHONIOENCODING", "utf-8")
        patch.setenv("COLUMNS", "300")
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Compute as a worker does; on a busy machine, threads would wait for one another."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard() -> None:
    """Let what the tests start hear Ctrl-C, where they run in a shell's background as well."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
        return list(Store(self.folder).records(self.study).values())


SAME_BYTES = (
    "trials.csv",
    "corruptions.csv",
    "gradients.csv",
    "attacks.csv",
    "mechanism.csv",
    "summary.csv",
    "comparisons.csv",
    "summary.md",
    "study.toml",
)


def same_files(one: Path, other: Path) -> list[str]:
    """Return the names of the files that differ between two results folders."""
    names = [*SAME_BYTES, *(f"trials/{p.name}" for p in sorted((one / "trials").iterdir()))]
    return [name for name in names if (one / name).read_bytes() != (other / name).read_bytes()]


def run_process(*arguments: str, cwd: Path) -> Outcome:
    """Return the outcome of ``python -m actbench`` with these arguments, a real process."""
    done = subprocess.run(
        [sys.executable, "-m", "actbench", *arguments],
        cwd=cwd,
        env=os.environ,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def ended_with_the_parent(*command: str, cwd: Path) -> bool:
    """Return whether all processes of a command end once it is killed while a worker computes.

    They share its stderr, which is at its end when the last of them is.
    """
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.strip() == b"worker computes":
                break
        process.kill()
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return False
    return True


@pytest.fixture
def actbench_here(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """Return a function that runs the command line in this process, in a folder of its own.

    Trials run in this process too, so a test that fails shows where.
    """
    from actbench import cli

    monkeypatch.chdir(tmp_path)
    # what the command does to its process must not outlive the test
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)

    def run(*arguments: str) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main([*arguments])
        printed = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), printed.out, printed.err)

    return run


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """Return the tiny study, run once by a real process with one worker; look, do not write."""
    folder = tmp_path_factory.mktemp("tiny") / "one-worker"
    outcome = run_process(
        "run", *TINY_STUDY, "--workers", "1", "--out", str(folder), cwd=folder.parent
    )
    assert outcome.code == 0, outcome.err
    return TinyRun(folder, outcome)


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Return a function that makes a module of the user's own, and gives its name."""
    made: list[str] = []
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(source: str) -> str:
        name = f"user_module_{os.getpid()}_{id(made)}_{len(made)}"
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
        made.append(name)
        return name

    yield make
    for name in made:
        sys.modules.pop(name, None)
