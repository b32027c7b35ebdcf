"""Files that are whole or absent: written beside their place, then renamed into it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MAKING = ".making"


def place_of(folder: Path) -> tuple[int, int] | None:
    """Return what tells a folder from another of the same name; None where there is none."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextlib.contextmanager
def writing_whole(path: Path, *, to_disk: bool = True) -> Iterator[IO[bytes]]:
    """Give a binary file that takes the place of ``path`` once it is written without an error.

    A reader, and a process that is killed meanwhile, meets the old file or the new one, whole. With
    an error, and with Ctrl-C, the old one stays and nothing else is left.

    Args:
        path: the file; its folder is made where it is missing.
        to_disk: whether to wait until the disk has it, so that it outlasts a loss of power too.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=MAKING)
    making = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            if to_disk:
                os.fsync(file.fileno())
        making.chmod(0o644)
        making.replace(path)
    except BaseException:
        making.unlink(missing_ok=True)
        raise
