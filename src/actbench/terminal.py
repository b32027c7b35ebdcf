"""What the command line says to a person, in whatever characters the terminal has."""

from __future__ import annotations

import codecs
import io
import os
import sys

import click

from actbench.printable import printable

_PLAIN = str.maketrans(
    {"−": "-", "–": "-", "—": "-", "±": "+-", "×": "x", "≤": "<=", "…": "...", "⚠": "!"}
)


def print_what_the_terminal_can() -> None:
    """Let characters that the output's encoding lacks be replaced rather than end the run."""

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
