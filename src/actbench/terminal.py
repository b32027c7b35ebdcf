"""What the command line says to a person, in whatever characters the terminal has."""

from __future__ import annotations

import codecs
import io
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


def say(message: str) -> None:
    """Print one line to stderr, under the command's name."""
    click.echo(f"actbench: {' '.join(printable(message).split())}", err=True)
