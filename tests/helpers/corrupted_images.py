"""For comparing corruptions with the reference: synthetic photographs under both."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch

from actbench.corruptions.specs import SUITES, resolve
from helpers.corruptions_reference import REFERENCE

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The reference draws in its own order; it never draws; it draws as actbench for a batch of one.
NOISES = SUITES["noise"]
DETERMINISTIC = (
    "gaussian_blur",
    "defocus_blur",
    "zoom_blur",
    "contrast",
    "brightness",
    "saturate",
    "jpeg_compression",
    "pixelate",
)
DRAWN = ("glass_blur", "motion_blur", "fog", "snow", "spatter", "elastic_transform")


@lru_cache(maxsize=8)
def natural_images(count: int, seed: int, size: int = 32) -> NDArray[np.uint8]:
    """Return images with the statistics of photographs: 1/f noise in correlated colours, and discs.

    uint8 of shape (count, size, size, 3).
    """
    draws = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    frequency[0, 0] = 1 / size
    white = draws.normal(size=(2, count, 3, *frequency.shape))
    light_and_hues = np.fft.irfft2((white[0] + 1j * white[1]) / frequency, s=(size, size))
    to_colour = np.array([[1, 0.3, 0.2], [1, 0, -0.3], [1, -0.3, 0.2]])
    images = np.einsum("ij,njhw->nhwi", to_colour, light_and_hues)
    images /= images.std(axis=(1, 2, 3), keepdims=True)
    spread, level = draws.uniform([[0.08], [0.25]], [[0.28], [0.65]], size=(2, count))
    images = images * spread[:, None, None, None] + level[:, None, None, None]
    rows, columns = np.mgrid[:size, :size]
    for _ in range(2):
        middle = draws.uniform(0, size, size=(2, count, 1, 1))
        radius = draws.uniform(size * 3 / 32, size * 10 / 32, size=(count, 1, 1))
        inside = np.hypot(rows - middle[0], columns - middle[1]) < radius
        colour = draws.random((count, 1, 1, 3))
        images = np.where(inside[..., None], 0.3 * images + 0.7 * colour, images)
    levels = (np.clip(images, 0, 1) * 255).astype(np.uint8)
    levels.flags.writeable = False  # they are shared
    return levels


def mean_squared_change(corrupted: NDArray[np.uint8], images: NDArray[np.uint8]) -> float:
    return float(((corrupted.astype(float) - images) ** 2).mean())


def reference_images(
    name: str, images: NDArray[np.uint8], severity: int, *, seeds: range
) -> NDArray[np.uint8]:
    """Return the reference's images, each drawn from a generator with its own seed."""
    return np.stack(
        [
            REFERENCE[name](image, severity, torch.Generator().manual_seed(seed))
            for image, seed in zip(images, seeds, strict=True)
        ]
    )


def corrupt_with(
    name: str, images: NDArray[np.uint8], severity: int, seed: int
) -> NDArray[np.uint8]:
    """Return a batch under one corruption, drawn from a generator with the given seed."""
    clean = torch.tensor(images).permute(0, 3, 1, 2).float() / 255
    corrupted = resolve(name, severity).apply(clean, torch.Generator().manual_seed(seed))
    return (corrupted * 255).byte().permute(0, 2, 3, 1).numpy()
