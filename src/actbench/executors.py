"""Run many trials: in this process, or in worker processes of one thread each."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Protocol

from actbench.errors import ActbenchError
from actbench.record import Progress, TrialRecord
from actbench.study import trial_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.context import SpawnProcess
    from pathlib import Path

    from actbench.study import Study, Trial


@dataclass(frozen=True)
class Finished:
    """A trial's record and the seconds that it took."""

    record: TrialRecord
    seconds: float


Event = Progress | Finished

WORKER_NAME = "actbench worker"


class Executor(Protocol):
    """Runs trials and tells what happens, in the order in which it happens."""

    def run(
        self,
        study: Study,
        trials: Sequence[Trial],
        data_folder: Path,
        tell: Callable[[Event], None],
    ) -> None:
        """Run all trials; ``tell`` is called in this process alone."""

    def close(self) -> None:
        """End what the executor started."""


def default_workers() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no affinity
        return os.cpu_count() or 1


def _run_one(study: Study, trial: Trial, data: Any, report: Callable[[Progress], None]) -> Finished:
    """Return the outcome of one trial; an exception in it is a record of its own."""
    from actbench.trial import run_trial

    begin = time.perf_counter()
    try:
        record = run_trial(study, trial, data, report)
    except Exception as error:  # whatever a user's own code raises ends this trial alone
        record = crashed(study, trial, f"{type(error).__name__}: {error}", traceback.format_exc())
    return Finished(record, time.perf_counter() - begin)


def crashed(study: Study, trial: Trial, reason: str, trace: str = "") -> TrialRecord:
    """Return the record of a trial that could not be finished."""
    return TrialRecord(
        trial_id=trial_id(study, trial),
        activation=trial.activation,
        seed=trial.seed,
        status="crashed",
        reason=" ".join(reason.split())[:300],
        trace=trace,
    )


class InProcess:
    """Runs trials one after the other in this process: for debuggers and notebooks."""

    def run(
        self,
        study: Study,
        trials: Sequence[Trial],
        data_folder: Path,
        tell: Callable[[Event], None],
    ) -> None:
        """Run all trials with one computing thread, and give the threads back after."""
        import torch

        from actbench.data import study_images

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            data = study_images(data_folder, study)
            for trial in trials:
                tell(_run_one(study, trial, data, tell))
        finally:
            torch.set_num_threads(threads)

    def close(self) -> None:
        """Do nothing: there is no process to end."""


class LocalWorkers:
    """Runs trials in spawned processes of one computing thread each, handed out as they come free.

    The processes start at once, so that they load their libraries while the caller prepares.
    """

    def __init__(self, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = [_Worker(context) for _ in range(count)]

    def run(
        self,
        study: Study,
        trials: Sequence[Trial],
        data_folder: Path,
        tell: Callable[[Event], None],
    ) -> None:
        """Run all trials; a worker that dies makes its trial a crashed one.

        Raises:
            ActbenchError: a worker died before any could take a trial; nothing is stored.
        """
        pending = list(reversed(trials))
        busy: dict[Connection, _Worker] = {}
        while pending or busy:
            for worker in self._workers:
                if pending and worker.trial is None and worker.alive():
                    worker.start(study, pending.pop(), data_folder)
                    busy[worker.connection] = worker
            if not busy:
                self._raise_if_none_began(self._workers[0])
                for trial in reversed(pending):
                    tell(Finished(crashed(study, trial, "no worker process is left"), 0.0))
                return
            for ready in wait(list(busy)):
                worker = busy[ready]  # type: ignore[index]
                try:
                    event: Event | None = worker.connection.recv()
                except (EOFError, OSError):
                    self._raise_if_none_began(worker)
                    event = Finished(
                        crashed(study, worker.trial_now(), worker.how_it_ended()), worker.seconds()
                    )
                if event is None:
                    worker.began = True
                    continue
                if isinstance(event, Finished):
                    worker.trial = None
                    del busy[worker.connection]
                tell(event)

    def _raise_if_none_began(self, dead: _Worker) -> None:
        if not any(worker.began for worker in self._workers):
            raise ActbenchError(
                f"no trial could start: {dead.how_it_ended()} (see what it printed)"
            )

    def close(self) -> None:
        """End the processes now, whatever they do."""
        for worker in self._workers:
            worker.end()


class _Worker:
    """One worker process, seen from the process that hands out trials."""

    def __init__(self, context: Any) -> None:
        self.connection, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(
            target=_work, args=(theirs,), daemon=True, name=WORKER_NAME
        )
        with _ctrl_c_held_back():
            self.process.start()
        theirs.close()
        self.trial: Trial | None = None
        self.began = False
        self._begin = 0.0

    def alive(self) -> bool:
        return self.process.is_alive()

    def start(self, study: Study, trial: Trial, data_folder: Path) -> None:
        self.trial, self._begin = trial, time.perf_counter()
        # where it is dead already, the next read of its connection says so
        with contextlib.suppress(OSError):
            self.connection.send((study, trial, data_folder))

    def trial_now(self) -> Trial:
        assert self.trial is not None  # noqa: S101 - only busy workers are asked
        return self.trial

    def seconds(self) -> float:
        return time.perf_counter() - self._begin

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
            study, trial, data_folder = connection.recv()
            data = study_images(data_folder, study)
            connection.send(_run_one(study, trial, data, connection.send))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def keep_memory() -> None:
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
