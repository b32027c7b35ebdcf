"""Run trials in worker processes, where one that ends or hangs is replaced, or in this one."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter, deque
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from actbench.errors import ActbenchError
from actbench.execution.executors import (
    RETRIES,
    Finished,
    Retried,
    configure_malloc,
    crashed,
    timed_out,
)
from actbench.execution.parent_death import end_with_parent
from actbench.study.study import Trial
from actbench.training.devices import compute_devices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.context import SpawnProcess

    from actbench.execution.executors import Event
    from actbench.study.study import Study

WORKER_NAME = "actbench worker"


class InProcess:
    """Runs trials one after the other in this process: for debuggers and notebooks."""

    def run(
        self,
        study: Study,
        trials: Sequence[Trial],
        data_folder: Path,
        on_event: Callable[[Event], None],
        checkpoints: Path | None = None,
    ) -> None:
        """Run all trials with one computing thread and PyTorch's own settings; restore them."""
        from actbench.execution.interleaved import InterleavedTrials, Resumed
        from actbench.models.global_state import settings_kept

        with settings_kept(fresh=True):
            lanes = InterleavedTrials(compute_devices(study.device)[0], at_once=1)
            for trial in trials:
                lanes.add(study, trial, data_folder, on_event, checkpoints)
            while lanes.busy:
                for event in lanes.advance():
                    if not isinstance(event, Resumed):
                        on_event(event)

    def close(self) -> None:
        """Do nothing: there is no process to end."""


class LocalWorkers:
    """Runs trials in spawned processes of one computing thread each, handed out as they come free.

    The processes start at once, so that they load their libraries while the caller prepares. Where
    one ends under a trial, a new one takes its place and the trial is run again, up to ``RETRIES``
    times; then it is a crashed one. So is a trial that takes longer than ``trial_timeout`` seconds,
    at once: what hangs would hang again. Others that were under way in its process are run again.

    Args:
        computing_on: the device of each process (see ``devices.compute_devices``).
        at_once: how many trials each has under way.
        trial_timeout: the most seconds that a trial may take.
    """

    def __init__(
        self, computing_on: Sequence[str], at_once: int = 1, trial_timeout: float | None = None
    ) -> None:
        self._at_once, self._timeout = at_once, trial_timeout
        self._workers = [_Worker(place, at_once, trial_timeout) for place in computing_on]
        self._any_began = False

    def run(
        self,
        study: Study,
        trials: Sequence[Trial],
        data_folder: Path,
        on_event: Callable[[Event], None],
        checkpoints: Path | None = None,
    ) -> None:
        """Run all trials (see ``Executor.run``).

        Raises:
            ActbenchError: a worker ended before any could take a trial; nothing is stored.
            ResultsFolderError: a checkpoint cannot be written.
            UnavailableError: the data or what else all trials need is gone.
        """
        pending = deque(trials)
        deaths: Counter[Trial] = Counter()

        def after_death(trial: Trial, reason: str, seconds: float) -> Event:
            deaths[trial] += 1
            if deaths[trial] > RETRIES:
                often = f"{reason}, {deaths[trial]} times in a row"
                return Finished(crashed(study, trial, often), seconds)
            pending.appendleft(trial)
            return Retried(trial, reason)

        while pending or any(worker.trials for worker in self._workers):
            while pending:
                number = min(range(len(self._workers)), key=lambda n: len(self._workers[n].trials))
                if len(self._workers[number].trials) == self._at_once:
                    break
                if not self._workers[number].process.is_alive():
                    self._replace(number)
                self._workers[number].start(study, pending.popleft(), data_folder, checkpoints)
            for number in self._wait():
                worker = self._workers[number]
                seconds = worker.seconds()
                if self._timeout is not None and seconds > self._timeout:
                    self._replace(number)
                    on_event(timed_out(study, worker.in_turn(), self._timeout, seconds))
                    pending.extendleft(reversed(worker.others()))
                    continue
                try:
                    message = worker.connection.recv()
                except (EOFError, OSError):
                    reason = worker.how_it_ended()
                    if not self._any_began:
                        raise ActbenchError(
                            f"no trial could start: {reason} (see what it printed)"
                        ) from None
                    self._replace(number)
                    pending.extendleft(reversed(worker.others()))
                    on_event(after_death(worker.in_turn(), reason, seconds))
                    continue
                if isinstance(message, ActbenchError):
                    raise message
                if isinstance(message, tuple):
                    self._any_began = True
                    worker.turn_of(*message)
                    continue
                if isinstance(message, Finished):
                    worker.trials.remove(Trial(message.record.activation, message.record.seed))
                on_event(message)

    def _wait(self) -> list[int]:
        """Return the numbers of the busy workers that have something to say, or had too long."""
        busy = {w.connection: number for number, w in enumerate(self._workers) if w.trials}
        if self._timeout is None:
            return [busy[ready] for ready in wait(list(busy))]  # type: ignore[index]
        left = {n: self._timeout - self._workers[n].seconds() for n in busy.values()}
        ready = wait(list(busy), timeout=max(0.0, min(left.values()) + 0.01))
        said = [busy[connection] for connection in ready]  # type: ignore[index]
        late = [number for number in left if self._workers[number].seconds() > self._timeout]
        return [*said, *(number for number in late if number not in said)]

    def _replace(self, number: int) -> None:
        self._workers[number].end()
        place = self._workers[number].place
        self._workers[number] = _Worker(place, self._at_once, self._timeout)

    def close(self) -> None:
        """End the processes now, whatever they do."""
        for worker in self._workers:
            worker.end()


