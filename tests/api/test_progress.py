"""Progress: narrow lines on a terminal, one line in a notebook, plain lines elsewhere."""

from __future__ import annotations

import io
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from actbench.api import progress
from actbench.api.progress import LIVE_TRIALS, LIVE_WIDTH, ProgressDisplay
from actbench.execution.events import Finished, Planned, Stage
from actbench.report.formatting import duration
from actbench.study.study import Study, Trial
from actbench.training.events import Measuring, Note, Progress
from helpers.stored import stored_form
from helpers.synthetic import synthetic_records

LONG = "my_package.my_module:MyActivation:alpha=0.5"
STUDY = Study(activations=("relu", LONG), seeds=10, epochs=4, corruptions=())


def end_event(status: str = "ok") -> Finished:
    failed = {} if status == "ok" else {("relu", 0): status}
    record = next(iter(synthetic_records(STUDY, failed=failed).values()))
    return Finished(stored_form(record), 12.0, status, record.reason)


def rendered(display: ProgressDisplay, width: int) -> list[str]:
    console = Console(width=width, file=sys.stdout)
    with console.capture() as capture:
        console.print(display._render())
    return capture.get().splitlines()


@pytest.mark.parametrize("width", [200, 80, 40, 30])
def test_live_lines_stay_narrow_so_that_no_resize_wraps_them(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    display = ProgressDisplay()
    display(Planned(20))
    for trial in STUDY.trials():
        display(Progress(trial, 2, 4, 17, 100, 1.234))
    lines = rendered(display, width)
    assert max(map(len, lines)) <= min(width, LIVE_WIDTH)
    assert len(lines) == LIVE_TRIALS + 2
    assert "and 12 more" in lines[-2]
    assert "0/20 trials" in lines[-1]
    assert lines[0].split()[-2:] == ["2/4", "1.234"]


def test_a_measurement_has_the_room_that_its_trial_leaves() -> None:
    short = progress._live_line(Measuring(Trial("mish", 0), "fgsm at ε = 8/255", 5, 14), 40)
    assert short == "  mish, seed 0  5/14  fgsm at ε = 8/255"
    long = progress._live_line(Measuring(Trial(LONG, 0), "gaussian_noise at severity 5", 5, 14), 40)
    assert len(long) == 40
    assert long.endswith("seed 0  5/14  gaussian_no…")


def test_on_a_terminal_lines_break_between_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    display = ProgressDisplay()
    note = Note("20 trials in 2 processes: about 36 s")
    display(note)
    display._console = Console(file=sys.stdout, force_terminal=True, width=20, highlight=False)
    display(note)
    printed = capsys.readouterr()
    assert printed.err == f"{note.text}\n"
    assert printed.out.split() == note.text.split()
    assert max(map(len, printed.out.splitlines())) <= 20


def test_the_bar_grows_with_the_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    display = ProgressDisplay()
    display(Planned(2))
    (before,) = rendered(display, 80)
    display(end_event())
    (half,) = rendered(display, 80)
    display(end_event())
    (done,) = rendered(display, 80)
    counts = [line.count("━") or line.count("=") for line in (before, half, done)]
    assert counts[0] == 0 < counts[1] < counts[2]
    assert "2/2 trials" in done


class Shown:
    """What a notebook shows: each display, with its latest content."""

    def __init__(self) -> None:
        self.contents: list[dict[str, str]] = []

    def __call__(self, content: dict[str, str], *, raw: bool, display_id: bool) -> Any:
        """Show a new display and return its handle, as IPython's ``display`` does."""
        assert raw
        assert display_id
        self.contents.append(content)
        position = len(self.contents) - 1
        return SimpleNamespace(update=lambda new, raw: self.contents.__setitem__(position, new))


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Shown:
    shown = Shown()
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=shown))
    return shown


def test_in_a_notebook_progress_is_one_line(
    notebook: Shown, capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressDisplay() as display:
        display(Note("a note <b>"))
        display(Planned(2))
        display(Progress(Trial("relu", 0), 1, 4, 100, 100, 0.5))
        display(end_event())
        display(end_event("diverged"))
    (content,) = notebook.contents
    assert content["text/plain"].startswith("2/2 trials, ")
    assert 'value="1.0000"' in content["text/html"]
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.splitlines()[0] == "a note <b>"
    assert len(printed.out.splitlines()) == 2
    assert "diverged" in printed.out


def test_quiet_shows_nothing_in_a_notebook_either(
    notebook: Shown, capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressDisplay(quiet=True) as display:
        display(Planned(1))
        display(end_event())
    assert notebook.contents == []
    assert capsys.readouterr() == ("", "")


def test_elsewhere_every_trial_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressDisplay() as display:
        display(Planned(1))  # to choose learning rates, on images that are held out
        display(end_event())
        display(Planned(1, study=STUDY))
        display(end_event())
    tuning, trial = capsys.readouterr().err.splitlines()
    assert tuning.startswith("[1/1] relu, seed 0: validation accuracy ")
    assert trial.startswith("[1/1] relu, seed 0: test accuracy ")


def test_a_stage_is_shown_in_place_of_the_trials_until_one_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    display = ProgressDisplay()
    assert rendered(display, 80)[-1].split()[-1] == "starting"
    display(Stage("reading images", 3200, 6000))
    (line,) = rendered(display, 80)
    assert line.endswith(" reading images 3,200/6,000")
    assert len(line) == LIVE_WIDTH
    display(Planned(4))
    display(Stage("starting workers"))
    assert rendered(display, 80)[-1].endswith(" starting workers")
    display(Progress(Trial("relu", 0), 1, 4, 100, 100, 0.5))
    assert "0/4 trials" in rendered(display, 80)[-1]


def test_the_time_left_does_not_count_the_start_of_the_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    display = ProgressDisplay()
    display(Planned(4))
    first, second = Trial("relu", 0), Trial("leaky_relu:0.1", 0)
    now[0] = 100.0  # kernels were loaded, workers started
    display(Progress(first, 1, 10, 5, 5, 0.5))
    assert display._state() == "0/4 trials"
    now[0] = 100.1
    display(Progress(second, 1, 10, 5, 5, 0.5))
    assert display._state() == "0/4 trials"
    now[0] = 101.0
    display(Progress(first, 2, 10, 5, 5, 0.5))
    display(Progress(second, 2, 10, 5, 5, 0.5))
    # 2 × 0.09 trials took a second, 4 − 4 × 0.09 are left
    assert display._state() == f"0/4 trials, about {duration(3.64 / 0.18)} left"
    display(end_event())
    assert display._state() == f"1/4 trials, about {duration((3 - 0.18) / (1.18 - 0.18))} left"
    now[0] = 400.0
    for _ in range(3):
        display(end_event())
    assert display._state() == f"4/4 trials, {duration(400)}"


class Awaited(io.StringIO):
    """A stream that sets an event when a text was written to it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.found = text, threading.Event()

    def write(self, text: str) -> int:
        """Write a text."""
        if self.text in text:
            self.found.set()
        return super().write(text)


def test_without_a_terminal_a_long_wait_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Awaited("relu, seed 0: measurement 2/3, autoattack")
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "SILENCE", 0.01)
    with ProgressDisplay() as display:
        display(Planned(1))
        display(Measuring(Trial("relu", 0), "autoattack", 2, 3))
        assert stream.found.wait(60)
