"""What the benchmarks measure: synthetic images of CIFAR-10's shape, and one experiment on them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

CLASSES = 10
TRAIN_IMAGES, TEST_IMAGES, STEPS, SEEDS, BATCH_SIZE = 50_000, 10_000, 100, 100, 64
# everything is only checked to run; a variable, for other processes too
UNTIMED = bool(os.environ.get("ACTBENCH_BENCH_UNTIMED"))
if UNTIMED:
    TRAIN_IMAGES, TEST_IMAGES, STEPS, SEEDS, BATCH_SIZE = 500, 100, 5, 2, 8
# what plain_loop.py trains, as settings of a study; the defaults of a study are others
RECIPE: dict[str, Any] = {
    "batch_size": BATCH_SIZE,
    "optimizer": "sgd:momentum=0.9",
    "learning_rate": 0.01,
    "schedule": "constant",
}
# the experiment for which actbench was written
EXPERIMENT: dict[str, Any] = {
    **RECIPE,
    "activations": ("relu", *(f"leaky_relu:{slope}" for slope in (0.01, 0.05, 0.1, 0.2, 0.3))),
    "epochs": 10,
    "corruptions": ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"),
}


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