class _Worker:
    """One worker process, seen from the process that hands out trials.

    Attributes:
        place: what it computes on.
        trials: those that it was handed and has not finished.
    """

    def __init__(self, place: str, at_once: int, trial_timeout: float | None) -> None:
        self.place = place
        self.trials: list[Trial] = []
        self._turn: Trial | None = None
        self._begin = 0.0
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        arguments = (theirs, place, at_once, trial_timeout, str(Path.cwd()))
        self.process: SpawnProcess = context.Process(
            target=_work, args=arguments, daemon=True, name=WORKER_NAME
        )
        with _ctrl_c_held_back(), _script_left_out():
            self.process.start()
        theirs.close()

    def start(
        self, study: Study, trial: Trial, data_folder: Path, checkpoints: Path | None
    ) -> None:
        self.trials.append(trial)
        # where it is dead already, the next read of its connection says so
        with contextlib.suppress(OSError):
            self.connection.send((study, trial, data_folder, checkpoints))

    def turn_of(self, trial: Trial, seconds: float) -> None:
        """Note that a trial takes its turn, which began so many seconds ago."""
        self._turn, self._begin = trial, time.perf_counter() - seconds

    def in_turn(self) -> Trial:
        """Return the trial whose doing it is, whatever happens now."""
        return self._turn if self._turn in self.trials else self.trials[0]

    def others(self) -> list[Trial]:
        """Return the trials that have no part in it."""
        return [trial for trial in self.trials if trial != self.in_turn()]

    def seconds(self) -> float:
        """Return for how long the trial in turn has run; 0 before any has."""
        return time.perf_counter() - self._begin if self._turn in self.trials else 0.0

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


@contextlib.contextmanager
def _script_left_out() -> Iterator[None]:
    """Let a process start without the script that runs here, of which it needs nothing.

    It would import that anew: what a script without a main guard does would begin again, and one
    on standard input is no file.
    """
    before = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = before


def _work(
    connection: Connection, place: str, at_once: int, trial_timeout: float | None, folder: str
) -> None:
    """Run trials until the other side closes: the life of a worker process."""
    end_with_parent()
    os.chdir(folder)  # a user's files are named from here
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    os.dup2(2, 1)  # stdout belongs to the summary, whatever a user's own code prints
    configure_malloc()
    from actbench.execution.interleaved import InterleavedTrials, Resumed

    lanes = InterleavedTrials(place, at_once, trial_timeout)
    try:
        while True:
            while not lanes.busy or connection.poll():
                study, trial, data_folder, checkpoints = connection.recv()
                lanes.add(study, trial, data_folder, connection.send, checkpoints)
            try:
                for event in lanes.advance():
                    if isinstance(event, Resumed):
                        connection.send((event.trial, event.seconds))
                    else:
                        connection.send(event)
            except ActbenchError as error:
                connection.send(error)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
