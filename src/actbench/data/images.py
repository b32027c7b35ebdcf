"""Data sets as uint8 tensors, mapped from a cache that processes share; and their batches."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from actbench.data.cache import TENSORS, cache_folder, cache_path, read_tensors, store_tensors
from actbench.data.datasets import DATASETS
from actbench.data.folders import check_apart
from actbench.data.reading import SIZE
from actbench.errors import UnavailableError, UsageError
from actbench.study.plain import from_plain
from actbench.study.study import seed_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from actbench.study.study import Study

VALIDATION_SHARE = 0.1
_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass(frozen=True)
class ImageData:
    """A data set in memory.

    Images are uint8 of shape (N, 32, 32, 3), height × width × colour; labels are int64 of shape
    (N,), indices in ``classes``. ``flip`` is whether a left-right mirrored image keeps its label.
    ``checksum`` is the SHA-256 of all images and labels. ``notes`` are sentences on how the images
    were changed and what is suspect in them.
    """

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor
    classes: tuple[str, ...]
    flip: bool
    checksum: str
    notes: tuple[str, ...] = ()

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


def prepare(dataset: str, data_dir: str = "") -> Path:
    """Return the cached file of a data set's arrays, which is made if it is missing.

    Args:
        dataset: ``digits``, ``cifar10``, ``cifar100``, ``svhn``, ``mnist``, ``fashion_mnist`` or
            ``imagefolder``.
        data_dir: the folder of its files, or to download them to; for ``imagefolder`` a folder with
            ``train/<class>/`` and ``test/<class>/``.

    Raises:
        UsageError: the name is unknown, or the data cannot be found, downloaded or read.
    """
    check_apart(cache_folder(), dataset, data_dir)
    find = DATASETS[dataset].target
    source = find(dataset, data_dir)
    path = _path_of(dataset, source.fingerprint())
    if _read(path, check=True) is None:
        content = source.read()
        # reading may have downloaded the files, which changes the fingerprint
        path = _path_of(dataset, source.fingerprint())
        write_arrays(path, content)
    return path


def _path_of(dataset: str, fingerprint: str) -> Path:
    return cache_path("data", f"{dataset}{TENSORS}", fingerprint)


@dataclass(frozen=True)
class _About:
    """The values stored with the arrays of a data set."""

    classes: tuple[str, ...]
    flip: bool
    notes: tuple[str, ...]
    names: tuple[str, ...]
    checksum: str


def _read(path: Path, *, check: bool) -> ImageData | None:
    """Return the data of a file, mapped from it; None if it is missing or damaged."""
    found = read_tensors(path, check=check)
    if found is None:
        return None
    tensors, values = found
    try:
        about = from_plain(_About, values)
        for part in ("train", "test"):
            _check_shapes(tensors[f"{part}_images"], tensors[f"{part}_labels"], len(about.classes))
    except (ValueError, KeyError):
        return None
    return ImageData(
        **tensors,
        classes=about.classes,
        flip=about.flip,
        checksum=about.checksum,
        notes=about.notes,
    )


def _check_shapes(images: torch.Tensor, labels: torch.Tensor, classes: int) -> None:
    if (
        (images.dtype, labels.dtype) != (torch.uint8, torch.int64)
        or images.shape != (len(images), SIZE, SIZE, 3)
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
            data = open_images(prepare(study.dataset, study.data_dir))
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
            ``notes``.

    Raises:
        UnavailableError: it cannot be written.
        UsageError: all training images are the same.
    """
    classes = list(content["classes"])
    notes = [*content.get("notes", ()), *_suspect_images(content, classes)]
    tensors = {name: torch.from_numpy(np.ascontiguousarray(content[name])) for name in _ARRAYS}
    store_tensors(path, tensors, classes=classes, flip=content["flip"], notes=notes)


def _suspect_images(arrays: dict[str, Any], classes: list[str]) -> list[str]:
    """Return a sentence for each sign that images and labels do not match.

    Raises:
        UsageError: all training images are the same.
    """
    labels_of: dict[bytes, set[int]] = {}
    constant, count, seen_in_training = 0, 0, 0
    training: set[bytes] = set()
    for part in ("train", "test"):
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        count += len(images)
        for image, label in zip(images, labels.tolist(), strict=True):
            digest = hashlib.sha256(image.tobytes()).digest()
            labels_of.setdefault(digest, set()).add(label)
            seen_in_training += digest in training
            constant += bool((image == image[0, 0]).all())
        if part == "train" and len(labels_of) == 1:
            raise UsageError(
                f"all {count} training images are the same picture when read as {SIZE}×{SIZE} "
                "pixels; there is nothing to learn"
            )
        if part == "train":
            training = set(labels_of)
    notes = []
    shared = [sorted(labels) for labels in labels_of.values() if len(labels) > 1]
    if shared:
        first, second = (classes[label] for label in shared[0][:2])
        pictures = "picture is" if len(shared) == 1 else "pictures are"
        notes.append(
            f"{len(shared)} {pictures} in more than one class, pixel by pixel, such as in "
            f"{first!r} and {second!r}"
        )
    if seen_in_training:
        notes.append(
            f"{seen_in_training} of {len(arrays['test_images'])} test images are identical to "
            "training images, pixel by pixel"
        )
    if constant:
        notes.append(f"{constant} of {count} images have only one colour")
    return notes


def batches(
    data: ImageData, batch_size: int, seed: int, epoch: int, *, flip: bool
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield an epoch's training batches (see ``take``); the last one may be smaller."""
    order, mirrored = epoch_order(len(data.train_images), seed, epoch)
    for start in range(0, len(order), batch_size):
        part = slice(start, start + batch_size)
        yield take(data, order[part], mirrored[part] if flip else None)


def epoch_order(count: int, seed: int, epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the order of an epoch's images, int64 (N,), and which of them to mirror, bool (N,).

    Both depend only on the seed and the epoch. The order has each image once.
    """
    order = torch.randperm(count, generator=_generator("batch order", seed, epoch))
    return order, torch.rand(count, generator=_generator("flip", seed, epoch)) < 0.5


def take(
    data: ImageData, index: torch.Tensor, mirrored: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return training images, normalised (B, 3, 32, 32), and their labels (B,).

    Args:
        data: the images, on the device where the index is.
        index: which, int64 (B,).
        mirrored: which of them to mirror, bool (B,); None for none.
    """
    # index_select copies images as blocks, which is faster than [index]
    images = data.train_images.index_select(0, index)
    if mirrored is not None:
        both = torch.stack([images, images.flip(2)]).flatten(0, 1)
        rows = torch.arange(len(index), device=index.device)
        images = both.index_select(0, rows + len(index) * mirrored)
    return normalise(images), data.train_labels.index_select(0, index)


def _generator(*context: str | int) -> torch.Generator:
    return torch.Generator().manual_seed(seed_for(*context))


def normalise(images: torch.Tensor) -> torch.Tensor:
    """Return uint8 images (N, 32, 32, 3) as float32 in [−1, 1], (N, 3, 32, 32) channels_last.

    That is x / 255, then mean 0.5 and standard deviation 0.5 per channel.
    """
    return images.permute(0, 3, 1, 2).to(torch.float32).mul_(2 / 255).sub_(1)
