"""Shared fixtures: a separate cache, the command as a real process, one tiny study."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

import actbench
from helpers.runs import (
    TINY_STUDY,
    Outcome,
    TinyRun,
    run_process,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep prepared data out of the user's cache, in child processes as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACTBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("PYTHONPATH", str(Path(actbench.__file__).parents[1]))
        patch.setenv("PYTHONIOENCODING", "utf-8")
        patch.setenv("COLUMNS", "300")
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Compute with one thread, as a worker does; on a busy machine threads wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard() -> None:
    """Let processes of the tests receive Ctrl-C, even if the tests run in a shell's background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def actbench_here(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """Return a function that runs the command line in this process, in a temporary folder.

    Trials run in this process too, so a test that fails shows where.
    """
    from actbench.cli import main as cli

    monkeypatch.chdir(tmp_path)
    # changes that the command makes to its process must end with the test
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
    """Return the tiny study, run once by a real process with one worker; read-only."""
    folder = tmp_path_factory.mktemp("tiny") / "one-worker"
    outcome = run_process(
        "run", *TINY_STUDY, "--workers", "1", "--out", str(folder), cwd=folder.parent
    )
    assert outcome.code == 0, outcome.err
    return TinyRun(folder, outcome)


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Return a function that writes a user's module and returns its name."""
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
