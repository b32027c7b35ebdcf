"""Data sets as uint8 arrays, kept in a cache that all processes map; and their batches."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from actbench.datasets import DATASETS, SIZE, cache_folder, check_apart
from actbench.errors import UsageError, did_you_mean
from actbench.files import map_array
from actbench.plain import from_plain, parse_json
from actbench.study import seed_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actbench.study import Study

CACHE_FORMAT = 2
VALIDATION_SHARE = 0.1
_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass(frozen=True)
class ImageData:
    """A data set in memory.

    Images are uint8 of shape (N, 32, 32, 3), height × width × colour; labels are int64 of shape
    (N,), each the index of its name in ``classes``. ``flip`` says whether a left-right mirrored
    image keeps its label. ``checksum`` is the SHA-256 of all images and labels. ``notes`` has a
    sentence for each thing that was done to the images or is suspect in them.
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
        """Return the same data in a device's memory; as it is where it lies there already."""
        return replace(self, **{name: getattr(self, name).to(device) for name in _ARRAYS})

    def train_subset(self, count: int) -> ImageData:
        """Return the same data with the first ``count`` training images alone (0: all of them).

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
        """How many training images are held out while learning rates are chosen: a tenth."""
        return max(1, round(VALIDATION_SHARE * len(self.train_images)))

    def validation_split(self, count: int) -> ImageData:
        """Return the same data with ``count`` training images in the place of the test images.

        They are drawn at random, the same for everyone, and are not trained on; the real test
        images are gone. The checksum says so. 0 returns the data as it is.

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
    """Return the cache folder that holds a data set as arrays, made now if it is not there yet.

    Args:
        dataset: ``digits``, ``cifar10``, ``cifar100``, ``svhn``, ``mnist``, ``fashion_mnist`` or
            ``imagefolder``.
        data_dir: where its files are or shall be downloaded to; a folder with ``train/<class>/``
            and ``test/<class>/`` for ``imagefolder``.

    Raises:
        UsageError: the name is unknown, or the data cannot be found, downloaded or read.
    """
    if dataset not in DATASETS:
        raise UsageError(f"unknown dataset {dataset!r}{did_you_mean(dataset, DATASETS)}")
    check_apart(cache_folder(), dataset, data_dir)
    find, _ = DATASETS[dataset]
    source = find(dataset, data_dir)
    folder = _folder_of(dataset, source.fingerprint())
    if not _is_whole(folder):
        content = source.read()
        # reading may have downloaded the files, so their fingerprint is taken again
        folder = _folder_of(dataset, source.fingerprint())
        write_arrays(folder, content)
    return folder


def _folder_of(dataset: str, fingerprint: str) -> Path:
    digest = hashlib.sha256(f"{CACHE_FORMAT} {fingerprint}".encode()).hexdigest()
    return cache_folder() / "data" / f"{dataset}-{digest[:16]}"


@dataclass(frozen=True)
class _About:
    """What ``about.json`` says of the arrays beside it."""

    classes: tuple[str, ...]
    flip: bool
    checksum: str
    notes: tuple[str, ...]


def _read_about(folder: Path) -> _About:
    return from_plain(_About, parse_json((folder / "about.json").read_text(encoding="utf-8")))


def open_images(folder: Path) -> ImageData:
    """Return the data of a folder that ``prepare`` gave, mapped from its files."""
    about = _read_about(folder)
    arrays = {
        name: torch.from_numpy(map_array(folder / f"{name}.npy"))  # writable, as torch wants it
        for name in _ARRAYS
    }
    return ImageData(
        **arrays,
        classes=about.classes,
        flip=about.flip,
        checksum=about.checksum,
        notes=about.notes,
    )


def study_images(folder: Path, study: Study) -> ImageData:
    """Return the images that a study trains and tests on, from a folder that ``prepare`` gave.

    Raises:
        UsageError: there are too few training images for it.
    """
    data = open_images(folder).train_subset(study.train_images)
    return data.validation_split(study.validation_images)


def _is_whole(folder: Path) -> bool:
    try:
        about = _read_about(folder)
        arrays = {name: map_array(folder / f"{name}.npy") for name in _ARRAYS}
    except (OSError, ValueError):
        return False
    fit = all(
        _fits(arrays[f"{part}_images"], arrays[f"{part}_labels"], len(about.classes))
        for part in ("train", "test")
    )
    return fit and about.checksum == _checksum(arrays)


