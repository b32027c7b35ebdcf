"""The interface of executors, the events that they report, and one trial with its errors."""

from __future__ import annotations

import ctypes
import os
import sys
import time
import traceback
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from actbench.errors import ResultsFolderError, UnavailableError
from actbench.execution.environment import environment_of
from actbench.store.checkpoint import Checkpoint
from actbench.store.record import TrialRecord
from actbench.study.study import trial_id
from actbench.training.events import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from pathlib import Path

    from actbench.data.images import ImageData
    from actbench.study.study import Study, Trial


@dataclass(frozen=True)
class Finished:
    """A trial's record, the seconds that it took, and the environment that it was computed in.

    ``environment`` is that of the process (see ``environment.environment_of``); empty if the
    process ended during the trial.
    """

    record: TrialRecord
    seconds: float
    environment: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Retried:
    """A trial that was interrupted and will be retried from its last checkpoint."""

    trial: Trial
    reason: str


@dataclass(frozen=True)
class Planned:
    """The number of trials that are about to run."""

    trials: int


@dataclass(frozen=True)
class Note:
    """A message to the user."""

    text: str


Event = Planned | Note | Progress | Finished | Retried
RETRIES = 2
"""How often a trial is retried whose process ended, before it counts as crashed."""


class Executor(Protocol):
    """Runs trials and reports events in the order in which they happen."""

    def run(
        self,
        study: Study,
        trials: Sequence[Trial],
        data_folder: Path,
        on_event: Callable[[Event], None],
        checkpoints: Path | None = None,
    ) -> None:
        """Run all trials; ``on_event`` is called only in this process.

        Args:
            study: the configuration, every name in it resolved.
            trials: the trials to run, in the order in which they start.
            data_folder: the prepared data (see ``data.images.prepare``).
            on_event: called with every event.
            checkpoints: the folder for checkpoints; none are written unless given.

        Raises:
            ResultsFolderError: a checkpoint cannot be written.
            UnavailableError: the data, or something else that all trials need, is gone.
        """

    def close(self) -> None:
        """End the processes that the executor started."""


def default_workers() -> int:
    """Return the number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no affinity
        return os.cpu_count() or 1


def run_one(
    study: Study,
    trial: Trial,
    data: ImageData,
    report: Callable[[Event], None],
    checkpoints: Path | None,
    *,
    deferred: bool = False,
) -> Generator[None, None, Finished]:
    """Return the outcome of one trial; if the trial raises an exception, a record of the crash.

    This is a generator, like ``trial.run_trial``.

    Raises:
        ResultsFolderError: its checkpoint cannot be written.
        UnavailableError: the data, or something else that all trials need, is gone.
        torch.OutOfMemoryError: the GPU has too little free memory.
    """
    import torch

    from actbench.models.global_state import settings_kept
    from actbench.models.study_code import import_code
    from actbench.training.trial import run_trial

    begin = time.perf_counter()

    def when_damaged(path: Path) -> None:
        report(Retried(trial, f"its damaged checkpoint was renamed to {path}"))

    environment = environment_of(study.device, study.kernels)
    checkpoint = None
    if checkpoints is not None:
        checkpoint = Checkpoint(
            checkpoints, trial_id(study, trial), when_damaged, environment["id"]
        )
    try:
        import_code(study)
        generator = run_trial(study, trial, data, report, checkpoint, deferred=deferred)
        while True:
            with (
                settings_kept()
            ):  # global settings that user code changes do not reach other trials
                try:
                    next(generator)
                except StopIteration as end:
                    record = replace(end.value, environment=environment["id"])
                    break
            yield
    except (ResultsFolderError, UnavailableError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:  # an error in user code ends only this trial
        record = crashed(study, trial, f"{type(error).__name__}: {error}", traceback.format_exc())
    return Finished(record, time.perf_counter() - begin, environment)


def crashed(study: Study, trial: Trial, reason: str, trace: str = "") -> TrialRecord:
    """Return the record of a trial that could not be finished."""
    return TrialRecord(
        trial_id=trial_id(study, trial),
        activation=trial.activation,
        seed=trial.seed,
        status="crashed",
        reason=" ".join(_encodable(reason).split())[:300],
        trace=_encodable(trace),
        kernels=study.kernels,
    )


def _encodable(text: str) -> str:
    """Return the text, with lone surrogates (from file names) escaped: UTF-8 has none."""
    return text.encode(errors="backslashreplace").decode()


def timed_out(study: Study, trial: Trial, timeout: float, seconds: float) -> Finished:
    """Return the outcome of a trial that was ended because it exceeded its time limit."""
    return Finished(
        crashed(study, trial, f"it took longer than the limit of {timeout:g} s"), seconds
    )


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
