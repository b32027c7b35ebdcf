"""Corrupted test sets are made by the worker processes before the trials start."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

import pytest

from actbench.errors import UsageError
from actbench.execution import corrupted_sets
from actbench.execution.corrupted_sets import prepare_corruptions
from actbench.execution.local import InProcess, LocalWorkers
from actbench.execution.plan import prepare_study
from actbench.models.networks.registry import resolve_model
from actbench.study.study import Study

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


@pytest.fixture
def workers() -> Iterator[LocalWorkers]:
    """Return two worker processes."""
    started = LocalWorkers(["cpu", "cpu"])
    yield started
    started.close()


def end_unless(process: int) -> None:
    """End any other process."""
    if os.getpid() != process:
        os._exit(3)


def test_tasks_run_in_the_processes(workers: LocalWorkers, tmp_path: Path) -> None:
    write = [partial(os.symlink, "nothing", tmp_path / str(i)) for i in range(6)]
    done: list[int] = []
    workers.prepare(write, lambda: done.append(1))
    assert len(done) == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2", "3", "4", "5"]


def test_what_is_left_runs_here_when_a_process_ends(workers: LocalWorkers, tmp_path: Path) -> None:
    write = [partial((tmp_path / str(i)).write_text, "done") for i in range(6)]
    done: list[int] = []
    tasks = [*write[:3], partial(end_unless, os.getpid()), *write[3:]]
    workers.prepare(tasks, lambda: done.append(1))
    assert len(done) == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2", "3", "4", "5"]
    workers.prepare(write, lambda: done.append(1))  # one process has replaced another
    assert len(done) == 13


def test_an_error_of_a_task_is_raised_here(workers: LocalWorkers) -> None:
    with pytest.raises(UsageError, match="unknown model 'nowhere'"):
        workers.prepare([partial(resolve_model, "nowhere")], lambda: None)


class Counting:
    """Runs no task, but counts them."""

    tasks = 0

    def prepare(self, tasks: Sequence[Callable[[], object]], on_done: Callable[[], None]) -> None:
        """Count the tasks."""
        self.tasks += len(tasks)


def test_large_sets_are_not_made_by_every_process_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = prepare_study(Study(train_images=64, corruptions=("contrast",)))
    counting = Counting()
    stages: list[object] = []
    prepare_corruptions(plan, (), stages.append, counting.prepare)
    assert counting.tasks == 5
    assert len(stages) == 1
    monkeypatch.setattr(corrupted_sets, "LARGE_SET", 1000)
    prepare_corruptions(plan, (), stages.append, counting.prepare)
    assert counting.tasks == 5
    assert len(stages) == 1 + 1 + 5


def test_all_processes_make_the_sets_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = prepare_study(Study(train_images=64, corruptions=("gaussian_noise",)))
    made = []
    for name in ("one", "all"):
        monkeypatch.setenv("ACTBENCH_CACHE", str(tmp_path / name))
        executor = InProcess() if name == "one" else LocalWorkers(["cpu", "cpu"])
        try:
            prepare_corruptions(plan, prepare=executor.prepare)
        finally:
            executor.close()
        folder = tmp_path / name / "actbench" / "images"
        made.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert made[0] == made[1]
    assert len(made[0]) == 5
