"""The interface of executors, and one trial with its errors."""

from __future__ import annotations

import ctypes
import os
import sys
import time
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from actbench.analysis.trial_results import result_of
from actbench.errors import ResultsFolderError, UnavailableError, encodable, one_line
from actbench.execution.environment import environment_of
from actbench.execution.events import Finished, Retried
from actbench.store.checkpoint import Checkpoint
from actbench.store.record import TrialRecord
from actbench.store.store import CHECKPOINTS_FOLDER
from actbench.store.weights import WEIGHTS_FOLDER, Weights
from actbench.study.study import trial_id
from actbench.training.events import Updated

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
    from pathlib import Path

    from actbench.data.images import ImageData
    from actbench.execution.events import Event
    from actbench.store.stored_study import Work
    from actbench.study.study import Study, Trial
    from actbench.training.events import TrialEvent

    Prepare = Callable[[Sequence[Callable[[], object]], Callable[[], None]], None]


RETRIES = 2
"""How often a trial is retried whose process ended, before it counts as crashed."""


class Executor(Protocol):
    """Runs trials and reports events in the order in which they happen."""

    def run(
        self,
        study: Study,
        works: Sequence[Work],
        data_folder: Path,
        on_event: Callable[[Event], None],
        folder: Path | None = None,
    ) -> None:
        """Run all trials; ``on_event`` is called only in this process.

        Args:
            study: the configuration, every name in it resolved.
            works: the trials to run, in the order in which they start.
            data_folder: the prepared data (see ``data.images.prepare``).
            on_event: called with every event.
            folder: the results folder, for checkpoints and weights; none are written unless given.

        Raises:
            ResultsFolderError: a checkpoint or weights cannot be written.
            UnavailableError: the data, or something else that all trials need, is gone.
        """

    def prepare(self, tasks: Sequence[Callable[[], object]], on_done: Callable[[], None]) -> None:
        """Run tasks that trials need; ``on_done`` is called in this process after each.

        A task can be pickled, and may run twice.

        Raises:
            ActbenchError: a task raised it; others may still run until the executor is closed.
        """

    def close(self) -> None:
        """End the processes that the executor started."""


def run_here(tasks: Iterable[Callable[[], object]], on_done: Callable[[], None]) -> None:
    """Run tasks in this process: see ``Executor.prepare``."""
    for task in tasks:
        task()
        on_done()


def default_workers() -> int:
    """Return the number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no affinity
        return os.cpu_count() or 1


def run_one(
    study: Study,
    work: Work,
    data: ImageData,
    on_event: Callable[[Event], None],
    folder: Path | None,
    *,
    deferred: bool = False,
) -> Generator[None, None, Finished]:
    """Return the outcome of one trial; if its training raises an exception, a record of the crash.

    This is a generator, like ``trial.run_trial``; the arguments are those of ``Executor.run``.

    Raises:
        ResultsFolderError: its checkpoint or weights cannot be written.
        UnavailableError: the data, or something else that all trials need, is gone.
        torch.OutOfMemoryError: the GPU has too little free memory.
    """
    import torch

    from actbench.models.global_state import settings_kept
    from actbench.models.study_code import import_code
    from actbench.training.trial import run_trial

    begin, trial = time.perf_counter(), work.trial
    environment = environment_of(study.device, study.kernels)

    def when_damaged(path: Path) -> None:
        on_event(Retried(trial, f"its damaged checkpoint was renamed to {path}"))

    def on_trial_event(event: TrialEvent) -> None:
        on_event(replace(event, environment=environment) if isinstance(event, Updated) else event)

    checkpoint = weights = None
    if folder is not None:
        name, checkpoints = trial_id(study, trial), folder / CHECKPOINTS_FOLDER
        checkpoint = Checkpoint(checkpoints, name, when_damaged, environment["id"])
        weights = Weights(folder / WEIGHTS_FOLDER, name)
    try:
        import_code(study)
        generator = run_trial(
            study,
            trial,
            data,
            on_trial_event,
            checkpoint,
            weights=weights,
            stored=work.record,
            environment=environment["id"],
            deferred=deferred,
        )
        while True:
            # global settings that user code changes do not reach other trials
            with settings_kept():
                try:
                    next(generator)
                except StopIteration as end:
                    record: TrialRecord = end.value
                    break
            yield
    except (ResultsFolderError, UnavailableError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:  # an error in user code ends only this trial
        reason, trace = f"{type(error).__name__}: {error}", traceback.format_exc()
        return given_up(study, work, reason, time.perf_counter() - begin, trace)
    return end_event(study, record, time.perf_counter() - begin, environment)


def end_event(
    study: Study, record: TrialRecord, seconds: float, environment: Mapping[str, Any] | None = None
) -> Finished:
    """Return the event of a trial's end."""
    result = result_of(record, study)
    status, reason = ("ok", "") if result is None else (result.status, result.reason)
    return Finished(record, seconds, status, reason, environment or {})


def given_up(study: Study, work: Work, reason: str, seconds: float, trace: str = "") -> Finished:
    """Return the outcome of a trial that could not be finished.

    If it is trained, that is kept, and what was not measured yet is stored as failed.
    """
    if work.record is None:
        record = crashed(study, work.trial, reason, trace)
    else:
        record = work.record.given_up(study, one_line(reason)[:300])
    return end_event(study, record, seconds)


def crashed(study: Study, trial: Trial, reason: str, trace: str = "") -> TrialRecord:
    """Return the record of a trial whose training could not be finished."""
    return TrialRecord(
        trial_id=trial_id(study, trial),
        activation=trial.activation,
        seed=trial.seed,
        status="crashed",
        reason=one_line(reason)[:300],
        trace=encodable(trace),
        kernels=study.kernels,
    )


def timed_out(study: Study, work: Work, timeout: float, seconds: float) -> Finished:
    """Return the outcome of a trial that was ended because it exceeded its time limit."""
    return given_up(study, work, f"it took longer than the limit of {timeout:g} s", seconds)


def configure_malloc() -> None:
    """Make glibc keep freed memory instead of unmapping it; page faults cost about 10 % of time.

    Sets M_MMAP_THRESHOLD (−3) to its largest accepted value, and M_TRIM_THRESHOLD (−1); see
    mallopt(3). Does nothing with another C library.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(-3, 32 << 20)
    mallopt(-1, 2**31 - 1)
