"""Paths, and atomic writes: a temporary file in the same folder, renamed over the old file."""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import logging
import os
import secrets
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from actbench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

PARTIAL = ".making"
CORRUPT = ".corrupt"
_NO_FSYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


def folder_identity(folder: Path) -> tuple[int, int] | None:
    """Return device and inode of a folder, which a new one of that name lacks; None if missing."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """Yield the path of an empty file that replaces ``path`` after the block.

    At any time ``path`` is the complete old file or the complete new one. After an error or Ctrl-C
    the old file stays and the temporary one is removed. A symbolic link at ``path`` is replaced;
    its target does not change.

    Args:
        path: the file; its folder is created if missing.
        mode: the permissions of the new file, restricted by the umask.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    making = path.with_name(f".{secrets.token_hex(8)}{PARTIAL}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        os.close(os.open(making, flags, mode))
        mode = making.stat().st_mode
        yield making
        making.chmod(mode)
        making.replace(path)
    except BaseException:
        making.unlink(missing_ok=True)
        raise


def rename_corrupt(path: Path) -> Path:
    """Rename a damaged file to the first unused of ``<name>.corrupt``, ``<name>.corrupt.1``, ….

    Raises:
        OSError: it cannot be renamed.
    """
    first = path.with_name(f"{path.name}{CORRUPT}")
    others = (first.with_name(f"{first.name}.{number}") for number in itertools.count(1))
    names = itertools.chain([first], others)
    return path.replace(next(name for name in names if not os.path.lexists(name)))


def map_array(path: Path) -> npt.NDArray[Any]:
    """Return the array of a ``.npy`` file, mapped copy-on-write; processes share unchanged pages.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a valid ``.npy`` file.
    """
    import numpy as np  # not needed to read a study

    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode="c")
    except OSError:
        raise
    except Exception as error:  # NumPy raises many types for a damaged header
        raise ValueError(str(error).splitlines()[0] if str(error) else "it is empty") from None
    return array


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return the path with the home folder for ``~``.

    Raises:
        UsageError: ``~name`` is of no user of this system.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError(f"{os.fspath(path)!r} begins with no known user's home folder") from None


@contextlib.contextmanager
def atomic_write(path: Path, *, to_disk: bool = True) -> Iterator[IO[bytes]]:
    """Yield a binary file that replaces ``path`` after the block: see ``replacing``.

    Args:
        path: the file.
        to_disk: whether to flush it to disk (fsync), so that it survives a loss of power. A warning
            is logged once if the file system does not support that.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path) as making, making.open("wb") as file:
        yield file
        file.flush()
        if not to_disk:
            return
        try:
            os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in _NO_FSYNC:
                raise
            _warn_of_no_fsync(error.strerror)


@functools.cache
def _warn_of_no_fsync(reason: str) -> None:
    logging.getLogger(__name__).warning(
        "the file system cannot flush files to disk (fsync: %s): stored results survive a crash "
        "of the run, but perhaps not a loss of power",
        reason,
    )
