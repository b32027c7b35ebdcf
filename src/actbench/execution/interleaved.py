"""Several trials under way in one process, a stretch of each in turn: what fills a GPU."""

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
from actbench.execution.executors import Finished, Retried, crashed, run_one, timed_out
from actbench.study.study import Study
from actbench.training.devices import enter, set_precision

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from actbench.data.images import ImageData
    from actbench.execution.executors import Event
    from actbench.study.study import Trial

_DECIDES_DATA = ("dataset", "data_dir", "data_checksum", "train_images", "validation_images")


@dataclass(frozen=True)
class Resumed:
    """A trial whose stretch comes next, and the seconds since it began."""

    trial: Trial
    seconds: float


@dataclass(frozen=True)
class _Task:
    study: Study
    trial: Trial
    data_folder: Path
    on_event: Callable[[Event], None]
    checkpoints: Path | None


@dataclass
class _RunningTrial:
    task: _Task
    steps: Generator[None, None, Finished]
    stream: contextlib.AbstractContextManager[object]
    begin: float


class InterleavedTrials:
    """Runs trials on one place, ``at_once`` of them under way at a time.

    One alone on the processor takes its steps one after the other. Otherwise each hands its device
    an epoch and lets the others go on; on a GPU each has a stream of its own, so that their kernels
    run side by side. A trial's numbers are its own all the same. Where a GPU's memory does not
    suffice, the trial that met the limit waits, fewer are under way from then on, and it begins
    again from its last checkpoint; one that does not fit alone is a crashed one.
    """

    def __init__(self, place: str, at_once: int, trial_timeout: float | None = None) -> None:
        enter(place)
        self._place, self._at_once, self._timeout = place, at_once, trial_timeout
        self._deferred = at_once > 1 or place != "cpu"
        self._waiting: deque[_Task] = deque()
        self._lanes: list[_RunningTrial] = []

    @property
    def busy(self) -> bool:
        """Whether any trial is under way or waits."""
        return bool(self._waiting or self._lanes)

    def add(
        self,
        study: Study,
        trial: Trial,
        data_folder: Path,
        on_event: Callable[[Event], None],
        checkpoints: Path | None,
    ) -> None:
        """Let a trial begin when there is a lane for it (see ``executors.Executor.run``)."""
        self._waiting.append(_Task(study, trial, data_folder, on_event, checkpoints))

    def advance(self) -> Iterator[Resumed | Finished | Retried]:
        """Take every trial that is under way one stretch further; yield what happens.

        Where one is late when its turn comes, its time is over. Within a stretch it cannot be
        stopped from here.

        Raises:
            ResultsFolderError: a checkpoint cannot be written.
            UnavailableError: the data or what else all trials need is gone.
        """
        while self._waiting and len(self._lanes) < self._at_once:
            self._lanes.append(self._begin(self._waiting.popleft()))
        for lane in list(self._lanes):
            seconds = time.perf_counter() - lane.begin
            yield Resumed(lane.task.trial, seconds)
            if self._timeout is not None and seconds > self._timeout:
                self._lanes.remove(lane)
                yield timed_out(lane.task.study, lane.task.trial, self._timeout, seconds)
                continue
            try:
                with lane.stream:
                    next(lane.steps)
                continue
            except StopIteration as end:
                outcome: Finished | Retried = end.value
            except torch.OutOfMemoryError as error:
                outcome = self._out_of_memory(lane, error)
            self._lanes.remove(lane)
            yield outcome

    def _begin(self, task: _Task) -> _RunningTrial:
        begin, study = time.perf_counter(), task.study
        stream: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        if self._place != "cpu":
            set_precision(study.precision)
            stream = torch.cuda.stream(torch.cuda.Stream(self._place))  # type: ignore[no-untyped-call]
        of_the_data = Study(**{name: getattr(study, name) for name in _DECIDES_DATA})
        data = _images(self._place, task.data_folder, of_the_data)
        steps = run_one(
            *(study, task.trial, data, task.on_event, task.checkpoints), deferred=self._deferred
        )
        return _RunningTrial(task, steps, stream, begin)

    def _out_of_memory(
        self, lane: _RunningTrial, error: torch.OutOfMemoryError
    ) -> Finished | Retried:
        """Let the trial wait for memory, or return it as a crashed one where it was alone."""
        others = len(self._lanes) - 1
        reason = str(error).partition("\n")[0]
        error.__traceback__ = None  # it holds the trial's tensors
        gc.collect()
        torch.cuda.empty_cache()
        if others == 0:
            record = crashed(lane.task.study, lane.task.trial, f"OutOfMemoryError: {reason}")
            return Finished(record, time.perf_counter() - lane.begin)
        self._at_once = others
        self._waiting.appendleft(lane.task)
        return Retried(lane.task.trial, f"there was no memory left beside {others} others")


@functools.lru_cache(maxsize=1)
def _images(place: str, folder: Path, study: Study) -> ImageData:
    """Return a study's images (see ``data.study_images``) where its trials are to compute."""
    data = study_images(folder, study).to(place)
    if place != "cpu":
        torch.cuda.synchronize(place)  # every stream finds them there
    return data
