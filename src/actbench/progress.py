"""Progress on stderr: a live display on a terminal, otherwise plain lines."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.text import Text

from actbench.execution.executors import Finished, Planned, Retried
from actbench.report.printable import printable
from actbench.training.events import Measuring, Note, Updated

if TYPE_CHECKING:
    from actbench.execution.executors import Event
    from actbench.study.study import Trial
    from actbench.training.events import Progress


def show_time(seconds: float) -> str:
    """Return a duration as text: ``48 s``, ``12 min``, ``3 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


class ProgressDisplay:
    """Shows the finished trials, what each running trial does now, and the time left."""

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet, highlight=False)
        self._total, self._done, self._verbose = 0, 0, verbose
        self._running: dict[Trial, Progress | Measuring] = {}
        self._trained: set[Trial] = set()  # in this run
        self._begin = time.monotonic()
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self._console,
        )
        self._task = self._bars.add_task("trials", total=0, count="", left="", visible=False)
        self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=4)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def _print(self, text: str) -> None:
        """Print a line without interpreting markup or control characters in it."""
        self._console.print(Text(printable(text)), soft_wrap=True)

    def __call__(self, event: Event) -> None:
        """Show an event of the run, unless user code closed stderr."""
        if getattr(sys.stderr, "closed", False):
            return
        if isinstance(event, Note):
            self._print(event.text)
            return
        if isinstance(event, Planned):
            self._total, self._done, self._begin = event.trials, 0, time.monotonic()
            self._bars.update(self._task, total=event.trials, visible=event.trials > 0)
        elif isinstance(event, Finished):
            self._finish(event)
        elif isinstance(event, Retried):
            self._running.pop(event.trial, None)
            self._print(f"{event.trial}: {event.reason}; retrying")
        elif not isinstance(event, Updated):
            self._running[event.trial] = event
            if not isinstance(event, Measuring):
                self._trained.add(event.trial)
            if self._verbose:
                self._print(_progress_line(event))
        fraction = self._done + sum(map(self._share, self._running.values()))
        elapsed = time.monotonic() - self._begin
        left = elapsed * (self._total - fraction) / fraction if fraction > 0 else 0.0
        self._bars.update(
            self._task,
            completed=fraction,
            count=f"{self._done}/{self._total}",
            left=f"about {show_time(left)} left" if fraction > 0 else "",
        )

    def _finish(self, event: Finished) -> None:
        self._done += 1
        record = event.record
        self._running.pop(record.trial, None)
        outcome = f"{event.status}: {event.reason}" if event.reason else event.status
        if record.clean is not None and record.clean.accuracy is not None and not event.reason:
            outcome = f"test accuracy {record.clean.accuracy:.2%}"
        self._print(
            f"[{self._done}/{self._total}] {record.activation}, seed {record.seed}: "
            f"{outcome} ({show_time(event.seconds)})"
        )

    def _share(self, event: Progress | Measuring) -> float:
        """Return the share of a trial that is done; measuring counts as a tenth of it."""
        if isinstance(event, Measuring):
            share = (event.number - 1) / event.count
            return 0.9 + 0.1 * share if event.trial in self._trained else share
        return 0.9 * (event.epoch - 1 + event.step / event.steps) / event.epochs

    def _render(self) -> Group:
        return Group(*(Text("  " + _progress_line(p)) for p in self._running.values()), self._bars)


def _progress_line(progress: Progress | Measuring) -> str:
    if isinstance(progress, Measuring):
        where = f"{progress.number}/{progress.count}"
        return f"{progress.trial}: measurement {where}, {progress.what}"
    line = f"{progress.trial}: epoch {progress.epoch}/{progress.epochs}"
    if progress.test_accuracy is None:
        return f"{line}, step {progress.step}/{progress.steps}, loss {progress.loss:.3f}"
    on = progress.scored
    return f"{line}, {on} loss {progress.test_loss:.3f}, {on} accuracy {progress.test_accuracy:.2%}"
