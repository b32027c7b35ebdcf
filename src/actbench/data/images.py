"""Data sets as uint8 tensors, mapped from a cache that processes share."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from actbench.data.array_files import STORED
from actbench.data.datasets import find_source
from actbench.data.folders import check_apart
from actbench.data.suspects import suspect_images
from actbench.errors import UnavailableError, UsageError
from actbench.files.cache import cache_folder, checksum, data_path, read_tensors, store_tensors
from actbench.study.fields import MAX_IMAGE_SIZE, MIN_IMAGE_SIZE
from actbench.study.plain import from_plain
from actbench.study.study import seed_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from actbench.study.study import Study

VALIDATION_SHARE = 0.1
_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass(frozen=True)
class ImageData:
    """A data set in memory.

    Images are uint8 of shape (N, S, S, 3), height × width × colour, S from 28 to 256; labels are
    int64 of shape (N,), indices in ``classes``. ``flip`` is whether a left-right mirrored image
    keeps its label. ``checksum`` is the SHA-256 of all images and labels. ``notes`` are sentences
    on how the images were changed and what is suspect in them. ``own_size`` is the S that the data
    has without ``image_size``; 0 if it has none.
    """

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor
    classes: tuple[str, ...]
    flip: bool
    checksum: str
    notes: tuple[str, ...] = ()
    own_size: int = 0

    @property
    def image_size(self) -> int:
        """The height and width of the images, S."""
        return self.train_images.shape[1]

    def to(self, device: str) -> ImageData:
        """Return the same data in a device's memory, without a copy if it is there already."""
        return replace(self, **{name: getattr(self, name).to(device) for name in _ARRAYS})

    def train_subset(self, count: int) -> ImageData:
        """Return the same data with only the first ``count`` training images (0: all of them).

        Raises:
            UsageError: there are fewer.
        """
        if count > len(self.train_images):
            raise UsageError(
                f"train_images is {count}; the data has {len(self.train_images)} training images"
            )
        if count == 0:
            return self
        images, labels = self.train_images[:count], self.train_labels[:count]
        return replace(self, train_images=images, train_labels=labels)

    @property
    def tuning_images(self) -> int:
        """The number of training images held out while learning rates are chosen: a tenth."""
        return max(1, round(VALIDATION_SHARE * len(self.train_images)))

    def validation_split(self, count: int) -> ImageData:
        """Return the same data with ``count`` training images instead of the test images.

        They are drawn at random, the same for every seed, and removed from the training images. The
        checksum includes this. 0 returns the data unchanged.

        Raises:
            UsageError: no training image would be left.
        """
        if count == 0:
            return self
        if count >= len(self.train_images):
            raise UsageError(
                f"validation_images is {count}; there are {len(self.train_images)} training images"
            )
        order = torch.randperm(len(self.train_images), generator=_generator("validation part"))
        held_out, rest = order[:count].sort().values, order[count:].sort().values
        return replace(
            self,
            train_images=self.train_images[rest],
            train_labels=self.train_labels[rest],
            test_images=self.train_images[held_out],
            test_labels=self.train_labels[held_out],
            checksum=f"{self.checksum} validation {count} of {len(self.train_images)}",
        )


def prepare(
    dataset: str,
    data_dir: str = "",
    image_size: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, count: None,
) -> Path:
    """Return the cached file of a data set's arrays, which is made if it is missing.

    Args:
        dataset: a data set's spec; see ``DATASETS``.
        data_dir: the folder or file of its images, or the folder to download them to.
        image_size: the side to which images are resized, from 28 to 256; 0 is the data's own.
        on_progress: called when images are about to be read, with zeros, and with the number of
            those that are read and of all.

    Raises:
        UsageError: the name is unknown, or the data cannot be found, downloaded or read, or has no
            size of its own and ``image_size`` is 0.
    """
    check_apart(cache_folder(), dataset, data_dir)
    source = find_source(dataset, data_dir)
    size = 0 if image_size == source.own_size else image_size
    if source.fingerprint is None:
        on_progress(0, 0)
        return store_content(source.read(size, on_progress))[0]
    name = dataset.partition(":")[0]
    path = data_path(name, source.fingerprint(), size)
    if _read(path, check=True) is None:
        on_progress(0, 0)
        content = source.read(size, on_progress)
        # reading may have downloaded the files, which changes the fingerprint
        path = data_path(name, source.fingerprint(), size)
        write_arrays(path, content)
    return path


