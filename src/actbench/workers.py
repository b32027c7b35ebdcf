"""Run trials in worker processes of one thread each; one that ends or hangs is replaced."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections import Counter
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

from actbench.errors import ActbenchError, ResultsFolderError
from actbench.executors import RETRIES, Finished, Retried, crashed, keep_memory, run_one

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.context import SpawnProcess
    from pathlib import Path

    from actbench.executors import Event
    from actbench.study import Study, Trial

WORKER_NAME = "actbench worker"


class LocalWorkers:
    """Runs trials in spawned processes of one computing thread each, handed out as they come free.

    The processes start at once, so that they load their libraries while the caller prepares. Where
    one ends under a trial, a new one takes its place and the trial is run again, up to ``RETRIES``
    times; then it is a crashed one. So is a trial that takes longer than ``trial_timeout`` seconds,
    at once: what hangs would hang again.
    """

    def __init__(self, count: int, trial_timeout: float | None = None) -> None:
        self._timeout = trial_timeout
        self._workers = [_Worker() for _ in range(count)]
        self._any_began = False

    def run(
        self,
        study: Study,
        trials: Sequence[Trial],
        data_folder: Path,
        tell: Callable[[Event], None],
        checkpoints: Path | None = None,
    ) -> None:
        """Run all trials (see ``Executor.run``).

        Raises:
            ActbenchError: a worker ended before any could take a trial; nothing is stored.
            ResultsFolderError: a checkpoint cannot be written.
        """
        pending = list(reversed(trials))
        deaths: Counter[Trial] = Counter()

        def after_death(trial: Trial, reason: str, seconds: float) -> Event:
            deaths[trial] += 1
            if deaths[trial] > RETRIES:
                often = f"{reason}, {deaths[trial]} times in a row"
                return Finished(crashed(study, trial, often), seconds)
            pending.append(trial)
            return Retried(trial, reason)

        while pending or any(worker.trial for worker in self._workers):
            for place, free in enumerate(self._workers):
                if pending and free.trial is None:
                    worker = free if free.process.is_alive() else self._replace(place)
                    worker.start(study, pending.pop(), data_folder, checkpoints)
            for place in self._wait():
                worker = self._workers[place]
                trial, seconds = worker.trial_now(), worker.seconds()
                if self._timeout is not None and seconds > self._timeout:
                    self._replace(place)
                    reason = f"it took longer than the limit of {self._timeout:g} s"
                    tell(Finished(crashed(study, trial, reason), seconds))
                    continue
                try:
                    message = worker.connection.recv()
                except (EOFError, OSError):
                    reason = worker.how_it_ended()
                    if not self._any_began:
                        raise ActbenchError(
                            f"no trial could start: {reason} (see what it printed)"
                        ) from None
                    self._replace(place)
                    tell(after_death(trial, reason, seconds))
                    continue
                if isinstance(message, ResultsFolderError):
                    raise message
                if message is None:
                    self._any_began = True
                    worker.begin()
                    continue
                if isinstance(message, Finished):
                    worker.trial = None
                tell(message)

    def _wait(self) -> list[int]:
        """Return the places of the busy workers that have something to say, or had too long."""
        busy = {w.connection: place for place, w in enumerate(self._workers) if w.trial}
        if self._timeout is None:
            return [busy[ready] for ready in wait(list(busy))]  # type: ignore[index]
        left = {place: self._timeout - self._workers[place].seconds() for place in busy.values()}
        ready = wait(list(busy), timeout=max(0.0, min(left.values()) + 0.01))
        said = [busy[connection] for connection in ready]  # type: ignore[index]
        late = [place for place in left if self._workers[place].seconds() > self._timeout]
        return [*said, *(place for place in late if place not in said)]

    def _replace(self, place: int) -> _Worker:
        self._workers[place].end()
        self._workers[place] = _Worker()
        return self._workers[place]

    def close(self) -> None:
        """End the processes now, whatever they do."""
        for worker in self._workers:
            worker.end()


class _Worker:
    """One worker process, seen from the process that hands out trials."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(
            target=_work, args=(theirs,), daemon=True, name=WORKER_NAME
        )
        with _ctrl_c_held_back():
            self.process.start()
        theirs.close()
        self.trial: Trial | None = None
        self._up = False
        self._begin = 0.0

    def start(
        self, study: Study, trial: Trial, data_folder: Path, checkpoints: Path | None
    ) -> None:
        self.trial, self._begin = trial, time.perf_counter()
        # where it is dead already, the next read of its connection says so
        with contextlib.suppress(OSError):
            self.connection.send((study, trial, data_folder, checkpoints))

    def begin(self) -> None:
        """Note that the process is up: a trial that it was handed before begins now."""
        self._up, self._begin = True, time.perf_counter()

    def trial_now(self) -> Trial:
        assert self.trial is not None  # noqa: S101 - only busy workers are asked
        return self.trial

    def seconds(self) -> float:
        """Return for how long its trial has run; 0 while the process loads its libraries."""
        return time.perf_counter() - self._begin if self._up else 0.0

    def how_it_ended(self) -> str:
        self.process.join(5)
        code = self.process.exitcode
        if code is not None and code < 0:
            return f"its worker process was ended by {signal.Signals(-code).name}"
        return f"its worker process ended with exit code {code}"

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


@contextlib.contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """Let Ctrl-C wait: a process that starts meanwhile never gets it, the parent ends it instead.

    Otherwise one that is still loading its libraries would print where it was.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # where it starts with the first process, it lets Ctrl-C in
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(connection: Connection) -> None:
    """Run trials until the other side closes: the life of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    os.dup2(2, 1)  # stdout belongs to the summary, whatever a user's own code prints
    keep_memory()
    import torch

    from actbench.data import study_images

    torch.set_num_threads(1)
    try:
        connection.send(None)  # up and running: what ends this process now is the trial's doing
        while True:
            study, trial, data_folder, checkpoints = connection.recv()
            data = study_images(data_folder, study)
            try:
                connection.send(run_one(study, trial, data, connection.send, checkpoints))
            except ResultsFolderError as error:
                connection.send(error)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
