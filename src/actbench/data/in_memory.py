"""Images in the memory of a Python program → the name of a data set for a ``Study``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actbench.data.array_files import STORED
from actbench.data.arrays import array_content
from actbench.data.dataset_items import dataset_content
from actbench.data.images import store_content
from actbench.errors import UsageError
from actbench.study.fields import image_size as image_size_rule
from actbench.study.fields import shown

if TYPE_CHECKING:
    from collections.abc import Sequence


def arrays(
    x_train: Any,
    y_train: Any,
    x_test: Any,
    y_test: Any,
    *,
    classes: Sequence[str] | None = None,
    image_size: int = 0,
) -> str:
    """Return the name of a data set of these arrays, as in ``Study(dataset=actbench.arrays(…))``.

    The images are stored in the cache under the SHA-256 of their content, where worker processes
    and later runs find them. The name depends on what is stored only. Training images are not
    flipped unless the study says so.

    Args:
        x_train: NumPy arrays, CPU tensors or nested lists: (N, H, W), grey, or (N, H, W, C) or
            (N, C, H, W) with one or three channels; uint8, or floats in [0, 1], which are rounded
            to 8 bits. Square images of 28 to 256 pixels, unless ``image_size`` is given.
        y_train: integers (N,) or (N, 1) from 0, each of them at least once.
        x_test: as ``x_train``.
        y_test: as ``y_train``, with the same classes or some of them.
        classes: the names of the classes; "0", "1", … unless given. With names, a class may be
            without training images.
        image_size: the side to which images are resized, from 28 to 256; 0 is their own.

    Raises:
        UsageError: an array is not as described.
        UnavailableError: the cache cannot be written.
    """
    _check_size(image_size)
    return _stored(array_content((x_train, y_train, x_test, y_test), image_size, classes))


def from_dataset(
    train: Any,
    test: Any,
    *,
    image: str | None = None,
    label: str | None = None,
    classes: Sequence[str] | None = None,
    image_size: int = 0,
) -> str:
    """Return the name of a data set of two PyTorch or Hugging Face data sets: see ``arrays``.

    Args:
        train: has ``len`` and items by index: pairs of image and label, or dicts with an image and
            a label. An image is a PIL image, an array or a tensor: (H, W), (H, W, C) or (C, H, W),
            uint8 or floats in [0, 1]. It must have no random transforms, and no normalisation.
        test: the same.
        image: the key of an item's image; ``image`` or ``img`` unless given.
        label: the key of an item's label; ``label`` or ``labels`` unless given.
        classes: the names of the classes; the data set's own, or "0", "1", …, unless given.
        image_size: the side to which images are resized, from 28 to 256; 0 is their own.

    Raises:
        UsageError: an item is not as described.
        UnavailableError: the cache cannot be written.
    """
    _check_size(image_size)
    return _stored(
        dataset_content(train, test, image_size, image=image, label=label, classes=classes)
    )


def _check_size(size: int) -> None:
    rule = image_size_rule()
    if not rule.is_valid(size):
        raise UsageError(f"image_size is {shown(size)}; it must be {rule.expected}")


def _stored(content: dict[str, Any]) -> str:
    return f"{STORED}:{store_content(content)[1]}"
