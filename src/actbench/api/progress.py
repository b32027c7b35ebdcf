"""Progress on stderr: a live display on a terminal, one line in a notebook, else plain lines."""

from __future__ import annotations

import html
import importlib
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from actbench.execution.events import Finished, Planned, Retried, Stage
from actbench.report.formatting import duration
from actbench.report.printable import printable, shortened
from actbench.training.events import Measuring, Note, Progress, Updated

if TYPE_CHECKING:
    from actbench.execution.events import Event
    from actbench.study.study import Trial

# Live lines are at most this wide: where a terminal becomes narrower, wider ones would wrap, and
# the display could not erase what it wrote.
LIVE_WIDTH = 40
# lines of running trials
LIVE_TRIALS = 8
# seconds without a line, where there is no live display, after which one says what is done now
SILENCE = 60.0


class ProgressDisplay:
    """Shows what the run does: a stage such as reading images, or its trials and the time left.

    In a notebook it is one line, which each event changes; only notes and failed trials are printed
    above it. Where there is neither a terminal nor a notebook, a line says what is done now when
    nothing was printed for ``SILENCE`` seconds.
    """

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet, highlight=False)
        self._total, self._done, self._verbose = 0, 0, verbose
        self._running: dict[Trial, Progress | Measuring] = {}
        self._stage: Stage | None = Stage("starting")
        self._trained: set[Trial] = set()  # in this run
        self._begin = self._timed = time.monotonic()
        self._scored = "test"  # images
        self._untimed = 0.0  # in trials: what was done when the first steps were over
        self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=4)
        self._line = None if quiet else _notebook_line()
        self._printed, self._ended = time.monotonic(), threading.Event()

    def __enter__(self) -> Self:
        if self._line is None and self._console.is_terminal:
            self._live.start()
        elif self._line is None and not self._console.quiet:
            threading.Thread(target=self._break_silence, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._stage = None  # what is shown last stays
        self._live.stop()
        if self._line is not None and self._total:
            self._line.show(self._fraction, self._state())

    def _break_silence(self) -> None:
        """Print what the run does now whenever nothing was printed for ``SILENCE`` seconds."""
        while not self._ended.wait(max(0.0, self._printed + SILENCE - time.monotonic())):
            if time.monotonic() >= self._printed + SILENCE:
                self._print(", ".join([self._state(), *map(_progress_line, self._now())]))

    def _print(self, text: str) -> None:
        """Print a line without interpreting markup or control characters in it."""
        self._printed = time.monotonic()
        if self._line is not None:
            print(printable(text))  # noqa: T201 - plain text of the cell
        else:
            # on a terminal, lines break between words
            self._console.print(Text(printable(text)), soft_wrap=not self._console.is_terminal)

    def __call__(self, event: Event) -> None:
        """Show an event of the run, unless user code closed stderr."""
        if getattr(sys.stderr, "closed", False):
            return
        if isinstance(event, Note):
            self._print(event.text)
            return
        self._stage = event if isinstance(event, Stage) else None
        if isinstance(event, Planned):
            self._total, self._done, self._untimed = event.trials, 0, 0.0
            self._begin = self._timed = time.monotonic()
            held_out = event.study is None or event.study.validation_images
            self._scored = "validation" if held_out else "test"
        elif isinstance(event, Finished):
            self._finish(event)
        elif isinstance(event, Retried):
            self._running.pop(event.trial, None)
            self._print(f"{event.trial}: {event.reason}; retrying")
        elif not isinstance(event, (Stage, Updated)):
            if not self._done and event.trial not in self._running:
                self._timed = self._timed if self._running else time.monotonic()
                self._untimed += self._share(event)
            self._running[event.trial] = event
            if not isinstance(event, Measuring):
                self._trained.add(event.trial)
            if self._verbose:
                self._print(_progress_line(event))
        if self._line is not None:
            self._line.show(self._fraction, self._state())

    def _finish(self, event: Finished) -> None:
        self._done += 1
        record = event.record
        self._running.pop(record.trial, None)
        outcome = f"{event.status}: {event.reason}" if event.reason else event.status
        if record.clean is not None and record.clean.accuracy is not None and not event.reason:
            outcome = f"{self._scored} accuracy {record.clean.accuracy:.2%}"
            if self._line is not None:
                return
        self._print(
            f"[{self._done}/{self._total}] {record.activation}, seed {record.seed}: "
            f"{outcome} ({duration(event.seconds)})"
        )

    def _share(self, event: Progress | Measuring) -> float:
        """Return the share of a trial that is done; measuring counts as a tenth of it."""
        if isinstance(event, Measuring):
            share = (event.number - 1) / event.count
            return 0.9 + 0.1 * share if event.trial in self._trained else share
        return 0.9 * (event.epoch - 1 + event.step / event.steps) / event.epochs

    def _now(self) -> list[Progress | Measuring]:
        """Return where each running trial is; none are shown beside a stage."""
        return [] if self._stage is not None else list(self._running.values())

    @property
    def _fraction(self) -> float:
        """The finished part of the stage or of the trials, in [0, 1]."""
        if self._stage is not None:
            return self._stage.done / self._stage.count if self._stage.count else 0.0
        share = self._done + sum(map(self._share, self._running.values()))
        return min(1.0, share / self._total) if self._total else 0.0

    def _state(self) -> str:
        """Return the stage, or the number of finished trials and the time left or taken."""
        if self._stage is not None:
            counted = f" {self._stage.done:,}/{self._stage.count:,}" if self._stage.count else ""
            return f"{self._stage.what}{counted}"
        now, counted = time.monotonic(), f"{self._done}/{self._total} trials"
        if self._done >= self._total:
            return f"{counted}, {duration(now - self._begin)}"
        # the start of the workers and their first steps say nothing about the speed
        gained = self._fraction - self._untimed / self._total
        if gained <= 0:
            return counted
        left = (now - self._timed) * (1 - self._fraction) / gained
        return f"{counted}, about {duration(left)} left"

    def _render(self) -> Group:
        """Return the lines of the live display, none wider than ``LIVE_WIDTH``."""
        width = min(LIVE_WIDTH, self._console.width)
        running = self._now()
        lines = [_live_line(progress, width) for progress in running[:LIVE_TRIALS]]
        if len(running) > LIVE_TRIALS:
            lines.append(f"  and {len(running) - LIVE_TRIALS} more")
        if self._total or self._stage is not None:
            state = self._state()
            filled = round(self._fraction * (room := max(0, width - len(state) - 1)))
            done, rest = "━─" if self._console.encoding.startswith("utf") else "=-"
            lines.append(f"{done * filled}{rest * (room - filled)} {state}".strip())
        return Group(*(Text(line[:width], no_wrap=True) for line in lines))


class _NotebookLine:
    """A line of a notebook cell that can be changed."""

    def __init__(self, display: Any) -> None:
        self._display, self._shown = display, 0.0
        self._handle: Any = None

    def show(self, fraction: float, state: str) -> None:
        """Show a bar and a text, at most four times a second and at the end."""
        now = time.monotonic()
        if self._handle is not None and fraction < 1 and now < self._shown + 0.25:
            return
        self._shown = now
        bar = f'<progress value="{fraction:.4f}" max="1"></progress> {html.escape(state)}'
        content = {"text/plain": state, "text/html": bar}
        if self._handle is None:
            self._handle = self._display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)


