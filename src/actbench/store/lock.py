"""Locks of a results folder: for one run, for one shard of several, or briefly for one write.

Locks are the operating system's (``flock``), which releases them when a process dies. On a shared
file system they work between machines if the file system supports that.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from actbench.errors import ResultsFolderError, UsageError, reason_of
from actbench.files.atomic import atomic_write, folder_identity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from actbench.study.study import Trial

LOCK_FILE = ".lock"
SHARD_LOCKS = ".shard-*.lock"
HOLDER = "-holder"
BRIEFLY = ", briefly"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


@dataclass(frozen=True)
class Shard:
    """A part of a study's trials, for one of several processes: ``number`` from 1 to ``count``."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return the shard that a text such as ``3/16`` names.

        Raises:
            UsageError: the text is not a shard.
        """
        parts = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text)
        shard = cls(int(parts[1]), int(parts[2])) if parts else cls(0, 0)
        if not 1 <= shard.number <= shard.count:
            raise UsageError(f"shard is {text!r}; it must be such as 3/16, the third of 16 parts")
        return shard

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def part(self, trials: Sequence[Trial]) -> Sequence[Trial]:
        """Return this shard's trials: every ``count``-th, so each has trials of all seeds."""
        return trials[self.number - 1 :: self.count]


@contextlib.contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Lock the folder for one run; no other run or shard can write to it.

    Raises:
        ResultsFolderError: another run or a shard has locked it, or it cannot be written.
    """
    with _locked(folder, LOCK_FILE):
        for path in folder.glob(SHARD_LOCKS):
            with _locked(folder, path.name):
                pass
            # no shard can take it now, since it would have to lock the folder first
            path.unlink(missing_ok=True)
        yield


@contextlib.contextmanager
def brief_lock(folder: Path) -> Iterator[None]:
    """Lock the folder for a short time, waiting for other brief locks; shards may be running.

    Raises:
        ResultsFolderError: a run has locked it, or it cannot be written.
    """
    with _locked(folder, LOCK_FILE, brief=True):
        yield


@contextlib.contextmanager
def shard_lock(folder: Path, shard: Shard) -> Iterator[None]:
    """Lock one shard of the folder; to be called within ``brief_lock``.

    Raises:
        ResultsFolderError: another process has locked this shard, or the folder cannot be written.
    """
    with _locked(folder, f".shard-{shard.number}-of-{shard.count}.lock"):
        yield


def has_active_shards(folder: Path) -> bool:
    """Return whether any shard is locked; to be called within ``brief_lock``."""
    try:
        for path in folder.glob(SHARD_LOCKS):
            with _locked(folder, path.name):
                pass
    except ResultsFolderError:
        return True
    return False


@contextlib.contextmanager
def _locked(folder: Path, name: str, *, brief: bool = False) -> Iterator[None]:
    lock, holder = FileLock(folder / name), folder / f"{name}{HOLDER}"
    try:
        # resolved, since it may be a link to a folder that does not exist yet
        # `Path.resolve` raises a RuntimeError in a loop of links
        Path(os.path.realpath(folder)).mkdir(parents=True, exist_ok=True)
        seen = ""
        while True:
            try:
                lock.acquire(timeout=0.2)
                break
            except Timeout:
                before, seen = seen, _text_of(holder)
                # the name of a dead process stays until the next holder writes its own
                waits = brief and (seen.endswith(BRIEFLY) or seen != before)
                if not waits:
                    raise ResultsFolderError(
                        f"{str(folder)!r} is held by another run: {seen}"
                    ) from None
        identity = folder_identity(folder)
        who = f"process {os.getpid()} on {socket.gethostname()}"
        with atomic_write(holder, to_disk=False) as file:
            file.write((who + (BRIEFLY if brief else "")).encode())
    except OSError as error:
        lock.release()
        reason = reason_of(error)
        if error.errno in _NO_LOCKS:
            raise ResultsFolderError(
                f"cannot lock {str(folder)!r}: {reason}; its file system must support file locks"
            ) from None
        if error.errno == errno.ELOOP:
            reason = f"{name} is a symbolic link; remove it"
        raise ResultsFolderError(f"cannot write {str(folder)!r}: {reason}") from None
    try:
        yield
    finally:
        # if the folder was renamed, this path may be another run's
        if folder_identity(folder) == identity:
            holder.unlink(missing_ok=True)
        lock.release()


def _text_of(holder: Path) -> str:
    try:
        return holder.read_text(encoding="utf-8")
    except OSError:
        return f"another process{BRIEFLY}"  # it is just starting or ending
