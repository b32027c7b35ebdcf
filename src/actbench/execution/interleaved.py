"""Several trials in one process, one epoch of each in turn: this keeps a GPU busy."""

from __future__ import annotations

import contextlib
import functools
import gc
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from actbench.data.images import study_images
from actbench.execution.events import Finished, Retried
from actbench.execution.executors import given_up, run_one, timed_out
from actbench.store.stored_study import Work
from actbench.study.study import Study
from actbench.training.cuda import on_gpu, own_stream, set_precision
from actbench.training.devices import enter
from actbench.training.events import Updated

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from actbench.data.images import ImageData
    from actbench.execution.events import Event
    from actbench.study.study import Trial

_DATA_FIELDS = (
    "dataset",
    "data_dir",
    "image_size",
    "data_checksum",
    "train_images",
    "validation_images",
)


@dataclass(frozen=True)
class Resumed:
    """A trial that computes next, and the seconds since it started."""

    trial: Trial
    seconds: float


@dataclass
class _Task:
    study: Study
    work: Work
    data_folder: Path
    on_event: Callable[[Event], None]
    folder: Path | None

    def forward(self, event: Event) -> None:
        """Forward an event, and keep the trial's latest record in case it must resume."""
        if isinstance(event, Updated):
            self.work = Work(self.work.trial, event.record)
        self.on_event(event)


@dataclass
class _RunningTrial:
    task: _Task
    steps: Generator[None, None, Finished]
    stream: contextlib.AbstractContextManager[object]
    start: float


class InterleavedTrials:
    """Runs trials on one device, up to ``at_once`` of them concurrently.

    A single trial on the CPU takes its steps one by one. Otherwise each trial submits an epoch to
    the device and yields to the others; on a GPU each has its own stream, so that their kernels run
    concurrently. A trial's numbers do not depend on the others. If a GPU runs out of memory, the
    trial that failed to allocate waits, fewer trials run concurrently from then on, and it resumes
    from its last checkpoint; a trial that does not fit on its own is recorded as crashed.
    """

    def __init__(self, device: str, at_once: int, trial_timeout: float | None = None) -> None:
        enter(device)
        self._device, self._at_once, self._timeout = device, at_once, trial_timeout
        self._deferred = at_once > 1 or on_gpu(device)
        self._waiting: deque[_Task] = deque()
        self._running: list[_RunningTrial] = []

    @property
    def busy(self) -> bool:
        """Whether any trial is running or waiting."""
        return bool(self._waiting or self._running)

    def add(
        self,
        study: Study,
        work: Work,
        data_folder: Path,
        on_event: Callable[[Event], None],
        folder: Path | None,
    ) -> None:
        """Queue a trial (see ``executors.Executor.run``)."""
        self._waiting.append(_Task(study, work, data_folder, on_event, folder))

    def advance(self) -> Iterator[Resumed | Finished | Retried]:
        """Advance every running trial by one epoch or measurement and yield the events.

        A trial is timed out only between these; within one it cannot be stopped from here.

        Raises:
            ResultsFolderError: a checkpoint or weights cannot be written.
            UnavailableError: the data, or something else that all trials need, is gone.
        """
        while self._waiting and len(self._running) < self._at_once:
            self._running.append(self._start(self._waiting.popleft()))
        for running in list(self._running):
            seconds = time.perf_counter() - running.start
            yield Resumed(running.task.work.trial, seconds)
            if self._timeout is not None and seconds > self._timeout:
                self._running.remove(running)
                yield timed_out(running.task.study, running.task.work, self._timeout, seconds)
                continue
            try:
                with running.stream:
                    next(running.steps)
                continue
            except StopIteration as end:
                outcome: Finished | Retried = end.value
            except torch.OutOfMemoryError as error:
                outcome = self._out_of_memory(running, error)
            self._running.remove(running)
            yield outcome

    def _start(self, task: _Task) -> _RunningTrial:
        start, study = time.perf_counter(), task.study
        stream: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        if on_gpu(self._device):
            set_precision(study.precision)
            stream = own_stream(self._device)
        data_study = Study(**{name: getattr(study, name) for name in _DATA_FIELDS})
        data = _images(self._device, task.data_folder, data_study)
        steps = run_one(study, task.work, data, task.forward, task.folder, deferred=self._deferred)
        return _RunningTrial(task, steps, stream, start)

    def _out_of_memory(
        self, running: _RunningTrial, error: torch.OutOfMemoryError
    ) -> Finished | Retried:
        """Queue the trial again, or return it as crashed if no other trial was running."""
        others = len(self._running) - 1
        reason = str(error).partition("\n")[0]
        error.__traceback__ = None  # it references the trial's tensors
        gc.collect()
        torch.cuda.empty_cache()
        if others == 0:
            seconds = time.perf_counter() - running.start
            task = running.task
            return given_up(task.study, task.work, f"OutOfMemoryError: {reason}", seconds)
        self._at_once = others
        self._waiting.appendleft(running.task)
        return Retried(
            running.task.work.trial, f"the GPU ran out of memory beside {others} other trials"
        )


@functools.lru_cache(maxsize=1)
def _images(device: str, folder: Path, study: Study) -> ImageData:
    """Return a study's images (see ``data.images.study_images``) on the device."""
    data = study_images(folder, study).to(device)
    if on_gpu(device):
        torch.cuda.synchronize(device)  # before other streams read them
    return data