def _notebook_line() -> _NotebookLine | None:
    """Return the line of a notebook cell; ``None`` outside of notebooks."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    return _NotebookLine(importlib.import_module("IPython.display").display)


def _live_line(progress: Progress | Measuring, width: int) -> str:
    """Return where a running trial is in one line; its name and its state are shortened to fit."""
    name, room = printable(str(progress.trial)), max(2, width - 4)
    if isinstance(progress, Measuring):
        state = f"{progress.number}/{progress.count}  {progress.what}"
        longest = max(room // 2, room - len(name))
        state = state if len(state) <= longest else f"{state[: longest - 1]}…"
    elif progress.test_accuracy is not None:
        state = f"{progress.epoch}/{progress.epochs}  {progress.test_accuracy:.1%}"
    else:
        state = f"{progress.epoch}/{progress.epochs}  {progress.loss:.3f}"
    return f"  {shortened(name, max(1, room - len(state)))}  {state}"


def _progress_line(progress: Progress | Measuring) -> str:
    if isinstance(progress, Measuring):
        where = f"{progress.number}/{progress.count}"
        return f"{progress.trial}: measurement {where}, {progress.what}"
    line = f"{progress.trial}: epoch {progress.epoch}/{progress.epochs}"
    if progress.test_accuracy is None:
        return f"{line}, step {progress.step}/{progress.steps}, loss {progress.loss:.3f}"
    on = progress.scored
    return f"{line}, {on} loss {progress.test_loss:.3f}, {on} accuracy {progress.test_accuracy:.2%}"
