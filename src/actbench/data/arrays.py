"""Arrays and data sets of one's own → the content of a ``Source``, after checking them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from actbench.data.pictures import fitted, needs_image_size, own_size, resizing_notes
from actbench.errors import UsageError, message_of
from actbench.files.cache import scratch_images
from actbench.study.fields import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    Array = npt.NDArray[Any]

NAMES = ("x_train", "y_train", "x_test", "y_test")
IMAGES_PER_CHUNK = 1000
MAX_ERROR = 1e-3  # of a float from a level of 8 bits, in levels; more is rounding


def array_content(
    arrays: Sequence[Any], size: int, classes: Sequence[str] | None = None
) -> dict[str, Any]:
    """Return the content of a ``Source`` from four arrays.

    Args:
        arrays: what ``np.asarray`` accepts, in the order of ``NAMES``. Images (N, H, W), grey, or
            (N, H, W, C) or (N, C, H, W) with one or three channels; uint8, or floats in [0, 1],
            which are rounded to 8 bits. Labels (N,) or (N, 1): integers from 0, each of them in the
            training labels.
        size: the side of the images that are returned, 0 for their own.
        classes: the names of the classes; "0", "1", … unless given. With names, a class may be
            without training images.

    Raises:
        UsageError: an array is not as described, or the images have no side of their own and
            ``size`` is 0.
    """
    x_train, y_train, x_test, y_test = (
        _as_array(array, name) for array, name in zip(arrays, NAMES, strict=True)
    )
    labels = [_labels(y_train, "y_train", len(x_train)), _labels(y_test, "y_test", len(x_test))]
    names = class_names(labels[0], labels[1], classes)
    notes = missing_classes(labels[0], names)
    images, rounded = [], 0
    for x, name in ((x_train, "x_train"), (x_test, "x_test")):
        part, count = as_rgb_levels(x, name)
        images.append(part)
        rounded += count
    if rounded:
        total = len(images[0]) + len(images[1])
        notes.append(f"the floats of {rounded} of {total} images were rounded to 8 bits")
    sizes = [(part.shape[2], part.shape[1]) for part in images]
    side = own_size(set(sizes))
    if not (size or side):
        raise needs_image_size(
            " and ".join(
                f"{name} has images of {width}×{height} pixels"
                for name, (width, height) in zip(("x_train", "x_test"), sizes, strict=True)
            )
        )
    size = size or side
    counts: Counter[tuple[int, int]] = Counter()
    for part, width_height in zip(images, sizes, strict=True):
        counts[width_height] += len(part)
    notes += resizing_notes(counts, size)
    return {
        "train_images": fitted(images[0], size),
        "train_labels": labels[0],
        "test_images": fitted(images[1], size),
        "test_labels": labels[1],
        "classes": names,
        "flip": False,
        "notes": notes,
        "own_size": side,
    }


def _as_array(values: Any, name: str) -> Array:
    try:
        if hasattr(values, "detach"):  # a tensor may have a graph, or be on a GPU
            values = values.detach().cpu()
        array: Array = np.asarray(values)
    except Exception as error:  # what claims to be an array may raise anything
        raise UsageError(f"{name} cannot be read as an array: {message_of(error)}") from None
    if array.dtype == object:
        raise UsageError(
            f"{name} has elements of different shapes or kinds; it must be one array of numbers"
        )
    if array.ndim == 0:
        raise UsageError(f"{name} is one value; it must be an array")
    return array


def _labels(labels: Array, name: str, count: int) -> npt.NDArray[np.int64]:
    if labels.ndim == 2 and labels.shape[1] == 1:  # as in Keras's CIFAR
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        one_hot = labels.ndim == 2 and labels.shape[1] > 1
        hint = "; of one-hot labels take .argmax(1)" if one_hot else ""
        raise UsageError(
            f"{name} is {labels.dtype} of shape {labels.shape}; labels must be integers of shape "
            f"(N,){hint}"
        )
    if len(labels) != count:
        raise UsageError(f"{name} has {len(labels)} labels for {count} images")
    if count == 0:
        raise UsageError(f"{name} is empty; there must be training and test images")
    if int(labels.min()) < 0:
        raise UsageError(f"{name} has the label {int(labels.min())}; labels must be from 0")
    if int(labels.max()) > np.iinfo(np.int64).max:
        raise UsageError(f"{name} has the label {int(labels.max())}, which is too large")
    return labels.astype(np.int64)


def class_names(
    train: npt.NDArray[np.int64], test: npt.NDArray[np.int64], names: Sequence[str] | None
) -> list[str]:
    """Return the names of the classes; see ``array_content``.

    Raises:
        UsageError: the labels do not fit them.
    """
    present = np.unique(train)
    if names is None:
        if not np.array_equal(present, np.arange(len(present))):
            missing = next(i for i, label in enumerate([*present, -1]) if i != label)
            raise UsageError(
                f"y_train has {len(present)} different labels from {present[0]} to {present[-1]}, "
                f"but no {missing}; without names of classes they must be all integers from 0 to "
                f"{len(present) - 1}"
            )
        names = [str(label) for label in range(len(present))]
    else:
        names = list(names)
        if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
            raise UsageError(f"classes is {shown(names)}; it must be a list of different texts")
    if len(names) < 2:
        raise UsageError("there is only one class; training needs two or more")
    for part, labels in (("y_train", train), ("y_test", test)):
        if int(labels.max()) >= len(names):
            raise UsageError(
                f"{part} has the label {int(labels.max())}; with {len(names)} classes labels must "
                f"be from 0 to {len(names) - 1}"
            )
    return names


def missing_classes(labels: npt.NDArray[np.int64], names: Sequence[str]) -> list[str]:
    """Return a sentence if some classes have no training image, else none."""
    missing = sorted(set(range(len(names))) - set(labels.tolist()))
    if not missing:
        return []
    return [
        f"{len(missing)} of {len(names)} classes have no training image, such as "
        f"{names[missing[0]]!r}"
    ]


def as_rgb_levels(
    images: Array, name: str, empty: Callable[..., npt.NDArray[np.uint8]] = scratch_images
) -> tuple[npt.NDArray[np.uint8], int]:
    """Return images as uint8 (N, H, W, 3), and how many were rounded; see ``array_content``.

    ``empty`` takes N, H and W and returns an array to write to.

    Raises:
        UsageError: the images are not as described.
    """
    pixels = images[..., None] if images.ndim == 3 else images
    if pixels.ndim == 4 and pixels.shape[3] not in (1, 3) and pixels.shape[1] in (1, 3):
        pixels = pixels.transpose(0, 2, 3, 1)
    if pixels.ndim != 4 or pixels.shape[3] not in (1, 3) or 0 in pixels.shape:
        raise UsageError(
            f"{name} has shape {images.shape}; images must be (N, H, W), (N, H, W, C) or "
            "(N, C, H, W) with one or three channels"
        )
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise UsageError(
            f"{name} is {images.dtype}; images must be uint8 from 0 to 255, or floats in [0, 1]"
        )
    if images.dtype == np.uint8 and pixels.shape[3] == 3:
        return pixels, 0
    rgb = empty(*pixels.shape[:3])
    rounded = 0
    for start in range(0, len(pixels), IMAGES_PER_CHUNK):
        chunk = pixels[start : start + IMAGES_PER_CHUNK]
        if images.dtype.kind == "f":
            chunk, count = _as_levels(chunk, name)
            rounded += count
        rgb[start : start + IMAGES_PER_CHUNK] = chunk
    return rgb, rounded


def _as_levels(values: Array, name: str) -> tuple[Array, int]:
    """Return floats in [0, 1] as levels from 0 to 255, and how many images were rounded."""
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):
        hint = ""
        if low >= 0 and high <= 255:
            hint = "; divide them by 255"
        elif low < 0:
            hint = "; do not normalise them, actbench does"
        raise UsageError(
            f"{name} has floats from {low:.4g} to {high:.4g}; they must be in [0, 1]{hint}"
        )
    scaled = values.astype(np.float32) * 255
    levels = np.rint(scaled)
    inexact = np.abs(scaled - levels) > MAX_ERROR
    return levels, int(inexact.any(axis=(1, 2, 3)).sum())
