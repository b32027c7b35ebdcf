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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actbench.errors import ResultsFolderError, UnavailableError, UsageError
from actbench.execution.executors import (
    RETRIES,
    Finished,
    configure_malloc,
    crashed,
    default_workers,
    run_one,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from actbench.execution.executors import Event
    from actbench.study.study import Study, Trial

SECONDS_TO_GIVE_UP = 30
"""How long after the time limit a process is ended that Python cannot interrupt."""


class RayTasks:
    """Runs each trial as a Ray task of one core; the data is sent to every node once.

    Ray retries a task whose worker or node dies, ``RETRIES`` times; then the trial counts as
    crashed. A trial reports no event before it finishes. Only this process writes records. Trials
    write checkpoints if their node can access the results folder, as on a shared file system;
    otherwise a retried trial starts over.

    Args:
        workers: how many trials run at once; one per core unless given.
        address: the cluster's address, ``auto`` for the one that this machine belongs to; a cluster
            is started on this machine unless given.
        trial_timeout: the time limit of a trial in seconds.

    Raises:
        UsageError: Ray is not installed, or there is no such cluster.
    """

    def __init__(
        self, workers: int | None, address: str | None, trial_timeout: float | None
    ) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would send usage data
        try:
            import ray
        except ImportError:
            raise UsageError(
                "the executor ray needs Ray; install actbench with the extra ray"
            ) from None
        self._ray: Any = ray
        self._at_once, self._timeout = workers, trial_timeout
        self._ours = not ray.is_initialized()
        if not self._ours:
            return
        own: dict[str, Any] = {} if address else {"num_cpus": workers or default_workers()}
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
                reason = " ".join(str(error).split())[:200]
                raise UsageError(f"cannot use Ray at {address or 'local'!r}: {reason}") from None

    def run(
        self,
        study: Study,
        trials: Sequence[Trial],
        data_folder: Path,
        on_event: Callable[[Event], None],
        checkpoints: Path | None = None,
    ) -> None:
        """Run all trials (see ``Executor.run``)."""
        ray = self._ray
        task = ray.remote(num_cpus=1, max_retries=RETRIES)(_run_on_node)
        shared = ray.put(_as_arrays(study, data_folder))
        given = (checkpoints and checkpoints.resolve(), [str(Path.cwd()), *sys.path], self._timeout)
        pending = list(reversed(trials))
        running: dict[Any, Trial] = {}
        while pending or running:
            while pending and len(running) < (self._at_once or len(trials)):
                trial = pending.pop()
                running[task.remote(study, trial, shared, *given)] = trial
            (done,), _ = ray.wait(list(running), num_returns=1)
            trial = running.pop(done)
            try:
                event: Event = ray.get(done)
            except (ResultsFolderError, UnavailableError) as error:
                raise getattr(error, "cause", error) from None  # Ray wraps what a task raised
            except ray.exceptions.RayError as error:
                reason = str(error).strip().partition("\n")[0]
                reason = f"its Ray worker was lost, {RETRIES + 1} times in a row: {reason}"
                event = Finished(crashed(study, trial, reason, str(error)), 0.0)
            on_event(event)

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
    trial: Trial,
    arrays: dict[str, Any],
    checkpoints: Path | None,
    import_paths: list[str],
    timeout: float | None,
) -> Finished:
    """Return the outcome of one trial; this runs on a node of the cluster."""
    sys.path.extend(path for path in import_paths if path not in sys.path)
    with contextlib.suppress(OSError):  # another node may have no such folder
        os.chdir(import_paths[0])  # paths of user code are relative to it
    configure_malloc()
    import numpy as np
    import torch

    from actbench.data.images import ImageData
    from actbench.training.trial import finish

    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # shared arrays are read-only; nothing writes to them
        tensors: dict[str, Any] = {
            name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
            for name, value in arrays.items()
        }
    if checkpoints is not None and not checkpoints.is_dir():
        checkpoints = None
    begin = time.perf_counter()
    try:
        with _time_limit(timeout):
            data = ImageData(**tensors)
            return finish(run_one(study, trial, data, lambda _: None, checkpoints))
    except _TimedOutError:
        reason = f"it took longer than the limit of {timeout:g} s"
        return Finished(crashed(study, trial, reason), time.perf_counter() - begin)


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
