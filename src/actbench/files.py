"""Files that are whole or absent: written beside their place, then renamed into it."""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import logging
import os
import secrets
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

MAKING = ".making"
CORRUPT = ".corrupt"
_NO_FSYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


def folder_identity(folder: Path) -> tuple[int, int] | None:
    """Return what tells a folder from another of the same name; None where there is none."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """Give the path of an empty file, which takes the place of ``path`` after the block.

    A reader, and a process that is killed meanwhile, meets the old file or the new one, whole. With
    an error, and with Ctrl-C, the old one stays and nothing else is left. Where ``path`` is a
    symbolic link, the link is replaced and what it names stays as it is.

    Args:
        path: the file; its folder is made where it is missing.
        mode: the file's mode, less the umask, whatever program writes it.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    making = path.with_name(f".{secrets.token_hex(8)}{MAKING}")
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


def set_aside(path: Path) -> Path:
    """Rename a damaged file to the first free of ``<name>.corrupt``, ``<name>.corrupt.1``, ….

    Raises:
        OSError: it cannot be renamed.
    """
    first = path.with_name(f"{path.name}{CORRUPT}")
    others = (first.with_name(f"{first.name}.{number}") for number in itertools.count(1))
    names = itertools.chain([first], others)
    return path.replace(next(name for name in names if not os.path.lexists(name)))


def map_array(path: Path) -> npt.NDArray[Any]:
    """Return the array of a ``.npy`` file, mapped copy-on-write: unchanged pages are shared.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no such file.
    """
    import numpy as np  # what only reads a study goes without

    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode="c")
    except OSError:
        raise
    except Exception as error:  # what NumPy raises for a damaged header has many types
        raise ValueError(str(error).splitlines()[0] if str(error) else "it is empty") from None
    return array


@contextlib.contextmanager
def atomic_write(path: Path, *, to_disk: bool = True) -> Iterator[IO[bytes]]:
    """Give a binary file that takes the place of ``path`` after the block: see ``replacing``.

    Args:
        path: the file.
        to_disk: whether to wait until the disk has it, so that it outlasts a loss of power too. A
            file system that cannot do that is warned of once.

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
        "the file system cannot flush files to disk (fsync: %s): what is stored survives a crash "
        "of the run, but perhaps not a loss of power",
        reason,
    )
