"""Output to the terminal in whatever encoding it has."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

from actbench.report.printable import printable

_PLAIN = str.maketrans(
    {"−": "-", "–": "-", "—": "-", "±": "+-", "×": "x", "≤": "<=", "…": "...", "⚠": "!"}
)


class _StderrOrNothing(io.FileIO):
    """stderr; what it cannot take, because it is full or closed, is dropped and ends no run."""

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError:
            return len(content)


class _NeverClosed(io.TextIOWrapper):
    """A text stream that user code cannot close."""

    def close(self) -> None:
        self.flush()


def configure_output() -> None:
    """Replace characters that the output's encoding lacks, and drop what stderr cannot take.

    stderr may be closed, full, or a pipe without a reader.
    """
    buffer = getattr(sys.stderr, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # with PYTHONUNBUFFERED there is no buffer
    if sys.stderr is None or isinstance(raw, io.FileIO):
        encoding = getattr(sys.stderr, "encoding", "utf-8")
        sys.stderr = _NeverClosed(
            io.BufferedWriter(_StderrOrNothing(2, "w", closefd=False)),
            encoding,
            line_buffering=True,
        )

    def plain(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeEncodeError)  # noqa: S101 - these streams only encode
        lacking = error.object[error.start : error.end].translate(_PLAIN)
        return lacking.encode("ascii", "replace").decode("ascii"), error.end

    codecs.register_error("actbench", plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="actbench")


def open_closed_streams() -> None:
    """Open standard streams that the caller closed as the null device.

    Otherwise the next opened files would get their numbers, and output would be written into them.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDONLY if mode == "r" else os.O_WRONLY)
            if opened != number:  # a lower number was free too
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)  # worker processes inherit them
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def reopen_stdout() -> None:
    """Open stdout again if user code closed it but not its descriptor."""
    if sys.stdout is not None and sys.stdout.closed:
        encoding = getattr(sys.stdout, "encoding", "utf-8")
        sys.stdout = open(1, "w", encoding=encoding, errors="actbench", closefd=False)  # noqa: SIM115


def show(text: str = "", *, newline: bool = True) -> None:
    """Print a text to stdout in the encoding of stdout, also if that is ASCII."""
    click.echo(text, file=sys.stdout, nl=newline)


def log(message: str) -> None:
    """Print one line to stderr, prefixed with the command's name."""
    click.echo(f"actbench: {' '.join(printable(message).split())}", file=sys.stderr)


def print_error(message: str) -> None:
    """Print an error as one line to stderr, shortened in the middle if it is very long.

    A word keeps its first and last 100 characters, the line its first and last 1000.
    """
    words = " ".join(_cut(word, 100) for word in message.split())
    log(_cut(words, 1000))


def _cut(text: str, ends: int) -> str:
    return text if len(text) <= 2 * ends + 3 else f"{text[:ends]}...{text[-ends:]}"


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Redirect what user code prints to stderr; stdout is open afterwards."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        reopen_stdout()
