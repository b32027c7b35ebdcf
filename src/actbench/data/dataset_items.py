"""PyTorch's and Hugging Face's data sets → the content of a ``Source``, item by item."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from actbench.data.arrays import as_rgb_levels, class_names, missing_classes
from actbench.data.pictures import needs_image_size, own_size, resizing_notes
from actbench.data.reading import as_rgb, resized
from actbench.errors import UsageError, message_of
from actbench.files.cache import scratch_images

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from actbench.data.reading import Pixels

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "labels")
READ_TWICE = 8  # a random transform that changes every second item is missed once in 256 times


def dataset_content(
    train: Any,
    test: Any,
    size: int,
    *,
    image: str | None = None,
    label: str | None = None,
    classes: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Return the content of a ``Source`` from two data sets.

    Args:
        train: has ``len`` and items by index: pairs of image and label, or dicts, as Hugging
            Face's. An image is a PIL image, or an array or tensor as in ``array_content`` without
            its first dimension. The class names are those of its attribute ``classes`` or of its
            ``features``, if it has them.
        test: the same.
        size: the side of the images that are returned, 0 for their own.
        image: the key of an item's image; ``IMAGE_COLUMNS`` are tried unless given.
        label: the key of an item's label; ``LABEL_COLUMNS`` are tried unless given.
        classes: the names of the classes, in place of the data set's.

    Raises:
        UsageError: an item is not as described, or the first items differ from call to call.
    """
    reader = _ItemReader(size, image, label)
    content: dict[str, Any] = {"flip": False}
    for part, dataset in (("train", train), ("test", test)):
        content[f"{part}_images"], content[f"{part}_labels"] = reader.read(dataset, part)
    if classes is None:
        classes = _names_of(train, reader.label)
        others = _names_of(test, reader.label)
        if classes is not None and others is not None and classes != others:
            raise UsageError("the training and the test set have different classes")
    names = class_names(content["train_labels"], content["test_labels"], classes)
    notes = missing_classes(content["train_labels"], names) + reader.notes()
    return {**content, "classes": names, "notes": notes, "own_size": own_size(reader.sizes)}


def _names_of(dataset: Any, label: str | None) -> list[str] | None:
    """Return the class names that a data set gives; None if it gives none."""
    names = None
    for owner in (dataset, getattr(dataset, "dataset", None)):  # of a torch Subset
        names = names or getattr(owner, "classes", None)
    if names is None and label is not None:
        features = getattr(dataset, "features", None)
        feature = features.get(label) if isinstance(features, Mapping) else None
        names = getattr(feature, "names", None)
    is_list = isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)
    return list(names) if names and is_list else None


