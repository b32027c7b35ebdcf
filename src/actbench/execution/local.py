"""Run trials in worker processes, replacing those that end or hang, or in this process."""

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
from typing import TYPE_CHECKING, Any

from actbench.errors import ActbenchError
from actbench.execution.events import Finished, Retried
from actbench.execution.executors import RETRIES, configure_malloc, given_up, run_here, timed_out
from actbench.execution.parent_death import end_with_parent
from actbench.store.stored_study import Work
from actbench.training.devices import compute_devices
from actbench.training.events import Updated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.context import SpawnProcess

    from actbench.execution.events import Event
    from actbench.store.record import TrialRecord
    from actbench.study.study import Study, Trial

WORKER_NAME = "actbench worker"


class InProcess:
    """Runs trials one after another in this process, for debuggers and notebooks."""

    def run(
        self,
        study: Study,
        works: Sequence[Work],
        data_folder: Path,
        on_event: Callable[[Event], None],
        folder: Path | None = None,
    ) -> None:
        """Run all trials with one thread and PyTorch's default settings, then restore both."""
        from actbench.execution.interleaved import InterleavedTrials, Resumed
        from actbench.models.global_state import settings_kept

        with settings_kept(fresh=True):
            interleaved = InterleavedTrials(compute_devices(study.device)[0], at_once=1)
            for work in works:
                interleaved.add(study, work, data_folder, on_event, folder)
            while interleaved.busy:
                for event in interleaved.advance():
                    if not isinstance(event, Resumed):
                        on_event(event)

    prepare = staticmethod(run_here)

    def close(self) -> None:
        """Do nothing; there is no process to end."""


class LocalWorkers:
    """Runs trials in spawned processes of one thread each; a free process gets the next trial.

    The processes start in the constructor, so that they load their libraries while the caller
    prepares the study. If one ends during a trial, a new one replaces it and the trial is retried,
    up to ``RETRIES`` times in a row; then it counts as crashed. A trial that takes longer than
    ``trial_timeout`` seconds is not retried, because it would hang again. The other trials of its
    process are retried. A retried trial resumes from its last checkpoint or measurement.

    Each process has its own pipe. With a shared queue, a process that is killed while it sends an
    event would block the events of the others.

    Args:
        devices: the device of each process (see ``devices.compute_devices``).
        at_once: how many trials each process runs concurrently.
        trial_timeout: the time limit of a trial in seconds.
    """

    def __init__(
        self, devices: Sequence[str], at_once: int = 1, trial_timeout: float | None = None
    ) -> None:
        self._at_once, self._timeout = at_once, trial_timeout
        self._workers = [_Worker(device, at_once, trial_timeout) for device in devices]
        self._any_started = False

    def run(
        self,
        study: Study,
        works: Sequence[Work],
        data_folder: Path,
        on_event: Callable[[Event], None],
        folder: Path | None = None,
    ) -> None:
        """Run all trials (see ``Executor.run``).

        Raises:
            ActbenchError: a worker ended before any trial could start; nothing is stored.
            ResultsFolderError: a checkpoint or weights cannot be written.
            UnavailableError: the data, or something else that all trials need, is gone.
        """
        pending = deque(works)
        deaths: Counter[Trial] = Counter()

        def after_death(work: Work, reason: str, seconds: float) -> Event:
            deaths[work.trial] += 1
            if deaths[work.trial] > RETRIES:
                reason = f"{reason}, {deaths[work.trial]} times in a row"
                return given_up(study, work, reason, seconds)
            pending.appendleft(work)
            return Retried(work.trial, reason)

        while pending or any(worker.works for worker in self._workers):
            while pending:
                number = min(range(len(self._workers)), key=lambda n: len(self._workers[n].works))
                if len(self._workers[number].works) == self._at_once:
                    break
                if not self._workers[number].process.is_alive():
                    self._replace(number)
                self._workers[number].start(study, pending.popleft(), data_folder, folder)
            for number in self._wait():
                worker = self._workers[number]
                seconds = worker.seconds()
                if self._timeout is not None and seconds > self._timeout:
                    self._replace(number)
                    on_event(timed_out(study, worker.current(), self._timeout, seconds))
                    pending.extendleft(reversed(worker.others()))
                    continue
                try:
                    message = worker.connection.recv()
                except (EOFError, OSError):
                    reason = worker.exit_reason()
                    if not self._any_started:
                        raise ActbenchError(
                            f"no trial could start: {reason} (see its output above)"
                        ) from None
                    self._replace(number)
                    pending.extendleft(reversed(worker.others()))
                    on_event(after_death(worker.current(), reason, seconds))
                    continue
                if isinstance(message, ActbenchError):
                    raise message
                if isinstance(message, tuple):
                    self._any_started = True
                    worker.set_current(*message)
                    continue
                if isinstance(message, Updated):
                    worker.update(message.record)
                    deaths[message.record.trial] = 0
                if isinstance(message, Finished):
                    del worker.works[message.record.trial]
                on_event(message)

    def prepare(self, tasks: Sequence[Callable[[], object]], on_done: Callable[[], None]) -> None:
        """Run tasks in the processes, or what is left here if one ends, as for want of memory."""
        if len(self._workers) == 1:
            run_here(tasks, on_done)
            return
        left, here = deque(tasks), deque[Any]()
        busy: dict[int, Callable[[], object]] = {}
        while left or busy:
            for number in [n for n in range(len(self._workers)) if n not in busy][: len(left)]:
                busy[number] = left.popleft()
                with contextlib.suppress(OSError):  # if it has ended, reading reports it
                    self._workers[number].connection.send(busy[number])
            ready = wait([self._workers[number].connection for number in busy])
            for number in [n for n in busy if self._workers[n].connection in ready]:
                task = busy.pop(number)
                try:
                    error = self._workers[number].connection.recv()
                except (EOFError, OSError):
                    self._replace(number)
                    here.extend([task, *left])
                    left.clear()
                    continue
                if error is not None:
                    raise error
                on_done()
        run_here(here, on_done)

    def _wait(self) -> list[int]:
        """Return the indices of workers that sent an event, ended, or exceeded the time limit."""
        busy = {w.connection: number for number, w in enumerate(self._workers) if w.works}
        if self._timeout is None:
            return [busy[ready] for ready in wait(list(busy))]  # type: ignore[index]
        left = {n: self._timeout - self._workers[n].seconds() for n in busy.values()}
        ready = wait(list(busy), timeout=max(0.0, min(left.values()) + 0.01))
        found = [busy[connection] for connection in ready]  # type: ignore[index]
        late = [number for number in left if self._workers[number].seconds() > self._timeout]
        return [*found, *(number for number in late if number not in found)]

    def _replace(self, number: int) -> None:
        self._workers[number].end()
        device = self._workers[number].device
        self._workers[number] = _Worker(device, self._at_once, self._timeout)

    def close(self) -> None:
        """Kill the worker processes."""
        for worker in self._workers:
            worker.end()


