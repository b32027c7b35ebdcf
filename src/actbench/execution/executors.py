"""What every executor of trials does and tells; one trial, whatever may befall it."""

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
    """A trial's record, the seconds that it took, and what it was computed with.

    ``environment`` is that of the process (see ``environment.environment_of``); empty where that
    ended under the trial.
    """

    record: TrialRecord
    seconds: float
    environment: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Retried:
    """A trial that was broken off and is to be run again, from its last checkpoint."""

    trial: Trial
    reason: str


@dataclass(frozen=True)
class Planned:
    """So many trials are about to run."""

    trials: int


@dataclass(frozen=True)
class Note:
    """A line for the user."""

    text: str


Event = Planned | Note | Progress | Finished | Retried
RETRIES = 2
"""How often a trial is run again whose process ended, before it counts as crashed."""


class Executor(Protocol):
    """Runs trials and tells what happens, in the order in which it happens."""

    def run(
        self,
        study: Study,
        trials: Sequence[Trial],
        data_folder: Path,
        on_event: Callable[[Event], None],
        checkpoints: Path | None = None,
    ) -> None:
        """Run all trials; ``on_event`` is called in this process alone.

        Args:
            study: the whole configuration, every name in it resolved.
            trials: what is to be run, in the order in which it is handed out.
            data_folder: the prepared data (see ``data.prepare``).
            on_event: hears what happens.
            checkpoints: where trials keep their state; nowhere unless given.

        Raises:
            ResultsFolderError: a checkpoint cannot be written.
            UnavailableError: the data or what else all trials need is gone.
        """

    def close(self) -> None:
        """End what the executor started."""


def default_workers() -> int:
    """Return how many cores this process may use."""
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
    """Return the outcome of one trial; an exception in it is a record of its own.

    This is a generator, as ``trial.run_trial`` is.

    Raises:
        ResultsFolderError: its checkpoint cannot be written.
        UnavailableError: what all trials need is gone.
        torch.OutOfMemoryError: a GPU's memory is not enough, with what else there is in it.
    """
    import torch

    from actbench.models.global_state import settings_kept
    from actbench.models.study_code import import_code
    from actbench.training.trial import run_trial

    begin = time.perf_counter()

    def when_damaged(path: Path) -> None:
        report(Retried(trial, f"its checkpoint was damaged and is set aside as {path}"))

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
            with settings_kept():  # what a user's code changes is this stretch's alone
                try:
                    next(generator)
                except StopIteration as end:
                    record = replace(end.value, environment=environment["id"])
                    break
            yield
    except (ResultsFolderError, UnavailableError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:  # what a user's own code raises ends this trial alone
        if isinstance(error, SystemExit) and type(error) is not SystemExit:
            raise  # a signal's, not the user's
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
    """Return the text, what has no UTF-8 in it as escapes: a lone surrogate of a file's name."""
    return text.encode(errors="backslashreplace").decode()


def timed_out(study: Study, trial: Trial, timeout: float, seconds: float) -> Finished:
    """Return the outcome of a trial that was ended because it took longer than it may."""
    return Finished(
        crashed(study, trial, f"it took longer than the limit of {timeout:g} s"), seconds
    )


def configure_malloc() -> None:
    """Let glibc keep freed tensors instead of unmapping them: page faults cost some 10 %.

    M_MMAP_THRESHOLD (−3) at its largest accepted value, and M_TRIM_THRESHOLD (−1), as in
    mallopt(3). Other C libraries have no such call and go without.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(-3, 32 << 20)
    mallopt(-1, 2**31 - 1)
