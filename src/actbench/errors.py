"""The errors a user can cause or meet, each with the exit code that the command line gives it."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class ActbenchError(Exception):
    """An error whose message is one line that a user can act on; never shown with a traceback."""

    exit_code: ClassVar[int] = 1


class UsageError(ActbenchError):
    """Bad usage, configuration or input: found before any training."""

    exit_code = 2


class UnavailableError(UsageError):
    """What all trials need (data, cache, compiled kernels) is gone or cannot be made.

    It is no trial's fault: a run ends with it, and the trial that met it is not stored as crashed.
    """


class ResultsFolderError(ActbenchError):
    """The results folder is held by another run, belongs to another study, or cannot be written."""

    exit_code = 3


def folder_gone(folder: Path) -> ResultsFolderError:
    """Return the error of a results folder that was moved away while a run wrote to it."""
    return ResultsFolderError(
        f"{str(folder)!r} was deleted, emptied or renamed while this run was writing to it; "
        "nothing more is written"
    )


def reason_of(error: OSError) -> str:
    """Return why the operating system refused something, without the path."""
    return error.strerror or str(error)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` with the nearest known name, else all of them, if any."""
    names = sorted(known)
    by_lower_case = {known_name.lower(): known_name for known_name in names}
    close = difflib.get_close_matches(name.lower(), by_lower_case, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {by_lower_case[close[0]]!r}?"
    return f"; known are {', '.join(names)}" if names else ""