def _fits(images: Any, labels: Any, classes: int) -> bool:
    return bool(
        images.dtype == np.uint8
        and labels.dtype == np.int64
        and images.shape == (len(images), SIZE, SIZE, 3)
        and labels.shape == (len(images),)
        and len(images) > 0
        and labels.min() >= 0
        and labels.max() < classes
    )


def _checksum(arrays: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for name in _ARRAYS:
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.data)
    return f"sha256:{digest.hexdigest()}"


def write_arrays(folder: Path, content: dict[str, Any]) -> None:
    """Write a data set to a folder for ``open_images``.

    Args:
        folder: is replaced, if it is there.
        content: ``ImageData``'s images and labels as arrays, ``classes`` and ``flip``; ``notes``
            if there are some.

    Raises:
        UsageError: it cannot be written, or all training images are the same.
    """
    arrays = {name: content[name] for name in _ARRAYS}
    classes = list(content["classes"])
    about = {
        "classes": classes,
        "flip": content["flip"],
        "checksum": _checksum(arrays),
        "notes": [*content.get("notes", ()), *_suspect_images(arrays, classes)],
    }
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as making:
            for name, array in arrays.items():
                np.save(Path(making) / f"{name}.npy", array)
            (Path(making) / "about.json").write_text(json.dumps(about), encoding="utf-8")
            if folder.exists():
                shutil.rmtree(folder)
            # another process may have put the same content there since: then its copy serves
            with contextlib.suppress(OSError):
                Path(making).rename(folder)
                Path(making).mkdir()
    except OSError as error:
        reason = error.strerror or str(error)  # NumPy's own error for a full disk has no strerror
        raise UsageError(f"cannot write the data cache {str(folder)!r}: {reason}") from None
    if not folder.exists():
        raise UsageError(f"cannot write the data cache {str(folder)!r}")


def _suspect_images(arrays: dict[str, Any], classes: list[str]) -> list[str]:
    """Return a sentence for each sign that the images do not show what the labels say.

    Raises:
        UsageError: all training images are the same.
    """
    labels_of: dict[bytes, set[int]] = {}
    constant, count = 0, 0
    for part in ("train", "test"):
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        count += len(images)
        for image, label in zip(images, labels.tolist(), strict=True):
            labels_of.setdefault(hashlib.sha256(image.tobytes()).digest(), set()).add(label)
            constant += bool((image == image[0, 0]).all())
        if part == "train" and len(labels_of) == 1:
            raise UsageError(
                f"all {count} training images are the same picture once read as {SIZE}×{SIZE} "
                "pixels; there is nothing to learn"
            )
    notes = []
    shared = [sorted(labels) for labels in labels_of.values() if len(labels) > 1]
    if shared:
        first, second = (classes[label] for label in shared[0][:2])
        pictures = "picture is" if len(shared) == 1 else "pictures are"
        notes.append(
            f"{len(shared)} {pictures} in more than one class, pixel by pixel, such as in "
            f"{first!r} and {second!r}"
        )
    if constant:
        notes.append(f"{constant} of {count} images are of one colour all over")
    return notes


def batches(
    data: ImageData, batch_size: int, seed: int, epoch: int, *, flip: bool
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield an epoch's training batches (see ``take``); the last one is what remains."""
    order, mirrored = epoch_order(len(data.train_images), seed, epoch)
    for start in range(0, len(order), batch_size):
        part = slice(start, start + batch_size)
        yield take(data, order[part], mirrored[part] if flip else None)


def epoch_order(count: int, seed: int, epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the order of an epoch's images, int64 (N,), and which to mirror in it, bool (N,).

    Both belong to the seed and the epoch alone. Each image comes once.
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
        mirrored: which of them to mirror, bool (B,); none where it is None.
    """
    images = data.train_images.index_select(0, index)  # whole images, unlike [index]
    if mirrored is not None:
        both = torch.stack([images, images.flip(2)]).flatten(0, 1)
        places = torch.arange(len(index), device=index.device)
        images = both.index_select(0, places + len(index) * mirrored)
    return normalise(images), data.train_labels.index_select(0, index)


def _generator(*context: str | int) -> torch.Generator:
    return torch.Generator().manual_seed(seed_for(*context))


def normalise(images: torch.Tensor) -> torch.Tensor:
    """Return uint8 images (N, 32, 32, 3) as float32 in [−1, 1], (N, 3, 32, 32) channels_last.

    That is x / 255, then mean 0.5 and standard deviation 0.5 per channel.
    """
    return images.permute(0, 3, 1, 2).to(torch.float32).mul_(2 / 255).sub_(1)
