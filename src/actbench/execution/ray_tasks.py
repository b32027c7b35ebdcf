"""Run trials as tasks of a Ray cluster: an existing one, or one started on this machine."""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import signal
import sys
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actbench.errors import ResultsFolderError, UnavailableError, UsageError, message_of
from actbench.execution.events import Finished
from actbench.execution.executors import (
    RETRIES,
    configure_malloc,
    default_workers,
    given_up,
    run_here,
    run_one,
    timed_out,
)
from actbench.store.store import CHECKPOINTS_FOLDER
from actbench.store.stored_study import Work
from actbench.training.events import Note, Updated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from actbench.execution.events import Event
    from actbench.study.run_options import RunOptions
    from actbench.study.study import Study, Trial

SECONDS_TO_GIVE_UP = 30
"""How long after the time limit a process is ended that Python cannot interrupt."""
SECONDS_TO_REPORT = 20
"""How long a trial is measured before its results are reported."""


class RayTasks:
    """Runs each trial as a Ray task of one core; the data is sent to every node once.

    Ray retries a task whose worker or node dies, ``RETRIES`` times; then the trial counts as
    crashed. A task ends when its trial is trained, and then after ``SECONDS_TO_REPORT`` of
    measurements; another task goes on. Only this process writes records. Trials write checkpoints
    and weights if their node can access the results folder, as on a shared file system. Otherwise
    one task runs all of a trial, a retried one starts over, and no weights are stored.

    Args:
        workers: how many trials run at once; one per core unless given.
        address: the cluster's address, ``auto`` for the one that this machine belongs to; a cluster
            is started on this machine unless given.
        trial_timeout: the time limit of a trial in seconds.

    Raises:
        UsageError: Ray is not installed, or there is no such cluster.
    """

    def __init__(self, options: RunOptions) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would send usage data
        try:
            import ray
        except ImportError:
            raise UsageError(
                "the executor ray needs Ray; install actbench with the extra ray"
            ) from None
        self._ray: Any = ray
        self._at_once, self._timeout = options.workers, options.trial_timeout
        self._ours = not ray.is_initialized()
        if not self._ours:
            return
        address = options.ray_address
        own: dict[str, Any] = {} if address else {"num_cpus": options.workers or default_workers()}
        with _signals_kept():
            try:
                ray.init(
                    address=address or "local",
                    include_dashboard=False,
                    log_to_driver=False,  # only the summary goes to stdout
                    logging_level=logging.ERROR,
                    **own,
                )
            except (ConnectionError, ValueError, RuntimeError, OSError) as error:
                raise UsageError(
                    f"cannot use Ray at {address or 'local'!r}: {message_of(error)}"
                ) from None

    def run(
        self,
        study: Study,
        works: Sequence[Work],
        data_folder: Path,
        on_event: Callable[[Event], None],
        folder: Path | None = None,
    ) -> None:
        """Run all trials (see ``Executor.run``)."""
        ray = self._ray
        task = ray.remote(num_cpus=1, max_retries=RETRIES)(_run_on_node)
        shared = ray.put(_as_arrays(study, data_folder))
        given = (folder and folder.resolve(), [str(Path.cwd()), *sys.path])
        spent: dict[Trial, float] = {}
        pending = list(reversed(works))
        running: dict[Any, Work] = {}
        while pending or running:
            while pending and len(running) < (self._at_once or len(works)):
                work = pending.pop()
                before = spent.setdefault(work.trial, 0.0)
                running[task.remote(study, work, shared, *given, self._timeout, before)] = work
            (done,), _ = ray.wait(list(running), num_returns=1)
            work = running.pop(done)
            try:
                events, seconds = ray.get(done)
            except (ResultsFolderError, UnavailableError) as error:
                raise getattr(error, "cause", error) from None  # Ray wraps what a task raised
            except ray.exceptions.RayError as error:
                reason = str(error).strip().partition("\n")[0]
                reason = f"its Ray worker was lost, {RETRIES + 1} times in a row: {reason}"
                events, seconds = [given_up(study, work, reason, 0.0, str(error))], 0.0
            spent[work.trial] += seconds
            for event in events:
                if isinstance(event, Finished):
                    event = replace(event, seconds=spent[work.trial])
                on_event(event)
            if isinstance(events[-1], Updated):
                pending.append(Work(work.trial, events[-1].record))

    prepare = staticmethod(run_here)

    def close(self) -> None:
        """Leave the cluster, or shut down the one that was started with all of its tasks."""
        if self._ours:
            self._ray.shutdown()


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep this process's SIGTERM handler, which Ray would replace."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _as_arrays(study: Study, data_folder: Path) -> dict[str, Any]:
    """Return the study's data as NumPy arrays, which the processes of a node share in memory."""
    from actbench.data.images import study_images

    data = vars(study_images(data_folder, study))
    return {name: v.numpy() if hasattr(v, "numpy") else v for name, v in data.items()}


def _run_on_node(
    study: Study,
    work: Work,
    arrays: dict[str, Any],
    folder: Path | None,
    import_paths: list[str],
    timeout: float | None,
    spent: float,
) -> tuple[list[Event], float]:
    """Run a part of one trial, ``spent`` seconds after it began; this runs on a node.

    Returns:
        Its events, the last of which is the trial's end or its latest record, and the seconds that
        it took.
    """
    sys.path.extend(path for path in import_paths if path not in sys.path)
    with contextlib.suppress(OSError):  # another node may have no such folder
        os.chdir(import_paths[0])  # paths of user code are relative to it
    configure_malloc()
    import numpy as np
    import torch

    from actbench.data.images import ImageData

    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # shared arrays are read-only; nothing writes to them
        tensors: dict[str, Any] = {
            name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
            for name, value in arrays.items()
        }
    events: list[Event] = []
    if folder is not None and not (folder / CHECKPOINTS_FOLDER).is_dir():
        folder = None
    begin = time.perf_counter()

    def on_event(event: Event) -> None:
        nonlocal work
        if isinstance(event, Updated):
            work = Work(work.trial, event.record)
        if isinstance(event, Updated | Note):
            events.append(event)

    try:
        with _time_limit(None if timeout is None else max(0.001, timeout - spent)):
            trial = run_one(study, work, ImageData(**tensors), on_event, folder)
            while True:
                known = len(events)
                next(trial)
                updated = len(events) > known and isinstance(events[-1], Updated)
                first = updated and events[-1].record.results == {}  # type: ignore[union-attr]
                late = time.perf_counter() - begin > SECONDS_TO_REPORT
                if folder is not None and updated and (first or late):
                    trial.close()
                    break
    except StopIteration as end:
        events.append(end.value)
    except _TimedOutError:
        events.append(timed_out(study, work, timeout or 0.0, time.perf_counter() - begin))
    return events, time.perf_counter() - begin


class _TimedOutError(BaseException):
    """A trial exceeded its time limit."""


@contextlib.contextmanager
def _time_limit(seconds: float | None) -> Iterator[None]:
    """Raise ``_TimedOutError`` in the block after ``seconds``; later end the process.

    Ray runs a task in the main thread of its process, where signals arrive.
    """
    if seconds is None:
        yield
        return

    def end(*_: object) -> None:
        raise _TimedOutError

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    faulthandler.dump_traceback_later(seconds + SECONDS_TO_GIVE_UP, exit=True)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)
