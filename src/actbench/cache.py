"""Images that are costly to make: kept in files that all processes map, checked, within a limit."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from actbench.datasets import cache_folder
from actbench.errors import UsageError
from actbench.files import map_array, writing_whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

LIMIT_VARIABLE = "ACTBENCH_CACHE_LIMIT"
DEFAULT_LIMIT = "10 GB"
_UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_FORMAT = 3  # counts changes to what the same key stands for, corruptions' formulas included
_CHECKED: set[tuple[Path, int, int]] = set()


def cache_limit() -> int:
    """Return how many bytes of made images are kept: ``ACTBENCH_CACHE_LIMIT``, else 10 GB.

    Raises:
        UsageError: the variable holds something else than such as ``500 MB`` or a number of bytes.
    """
    text = os.environ.get(LIMIT_VARIABLE) or DEFAULT_LIMIT
    found = re.fullmatch(r"\s*(\d{1,18}(?:\.\d{1,9})?)\s*([kmgt]?b)?\s*", text, re.IGNORECASE)
    if found is None:
        raise UsageError(
            f"{LIMIT_VARIABLE} is {text[:40]!r}; give a size such as '{DEFAULT_LIMIT}'"
        )
    return int(float(found[1]) * _UNITS.get((found[2] or "").lower(), 1))


def cached_images(key: str, make: Callable[[], torch.Tensor]) -> torch.Tensor:
    """Return the uint8 images that belong to ``key``, made by ``make`` where the cache has none.

    They are mapped from one file, so that all processes share them. The file ends with a SHA-256 of
    its images, which each process checks once: where it is not theirs, they are made again. Where
    files would come to exceed ``cache_limit``, those that were not used for longest are removed;
    a process that has one mapped keeps it.

    Raises:
        UsageError: the cache cannot be written.
    """
    digest = hashlib.sha256(f"{_FORMAT} {key}".encode()).hexdigest()
    path = cache_folder() / "images" / f"{digest[:32]}.npy"
    with contextlib.suppress(OSError, ValueError, EOFError):
        return torch.from_numpy(_read(path))
    images = make()
    content = images.numpy()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_room(path.parent, content.nbytes)
        with writing_whole(path, to_disk=False) as file:
            np.save(file, content)
            file.write(_digest(content))
    except OSError as error:
        reason = error.strerror or str(error)  # NumPy's own error for a full disk has no strerror
        raise UsageError(f"cannot write the data cache {str(path)!r}: {reason}") from None
    return images


def _digest(images: npt.NDArray[np.uint8]) -> bytes:
    about = f"{images.dtype.str} {images.shape}".encode()
    return hashlib.sha256(
        about + hashlib.sha256(np.ascontiguousarray(images).data).digest()
    ).digest()


def _read(path: Path) -> npt.NDArray[np.uint8]:
    """Return the images of a file, mapped copy-on-write as torch wants; note that it was used.

    Raises:
        OSError: there is no such file.
        ValueError: it is damaged.
    """
    images: npt.NDArray[np.uint8] = map_array(path)
    status = path.stat()
    seen = (path, status.st_size, status.st_mtime_ns)
    if seen not in _CHECKED:
        with path.open("rb") as file:
            file.seek(-hashlib.sha256().digest_size, os.SEEK_END)
            if file.read() != _digest(images):
                raise ValueError(f"{path} does not hold what was written")
        _CHECKED.add(seen)
    with contextlib.suppress(OSError):  # another user's cache may be read only
        os.utime(path, ns=(time.time_ns(), status.st_mtime_ns))
    return images


def _make_room(folder: Path, size: int) -> None:
    """Remove the files that were not used for longest, until ``size`` more bytes fit.

    Among them are those that a process which was killed left half written.
    """
    kept = []
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # another process was faster
            status = path.stat()
            kept.append((status.st_atime_ns, path, status.st_size))
    room = cache_limit() - size - sum(each for _, _, each in kept)
    for _, path, each in sorted(kept):
        if room >= 0:
            break
        with contextlib.suppress(OSError):
            path.unlink()
        room += each
