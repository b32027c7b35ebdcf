"""Published corrupted test sets, ``labels.npy`` and ``<corruption>.npy``: checked, then mapped.

CIFAR-10-C, CIFAR-10-C̄ and CIFAR-100-C are published in this way.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from actbench.errors import UnavailableError, UsageError, reason_of
from actbench.files.atomic import expanded, map_array
from actbench.study.levels import SEVERITIES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

LABELS = "labels"
_NAME = re.compile(r"[\w-]+")
_NO_NAMES = (LABELS, "none")


def published_names(folder: str) -> tuple[str, ...]:
    """Return the corruptions of which a folder has a file, in alphabetical order.

    Raises:
        UnavailableError: there is no such folder, or it cannot be read.
    """
    try:
        stems = [path.stem for path in expanded(folder).iterdir() if path.suffix == ".npy"]
    except OSError as error:
        raise UnavailableError(f"cannot read cifar10c {folder!r}: {reason_of(error)}") from None
    return tuple(sorted(stem for stem in stems if _NAME.fullmatch(stem) and stem not in _NO_NAMES))


def check_published(
    folder: str, names: Sequence[str], labels: torch.Tensor, shape: Sequence[int]
) -> tuple[tuple[str, str], ...]:
    r"""Return each corruption's name with the checksum of its published file, after checking it.

    Args:
        folder: has ``labels.npy`` and a ``<name>.npy`` for each name.
        names: the corruptions.
        labels: int64 (N,), the test set's. Each file must have it five times, severity by
            severity: uint8 images of shape (5 N, \*shape), labels of shape (5 N,).
        shape: the shape of a test image, (H, W, 3).

    Raises:
        UsageError: a file is missing, truncated, of another shape or type, or in another order.
    """
    found = _open(folder, LABELS)
    expected = np.tile(labels.numpy(), len(SEVERITIES))
    if found.dtype.kind not in "iu" or found.shape != expected.shape:
        raise _wrong(folder, LABELS, found, f"integers of shape {expected.shape}")
    if not np.array_equal(found, expected):
        where = int(np.flatnonzero(found != expected)[0])
        raise UsageError(
            f"{str(_path(folder, LABELS))!r} does not have the order of the test set: its label "
            f"{where} is {int(found[where])} and the test set's {int(expected[where])}; CIFAR-10-C "
            "belongs to the data set cifar10 and CIFAR-100-C to cifar100"
        )
    checksums = []
    for name in names:
        images = _open(folder, name)
        needed = (len(expected), *shape)
        if images.dtype != np.uint8 or images.shape != needed:
            raise _wrong(folder, name, images, f"uint8 of shape {needed}{_sizes(images, needed)}")
        digest = hashlib.sha256(np.ascontiguousarray(images).data)
        checksums.append((name, f"sha256:{digest.hexdigest()}"))
    return tuple(checksums)


def published_images(folder: str, name: str, severity: int) -> torch.Tensor:
    """Return the published images under a corruption, uint8 (N, H, W, 3), mapped from its file.

    Raises:
        UnavailableError: the file cannot be read.
    """
    images = _open(folder, name)
    count = len(images) // len(SEVERITIES)
    return torch.from_numpy(images[(severity - 1) * count : severity * count])


def _path(folder: str, name: str) -> Path:
    return expanded(folder) / f"{name}.npy"


def _open(folder: str, name: str) -> npt.NDArray[Any]:
    path = _path(folder, name)
    try:
        return map_array(path)
    except FileNotFoundError:
        raise UnavailableError(f"cifar10c {folder!r} has no {path.name}: {str(path)!r}") from None
    except (OSError, ValueError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UnavailableError(
            f"{str(path)!r} is truncated or not a .npy file: {' '.join(reason.split())[:120]}"
        ) from None


def _sizes(images: npt.NDArray[Any], expected: tuple[int, ...]) -> str:
    """Return the two sizes of images if nothing else differs, else nothing."""
    if images.ndim != 4 or (len(images), images.shape[3]) != (expected[0], expected[3]):
        return ""
    sizes = [f"{height}×{width}" for _, height, width, _ in (images.shape, expected)]
    return f", as its images have {sizes[0]} pixels, and the study's have {sizes[1]}"


def _wrong(folder: str, name: str, found: npt.NDArray[Any], expected: str) -> UsageError:
    return UsageError(
        f"{str(_path(folder, name))!r} is {found.dtype} of shape {found.shape}; "
        f"it must be {expected}"
    )