class _Worker:
    """One worker process, as the parent process sees it.

    Attributes:
        device: the device that it computes on.
        works: its unfinished trials, each with what is known of it.
    """

    def __init__(self, device: str, at_once: int, trial_timeout: float | None) -> None:
        self.device = device
        self.works: dict[Trial, Work] = {}
        self._current: Trial | None = None
        self._start = 0.0
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        arguments = (theirs, device, at_once, trial_timeout, str(Path.cwd()))
        self.process: SpawnProcess = context.Process(
            target=_work, args=arguments, daemon=True, name=WORKER_NAME
        )
        with _ctrl_c_blocked(), _main_script_hidden():
            self.process.start()
        theirs.close()

    def start(self, study: Study, work: Work, data_folder: Path, folder: Path | None) -> None:
        self.works[work.trial] = work
        # if the process has ended already, the next read of the connection reports it
        with contextlib.suppress(OSError):
            self.connection.send((study, work, data_folder, folder))

    def update(self, record: TrialRecord) -> None:
        """Note how far a trial is."""
        self.works[record.trial] = Work(record.trial, record)

    def set_current(self, trial: Trial, seconds: float) -> None:
        """Note that the process now computes a trial, which started ``seconds`` ago."""
        self._current, self._start = trial, time.perf_counter() - seconds

    def current(self) -> Work:
        """Return the trial that the process computes now."""
        if self._current in self.works:
            return self.works[self._current]
        return next(iter(self.works.values()))

    def others(self) -> list[Work]:
        """Return its unfinished trials other than the current one."""
        current = self.current().trial
        return [work for trial, work in self.works.items() if trial != current]

    def seconds(self) -> float:
        """Return the seconds since the current trial started; 0 before the first."""
        return time.perf_counter() - self._start if self._current in self.works else 0.0

    def exit_reason(self) -> str:
        self.process.join(5)
        code = self.process.exitcode
        if code is not None and code < 0:
            known = -code in list(signal.Signals)  # real-time signals have no names
            name = signal.Signals(-code).name if known else f"signal {-code}"
            return f"its worker process was ended by {name}"
        return f"its worker process ended with exit code {code}"

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


@contextlib.contextmanager
def _ctrl_c_blocked() -> Iterator[None]:
    """Block SIGINT, also in processes that start meanwhile; the parent ends these itself.

    Otherwise a process that is still loading its libraries would print a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # if it started later, it would unblock SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _main_script_hidden() -> Iterator[None]:
    """Keep processes that start meanwhile from importing the main script.

    A script without a main guard would run again, and a script on standard input has no file.
    """
    before = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = before


def _work(
    connection: Connection, device: str, at_once: int, trial_timeout: float | None, folder: str
) -> None:
    """Run trials until the parent closes the connection: the main function of a worker process."""
    end_with_parent()
    os.chdir(folder)  # paths of user code are relative to it
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    os.dup2(2, 1)  # only the summary goes to stdout, not the output of user code
    configure_malloc()
    from actbench.execution.interleaved import InterleavedTrials, Resumed

    interleaved = InterleavedTrials(device, at_once, trial_timeout)
    try:
        while True:
            while not interleaved.busy or connection.poll():
                message = connection.recv()
                if callable(message):
                    connection.send(_error_of(message))
                else:
                    study, work, data_folder, results = message
                    interleaved.add(study, work, data_folder, connection.send, results)
            try:
                for event in interleaved.advance():
                    if isinstance(event, Resumed):
                        connection.send((event.trial, event.seconds))
                    else:
                        connection.send(event)
            except ActbenchError as error:
                connection.send(error)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _error_of(task: Callable[[], object]) -> ActbenchError | None:
    """Run a task and return the error that it raised; None if it raised none."""
    try:
        task()
    except ActbenchError as error:
        return error
    return None
