"""What the command line says to a person, in whatever characters the terminal has."""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import Any

import click

from actbench.report.printable import printable

_PLAIN = str.maketrans(
    {"−": "-", "–": "-", "—": "-", "±": "+-", "×": "x", "≤": "<=", "…": "...", "⚠": "!"}
)


class _StderrOrNothing(io.FileIO):
    """stderr, or nothing where it is full or nobody reads it: a message must not end a run."""

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError:
            return len(content)


def configure_output() -> None:
    """Let neither a character that the output's encoding lacks nor stderr's state end the run.

    Such a character is replaced. What stderr cannot take, because it is closed, full or read by
    nobody, is dropped.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:  # closed: the next file to be opened would take its place
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    buffer = getattr(sys.stderr, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # with PYTHONUNBUFFERED there is no buffer
    if sys.stderr is None or isinstance(raw, io.FileIO):
        encoding = getattr(sys.stderr, "encoding", "utf-8")
        sys.stderr = io.TextIOWrapper(
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
    """Let standard input and output that the caller closed lead nowhere.

    The next files to be opened would otherwise take their numbers, and what is printed would be
    written into them.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDONLY if mode == "r" else os.O_WRONLY)
            if opened != number:  # a lower number was free too
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)  # worker processes have them too
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def show(text: str = "", *, newline: bool = True) -> None:
    """Print a text to stdout in its own encoding, which click by itself takes ASCII not to be."""
    click.echo(text, file=sys.stdout, nl=newline)


def say(message: str) -> None:
    """Print one line to stderr, under the command's name."""
    click.echo(f"actbench: {' '.join(printable(message).split())}", file=sys.stderr)


def print_error(message: str) -> None:
    """Print an error as one line to stderr; what an argument makes too long is cut in its middle.

    A word keeps its first and last 100 characters, the line its first and last 1000.
    """
    words = " ".join(_cut(word, 100) for word in message.split())
    say(_cut(words, 1000))


def _cut(text: str, ends: int) -> str:
    return text if len(text) <= 2 * ends + 3 else f"{text[:ends]}...{text[-ends:]}"