def store_content(content: dict[str, Any]) -> tuple[Path, str]:
    """Return the cached file of the content of a ``Source``, and the digest that identifies it.

    ``arrays:<digest>`` is a data set's spec (see ``stored_arrays``). Nothing is written if the file
    exists.

    Raises:
        UnavailableError: it cannot be written.
        UsageError: all training images are the same.
    """
    content = content | {name: np.ascontiguousarray(content[name]) for name in _ARRAYS}
    found = checksum({name: torch.from_numpy(content[name]) for name in _ARRAYS})
    about = [list(content["classes"]), list(content["notes"]), content["own_size"]]
    decides = json.dumps([found, content["flip"], *about])
    digest = f"sha256-{hashlib.sha256(decides.encode()).hexdigest()[:16]}"
    path = data_path(STORED, digest)
    if _read(path, check=True) is None:
        write_arrays(path, content)
    return path, digest


@dataclass(frozen=True)
class _About:
    """The values stored with the arrays of a data set."""

    classes: tuple[str, ...]
    flip: bool
    notes: tuple[str, ...]
    names: tuple[str, ...]
    checksum: str
    own_size: int = 0


def _read(path: Path, *, check: bool) -> ImageData | None:
    """Return the data of a file, mapped from it; None if it is missing or damaged."""
    found = read_tensors(path, check=check)
    if found is None:
        return None
    tensors, values = found
    try:
        about = from_plain(_About, values)
        for part in ("train", "test"):
            images, labels = tensors[f"{part}_images"], tensors[f"{part}_labels"]
            _check_shapes(images, labels, tensors["train_images"].shape[1], len(about.classes))
    except (ValueError, KeyError):
        return None
    return ImageData(
        **tensors,
        classes=about.classes,
        flip=about.flip,
        checksum=about.checksum,
        notes=about.notes,
        own_size=about.own_size,
    )


def _check_shapes(images: torch.Tensor, labels: torch.Tensor, size: int, classes: int) -> None:
    if (
        (images.dtype, labels.dtype) != (torch.uint8, torch.int64)
        or images.shape != (len(images), size, size, 3)
        or not MIN_IMAGE_SIZE <= size <= MAX_IMAGE_SIZE
        or labels.shape != (len(images),)
        or len(images) == 0
        or labels.min() < 0
        or labels.max() >= classes
    ):
        raise ValueError("not images and labels")


def open_images(path: Path) -> ImageData:
    """Return the data of a file that ``prepare`` gave, mapped from it.

    Raises:
        UnavailableError: the file is missing or damaged.
    """
    data = _read(path, check=False)
    if data is None:
        raise UnavailableError(f"the cached data {str(path)!r} is gone or damaged")
    return data


def study_images(path: Path, study: Study) -> ImageData:
    """Return the images that a study trains and tests on.

    Args:
        path: the file that ``prepare`` gave; if it is missing or damaged, the data is prepared
            again.
        study: its data set and which of its images are used.

    Raises:
        UsageError: there are too few training images for it.
        UnavailableError: the data cannot be prepared again, or has changed.
    """
    try:
        data = open_images(path)
    except UnavailableError as error:
        try:
            data = open_images(prepare(study.dataset, study.data_dir, study.image_size))
        except UsageError as reason:
            raise UnavailableError(f"{error}, and cannot be prepared again: {reason}") from None
        if study.data_checksum not in ("", data.checksum):
            raise UnavailableError(
                f"{error}, and the data has changed since: its checksum is {data.checksum}, "
                f"and the study was made with {study.data_checksum}"
            ) from None
    return data.train_subset(study.train_images).validation_split(study.validation_images)


def write_arrays(path: Path, content: dict[str, Any]) -> None:
    """Write a data set to a file for ``open_images``.

    Args:
        path: the file, which is replaced if it exists.
        content: ``ImageData``'s images and labels as arrays, ``classes``, ``flip`` and optionally
            ``notes`` and ``own_size``.

    Raises:
        UnavailableError: it cannot be written.
        UsageError: all training images are the same.
    """
    classes = list(content["classes"])
    notes = [*content.get("notes", ()), *suspect_images(content, classes)]
    tensors = {name: torch.from_numpy(np.ascontiguousarray(content[name])) for name in _ARRAYS}
    size = content.get("own_size", 0)
    store_tensors(path, tensors, classes=classes, flip=content["flip"], notes=notes, own_size=size)


def _generator(*context: str | int) -> torch.Generator:
    return torch.Generator().manual_seed(seed_for(*context))


def normalise(images: torch.Tensor) -> torch.Tensor:
    """Return uint8 images (N, H, W, 3) as float32 in [−1, 1], (N, 3, H, W) channels_last.

    That is x / 255, then mean 0.5 and standard deviation 0.5 per channel.
    """
    return images.permute(0, 3, 1, 2).to(torch.float32).mul_(2 / 255).sub_(1)
