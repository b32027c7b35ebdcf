"""Synthetic images of CIFAR-10's shape from a fixed seed, so that benchmarks need no download."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

CLASSES = 10
TRAIN_IMAGES = 50_000
TEST_IMAGES = 10_000


def synthetic_images(count: int, seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return uint8 images (count, 32, 32, 3) and int64 labels (count,) of ten classes.

    An image is the pattern of its class, the same for every seed, plus noise. Three labels in ten
    are drawn at random: the loss then stays as far from 0 as on photographs.
    """
    patterns = np.random.default_rng(0).integers(0, 64, (CLASSES, 32, 32, 3), np.uint8)
    draw = np.random.default_rng([1, seed])
    shown = draw.integers(0, CLASSES, count)
    images = patterns[shown] + draw.integers(0, 192, (count, 32, 32, 3), np.uint8)
    labels = np.where(draw.random(count) < 0.3, draw.integers(0, CLASSES, count), shown)
    return images, labels


def write_image_folder(folder: Path, train_images: int, test_images: int) -> None:
    """Write synthetic images as ``train/<class>/*.bmp`` and ``test/<class>/*.bmp``."""
    for seed, (part, count) in enumerate({"train": train_images, "test": test_images}.items()):
        for label in range(CLASSES):
            (folder / part / str(label)).mkdir(parents=True)
        images, labels = synthetic_images(count, seed)
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            Image.fromarray(image).save(folder / part / str(label) / f"{number:05}.bmp")
