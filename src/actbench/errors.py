"""Errors for users, each with its exit code on the command line."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class ActbenchError(Exception):
    """An error that is shown as one line and without a traceback."""

    exit_code: ClassVar[int] = 1


class Terminated(BaseException):
    """SIGTERM was received. Not a SystemExit, which user code raises too and which is caught."""


class UsageError(ActbenchError):
    """Bad usage, configuration or input: found before any training."""

    exit_code = 2


class UnavailableError(UsageError):
    """Data, the cache or compiled kernels, which all trials need, are missing or cannot be made.

    A run ends with it; the trial that raised it is not stored as crashed.
    """


class ResultsFolderError(ActbenchError):
    """The results folder is held by another run, belongs to another study, or cannot be written."""

    exit_code = 3


class SourceChangedError(ResultsFolderError):
    """The source of the spec that is its argument changed while a run used it."""


START_OVER = "choose another folder with --out, or start over with --restart"


def folder_gone(folder: Path) -> ResultsFolderError:
    """Return the error for a results folder that was moved while a run wrote to it."""
    return ResultsFolderError(
        f"{str(folder)!r} was deleted, emptied or renamed while this run was writing to it; "
        "nothing more is written"
    )


def reason_of(error: OSError) -> str:
    """Return why the operating system refused something, without the path."""
    return error.strerror or str(error)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` with the closest known name, or a list of all known ones."""
    names = sorted(known)
    by_lower_case = {known_name.lower(): known_name for known_name in names}
    close = difflib.get_close_matches(name.lower(), by_lower_case, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {by_lower_case[close[0]]!r}?"
    return f"; known are {', '.join(names)}" if names else ""


def encodable(text: str) -> str:
    """Return the text, with lone surrogates (from file names) escaped: UTF-8 has none."""
    return text.encode(errors="backslashreplace").decode()


def one_line(text: str) -> str:
    """Return the text in one line."""
    return " ".join(encodable(text).split())


def in_a_line(error: BaseException) -> str:
    """Return an exception's type and message, the message in at most 200 characters."""
    message = one_line(str(error))
    return f"{type(error).__name__}: {message[:200]}" if message else type(error).__name__


def message_of(error: BaseException, subject: str = "") -> str:
    """Return an exception's message in at most 120 characters; its type if it has none.

    ``subject``, which the caller's own message names, is called "it".
    """
    message = str(error).replace(subject, "it") if subject else str(error)
    return one_line(message)[:120] or type(error).__name__
