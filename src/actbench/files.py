"""Files that are whole or absent: written beside their place, then renamed into it."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

MAKING = ".making"
CORRUPT = ".corrupt"


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
