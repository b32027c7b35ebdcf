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


def test_tasks_run_in_the_processes_and_one_that_ends_its_process_is_left_out(
    workers: LocalWorkers, tmp_path: Path
) -> None:
    write = [partial((tmp_path / str(i)).write_text, "done") for i in range(6)]
    done: list[int] = []
    tasks: list[Callable[[], object]] = [
        *write[:3],
        partial(os._exit, 3),
        *write[3:],
        partial(os._exit, 3),
    ]
    workers.prepare(tasks, lambda: done.append(1))
    assert len(done) == len(tasks)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2", "3", "4", "5"]
    workers.prepare(write[:1], lambda: done.append(1))  # by a process that replaced another
    assert len(done) == len(tasks) + 1


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