class _ItemReader:
    """Reads the items of data sets, all to one size.

    Attributes:
        label: the key of the labels, if items are dicts.
        sizes: the number of images of each width and height.
    """

    def __init__(self, size: int, image: str | None, label: str | None) -> None:
        self._size, self._must_fit = size, size == 0
        self._image, self.label = image, label
        self.sizes: dict[tuple[int, int], int] = {}
        self._rounded = 0

    def read(self, dataset: Any, part: str) -> tuple[Pixels, npt.NDArray[np.int64]]:
        """Return the images, uint8 (N, S, S, 3), and the labels, int64 (N,)."""
        try:
            count = len(dataset)
        except Exception:  # a data set of one's own may raise anything
            count = -1
        if count < 0 or not hasattr(dataset, "__getitem__"):
            raise UsageError(
                f"the {part} set is of type {type(dataset).__name__}; it must have a length and "
                "items by index, as a torch Dataset"
            )
        if count == 0:
            raise UsageError(f"the {part} set is empty")
        labels = np.zeros(count, np.int64)
        images = np.empty((0, 0, 0, 3), np.uint8)
        for number in range(count):
            name = f"{part}[{number}]"
            picture, labels[number] = self._item(dataset, number, name)
            if number < READ_TWICE:
                again, label = self._item(dataset, number, name)
                if label != labels[number] or not np.array_equal(picture, again):
                    raise UsageError(
                        f"{name} differs from call to call; leave out random transforms (actbench "
                        "augments the training images itself)"
                    )
            if number == 0:
                self._size = self._size or own_size([(picture.shape[1], picture.shape[0])])
                self._check_size(picture, name)
                images = scratch_images(count, self._size)
            images[number] = self._fitted(picture, name)
        if labels.min() < 0:
            raise UsageError(
                f"{part}[{labels.argmin()}] has the label {labels.min()}; labels must be from 0"
            )
        return images, labels

    def notes(self) -> list[str]:
        """Return what was done to the images, a sentence each."""
        notes = resizing_notes(self.sizes, self._size)
        if self._rounded:
            total = sum(self.sizes.values())
            notes.append(f"the floats of {self._rounded} of {total} images were rounded to 8 bits")
        return notes

    def _check_size(self, picture: Pixels, name: str) -> None:
        if self._must_fit and picture.shape[:2] != (self._size, self._size):
            found = f"{name} is {picture.shape[1]}×{picture.shape[0]} pixels"
            if self._size:
                found += f", where others are {self._size}×{self._size}"
            raise needs_image_size(found)

    def _fitted(self, picture: Pixels, name: str) -> Pixels:
        from PIL import Image

        self._check_size(picture, name)
        size = (picture.shape[1], picture.shape[0])
        self.sizes[size] = self.sizes.get(size, 0) + 1
        if size == (self._size, self._size):
            return picture
        return resized(Image.fromarray(picture), self._size)

    def _item(self, dataset: Any, number: int, name: str) -> tuple[Pixels, int]:
        try:
            item = dataset[number]
        except Exception as error:  # a data set of one's own may raise anything
            raise UsageError(f"{name} cannot be read: {message_of(error)}") from None
        if isinstance(item, Mapping):
            self._image = self._image or _column(item, IMAGE_COLUMNS, "image", name)
            self.label = self.label or _column(item, LABEL_COLUMNS, "label", name)
            for key in (self._image, self.label):
                if key not in item:
                    raise UsageError(f"{name} has no {key!r}; it has {', '.join(map(str, item))}")
            value, label = item[self._image], item[self.label]
        elif isinstance(item, (tuple, list)) and len(item) == 2:
            value, label = item
        else:
            raise UsageError(
                f"{name} is of type {type(item).__name__}; it must be a pair of image and label, "
                "or a dict"
            )
        try:
            return self._pixels(value, name), int(np.int64(operator.index(label)))
        except (TypeError, OverflowError):
            raise UsageError(
                f"the label of {name} is {label!r:.40}; it must be an integer from 0"
            ) from None

    def _pixels(self, value: Any, name: str) -> Pixels:
        """Return an item's image as uint8 (H, W, 3)."""
        from PIL import Image

        if isinstance(value, Image.Image):
            try:
                return np.array(as_rgb(value, 16 if value.mode.startswith("I;16") else 0))
            except UsageError as error:
                raise UsageError(f"{name}: {error}") from None
        try:
            array = np.asarray(value)
        except Exception as error:  # what claims to be an array may raise anything
            raise UsageError(f"{name} cannot be read as an array: {message_of(error)}") from None
        if array.ndim not in (2, 3):
            raise UsageError(
                f"the image of {name} is {type(value).__name__} of shape {array.shape}; it must be "
                "a PIL image, or an array (H, W), (H, W, C) or (C, H, W)"
            )
        levels, rounded = as_rgb_levels(array[None], name, _empty)
        self._rounded += rounded
        pixels: Pixels = levels[0]
        return pixels


def _empty(count: int, height: int, width: int) -> Pixels:
    return np.empty((count, height, width, 3), np.uint8)


def _column(item: Mapping[str, Any], known: Sequence[str], what: str, name: str) -> str:
    found = [key for key in known if key in item]
    if len(found) != 1:
        raise UsageError(f"{name} has {', '.join(map(str, item))}; name the {what} with {what}=…")
    return found[0]
