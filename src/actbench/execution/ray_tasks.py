"""Run trials as plain tasks of a Ray cluster, an existing one or one of this machine's cores."""

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
"""How long after its time limit a trial's process is ended that Python cannot interrupt."""


class RayTasks:
    """Runs each trial as a Ray task of one core; the data goes to every node once.

    A task whose worker or node dies is run again by Ray, ``RETRIES`` times; then the trial is a
    crashed one. Nothing is told of a trial before it has finished. This process alone writes
    records. Trials keep their checkpoints where the results folder is seen from the node that they
    run on, as on a shared file system; elsewhere they begin anew when they are run again.

    Args:
        workers: how many trials run at once; as many as there are cores unless given.
        address: the cluster, ``auto`` for the one that this machine belongs to; one is started on
            this machine unless given.
        trial_timeout: the most seconds that a trial may take.

    Raises:
        UsageError: Ray is not installed, or there is no such cluster.
    """

    def __init__(
        self, workers: int | None, address: str | None, trial_timeout: float | None
    ) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
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
                    log_to_driver=False,  # stdout belongs to the summary
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
                kind = ResultsFolderError if error.exit_code == 3 else UnavailableError
                raise kind(str(getattr(error, "cause", error))) from None
            except ray.exceptions.RayError as error:
                reason = str(error).strip().partition("\n")[0]
                often = f"its Ray worker was lost, {RETRIES + 1} times in a row: {reason}"
                event = Finished(crashed(study, trial, often, str(error)), 0.0)
            on_event(event)

    def close(self) -> None:
        """Leave the cluster, or end the one that was started; what still runs is ended."""
        if self._ours:
            self._ray.shutdown()


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep what this process does at SIGTERM: Ray would put its own in place."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _as_arrays(study: Study, data_folder: Path) -> dict[str, Any]:
    """Return the study's data as NumPy arrays, which processes of one node share."""
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
    """Return the outcome of one trial: what runs on a node of the cluster."""
    sys.path.extend(path for path in import_paths if path not in sys.path)
    with contextlib.suppress(OSError):  # another node may have no such folder
        os.chdir(import_paths[0])  # a user's files are named from there
    configure_malloc()
    import numpy as np
    import torch

    from actbench.data.images import ImageData
    from actbench.training.trial import finish

    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # shared arrays cannot be written to, and are not
        tensors: dict[str, Any] = {
            name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
            for name, value in arrays.items()
        }
    if checkpoints is not None and not checkpoints.is_dir():
        checkpoints = None
    begin = time.perf_counter()
    try:
        with _at_most(timeout):
            data = ImageData(**tensors)
            return finish(run_one(study, trial, data, lambda _: None, checkpoints))
    except _TooLong:
        reason = f"it took longer than the limit of {timeout:g} s"
        return Finished(crashed(study, trial, reason), time.perf_counter() - begin)


class _TooLong(BaseException):
    """A trial's time is over."""


@contextlib.contextmanager
def _at_most(seconds: float | None) -> Iterator[None]:
    """Raise ``_TooLong`` in the block after so many seconds; end a process that does not heed it.

    Ray runs a task in its process's main thread, where signals arrive.
    """
    if seconds is None:
        yield
        return

    def end(*_: object) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    faulthandler.dump_traceback_later(seconds + SECONDS_TO_GIVE_UP, exit=True)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)
