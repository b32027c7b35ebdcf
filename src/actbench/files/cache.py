"""The cache of data sets and corrupted images: files that are checked when they are read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import mmap
import os
import re
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open

from actbench.errors import UnavailableError, UsageError, reason_of
from actbench.files.atomic import PARTIAL, atomic_write, expanded, replacing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy.typing as npt
    import torch

LIMIT_VARIABLE = "ACTBENCH_CACHE_LIMIT"
DEFAULT_LIMIT = "10 GB"
TENSORS = ".safetensors"
ABANDONED = 600  # seconds after which a partly written file counts as a killed process's
_IMAGES = "images"
_UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_FORMAT = 5  # increased when the content for a key changes, such as a corruption's formula
_DTYPES = {"|u1": "U8", "<i8": "I64"}
_CHECKED: set[tuple[Path, int, int]] = set()
_REMOVABLE = re.compile(
    rf"{_IMAGES}-[0-9a-f]{{32}}{re.escape(TENSORS)}|\.[0-9a-f]{{16}}{re.escape(PARTIAL)}"
)
# https://bford.info/cachedir: what backups may leave out
_TAG = b"Signature: 8a477f597d28d172789f06886806bc55\n# Made by actbench; may be deleted.\n"


def cache_folder() -> Path:
    """Return the cache folder, whether or not it exists.

    That is ``actbench`` in the folder that ``ACTBENCH_CACHE`` names, else in the user's cache
    folder.
    """
    asked = os.environ.get("ACTBENCH_CACHE")
    if asked:
        return expanded(asked) / "actbench"
    import platformdirs

    return Path(platformdirs.user_cache_dir("actbench"))


def cache_limit() -> int:
    """Return how many bytes of corrupted images are kept: ``ACTBENCH_CACHE_LIMIT``, else 10 GB.

    Raises:
        UsageError: the variable is not a size such as ``500 MB`` or a number of bytes.
    """
    text = os.environ.get(LIMIT_VARIABLE) or DEFAULT_LIMIT
    found = re.fullmatch(r"\s*(\d{1,18}(?:\.\d{1,9})?)\s*([kmgt]?b)?\s*", text, re.IGNORECASE)
    if found is None:
        raise UsageError(
            f"{LIMIT_VARIABLE} is {text[:40]!r}; give a size such as '{DEFAULT_LIMIT}'"
        )
    return int(float(found[1]) * _UNITS.get((found[2] or "").lower(), 1))


def cache_path(kind: str, name: str, decides: str) -> Path:
    """Return the path of a cached file.

    Args:
        kind: the folder in the cache.
        name: the file's name; a digest is added to its stem.
        decides: everything that decides the file's content.
    """
    digest = hashlib.sha256(f"{_FORMAT} {decides}".encode()).hexdigest()
    path = cache_folder() / kind / name
    return path.with_name(f"{path.stem}-{digest[:32]}{path.suffix}")


def data_path(name: str, fingerprint: str, size: int = 0) -> Path:
    """Return the path of a data set's cached arrays.

    Args:
        name: the start of the file's name.
        fingerprint: changes when the data does; see ``Source``.
        size: the side that its images were resized to; 0 if that is the data's own.
    """
    return cache_path("data", f"{name}{TENSORS}", f"{fingerprint} {size}")


@contextlib.contextmanager
def storing(path: Path, *, others_write: bool = True) -> Iterator[Path]:
    """Yield the path of an empty file that becomes the cached file after the block.

    Args:
        path: what ``cache_path`` gave.
        others_write: whether other users may write to the file and its folder, if the umask allows
            that.

    Raises:
        UnavailableError: it cannot be written, or its folder is a symbolic link.
    """
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        refuse_link(path.parent)
        tag = folder / "CACHEDIR.TAG"
        if not tag.exists():
            with atomic_write(tag, to_disk=False) as file:
                file.write(_TAG)
        refused = 0 if others_write else 0o022
        path.parent.mkdir(mode=0o777 & ~refused, exist_ok=True)
        with replacing(path, 0o666 & ~refused) as making:
            yield making
    except OSError as error:
        reason = reason_of(error)
        raise UnavailableError(f"cannot write the cache {str(path)!r}: {reason}") from None


def scratch_images(count: int, height: int, width: int = 0) -> npt.NDArray[np.uint8]:
    """Return black images, uint8 (count, height, width, 3), to be written; square without a width.

    They are mapped from a file without a name in the cache folder, so that the system can take
    their memory back. The file is gone when the array is, even if the process is killed.

    Raises:
        UnavailableError: the file cannot be written.
    """
    shape = (count, height, width or height, 3)
    size, folder = math.prod(shape), cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):  # a full disk would end the process at a write
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            mapped = mmap.mmap(file.fileno(), size)
    except OSError as error:
        reason = reason_of(error)
        raise UnavailableError(f"cannot write the cache {str(folder)!r}: {reason}") from None
    return np.frombuffer(mapped, np.uint8).reshape(shape)


def refuse_link(path: Path) -> None:
    """Check that ``path`` is not a symbolic link.

    Raises:
        UnavailableError: it is one.
    """
    if path.is_symlink():
        raise UnavailableError(
            f"{str(path)!r} is a symbolic link, and nothing in the cache is written through one; "
            "remove it"
        )


def store_tensors(path: Path, tensors: Mapping[str, torch.Tensor], **about: Any) -> None:
    """Write a file of tensors for ``read_tensors``, in the format of safetensors.

    Args:
        path: what ``cache_path`` gave.
        tensors: by name; uint8 or int64, contiguous, on the CPU.
        about: plain values to store with them.

    Raises:
        UnavailableError: it cannot be written.
    """
    about = {**about, "names": list(tensors), "checksum": checksum(tensors)}
    header: dict[str, Any] = {"__metadata__": {"about": json.dumps(about)}}
    parts = {name: tensor.numpy() for name, tensor in tensors.items()}
    # larger types first, so that all are aligned in the file
    names = sorted(parts, key=lambda name: -parts[name].itemsize)
    end = 0
    for name in names:
        begin, end = end, end + parts[name].nbytes
        dtype, shape = _DTYPES[parts[name].dtype.str], parts[name].shape
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    # safetensors' writer needs twice the memory, or leaves files when it is killed
    with storing(path) as making, making.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for name in names:
            file.write(parts[name].data)


def read_tensors(
    path: Path, *, check: bool = True
) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """Return the tensors of a cached file and the values stored with them; None if damaged.

    The tensors are mapped copy-on-write, so that processes share them. They stay valid when the
    file is removed.

    Args:
        path: what ``cache_path`` gave; the result is None if the file is missing.
        check: whether to compare the SHA-256 of the tensors with the stored one, once in each
            process. Truncated files are found without it.
    """
    try:
        status = path.stat()
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["about"])
            tensors = {name: file.get_tensor(name) for name in about["names"]}
        seen = (path, status.st_size, status.st_mtime_ns)
        if check and seen not in _CHECKED:
            if about["checksum"] != checksum(tensors):
                return None
            _CHECKED.add(seen)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return None
    with contextlib.suppress(OSError):  # another user's cache may be read-only
        os.utime(path, ns=(time.time_ns(), status.st_mtime_ns))
    return tensors, about


def checksum(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return ``sha256:`` and the SHA-256 of the tensors' names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        array = tensor.contiguous().numpy()
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.data)
    return f"sha256:{digest.hexdigest()}"


def cached_images(key: str, make: Callable[[], torch.Tensor]) -> torch.Tensor:
    """Return the uint8 images of ``key``, from the cache or else from ``make``.

    They are mapped from a file (see ``read_tensors``); a damaged file is replaced. Beyond
    ``cache_limit``, the least recently used files are removed.

    Raises:
        UnavailableError: the cache cannot be written.
    """
    path = cache_path(_IMAGES, f"{_IMAGES}{TENSORS}", key)
    found = read_tensors(path)
    if found is not None:
        return found[0][_IMAGES]
    images = make().contiguous()
    _evict(path.parent, images.nbytes)
    store_tensors(path, {_IMAGES: images})
    return images


def _evict(folder: Path, size: int) -> None:
    """Remove the least recently used files until ``size`` more bytes are within the limit.

    Partly written files that nobody has written to for a while are of killed processes, and are
    removed too; files with other names stay.
    """
    abandoned = time.time() - ABANDONED
    kept = []
    with contextlib.suppress(OSError):  # no folder yet, or an error that writing reports
        refuse_link(folder)
        for path in folder.iterdir():
            with contextlib.suppress(OSError):  # removed by another process
                status = path.lstat()
                written = path.suffix == PARTIAL and status.st_mtime > abandoned
                if _REMOVABLE.fullmatch(path.name) and not written:
                    used = max(status.st_atime_ns, status.st_mtime_ns)
                    kept.append((used, path, status.st_size))
    free = cache_limit() - size - sum(each for _, _, each in kept)
    for _, path, each in sorted(kept):
        if free >= 0:
            break
        with contextlib.suppress(OSError):
            path.unlink()
        free += each
