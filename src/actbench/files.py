"""Files that are whole or absent: written beside their place, then renamed into it."""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import secrets
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAKING = ".making"
_NO_FSYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


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


@contextlib.contextmanager
def writing_whole(path: Path, *, to_disk: bool = True) -> Iterator[IO[bytes]]:
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
