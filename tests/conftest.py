"""Shared fixtures: a separate cache, the command line, one tiny study, few images, no figures."""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from filelock import FileLock

import actbench
from helpers.few_digits import ALL_DIGITS, FEW_DIGITS, digits_are
from helpers.forked import fork_workers
from helpers.runs import (
    TINY_STUDY,
    Outcome,
    TinyRun,
    run_here,
    without_figures,
)
from helpers.short_reports import no_estimates, short_reports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what lives until the end: libraries and test items."""
    gc.collect()
    gc.freeze()


def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that pytest-xdist's processes share, so that nothing is made twice."""
    root = tmp_path_factory.getbasetemp()
    return root.parent if "PYTEST_XDIST_WORKER" in os.environ else root


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep prepared data out of the user's cache, in child processes as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACTBENCH_CACHE", str(shared_folder(tmp_path_factory) / "cache"))
        path = (Path(actbench.__file__).parents[1], Path(__file__).parent)  # the latter for helpers
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, path)))
        patch.setenv("PYTHONIOENCODING", "utf-8")
        patch.setenv("COLUMNS", "300")
        yield


@pytest.fixture(scope="session", autouse=True)
def _workers_start_at_once() -> None:
    fork_workers()


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Compute with one thread, as a worker does; on a busy machine threads wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard() -> None:
    """Let processes of the tests receive Ctrl-C, even if the tests run in a shell's background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def _no_figures(request: pytest.FixtureRequest) -> Iterator[None]:
    """Write reports without figures, unless the module has the mark ``figures``."""
    if request.node.get_closest_marker("figures"):
        yield
        return
    with without_figures():
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_estimates() -> Iterator[None]:
    """Let runs begin at once; how long they will take is tested by itself."""
    with no_estimates():
        yield


@pytest.fixture
def short_report() -> Iterator[None]:
    """Write only the trials and the summary of a report; the rest of it takes longer."""
    with short_reports():
        yield


@pytest.fixture(scope="module", autouse=True)
def _few_digits(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let ``digits`` have fewer test images, unless the module has the mark ``digits``."""
    every = request.node.get_closest_marker("digits")
    with digits_are(ALL_DIGITS if every else FEW_DIGITS):
        yield


@pytest.fixture
def all_digits() -> Iterator[None]:
    """Let ``digits`` have all test images: the last 40 are a batch that no check meets."""
    with digits_are(ALL_DIGITS):
        yield


@pytest.fixture
def actbench_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Return ``run_here`` in the test's temporary folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: run_here(*arguments, cwd=Path.cwd())


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """Return the tiny study, run once in this process, without figures; read-only."""
    shared = shared_folder(tmp_path_factory)
    folder, printed = shared / "tiny", shared / "tiny.json"
    with FileLock(shared / "tiny.lock"):
        if not printed.exists():
            with without_figures(), digits_are(FEW_DIGITS):
                outcome = run_here("run", *TINY_STUDY, "--out", str(folder), cwd=shared)
            printed.write_text(json.dumps(vars(outcome)), encoding="utf-8")
    outcome = Outcome(**json.loads(printed.read_text(encoding="utf-8")))
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
