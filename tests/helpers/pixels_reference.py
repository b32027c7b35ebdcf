"""What several corruptions of the reference share, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float64]


def by_size(image: Pixels, at_32: list[Any], at_64: list[Any], at_224: list[Any]) -> list[Any]:
    side = image.shape[0]
    return at_32 if side < 48 else at_64 if side < 128 else at_224


def cut(values: Plane) -> Pixels:
    """Return values in [0, 1] as 8-bit levels, cut and not rounded."""
    return (np.clip(values, 0, 1) * 255).astype(np.uint8)


def smoothed(values: Plane, sigma: float, beyond_edge: str = "edge", truncate: float = 4) -> Plane:
    """Return values smoothed along the first two axes by a Gaussian cut at ``truncate`` sigmas."""
    radius = int(truncate * sigma + 0.5)
    offsets = range(-radius, radius + 1)
    weights = [np.exp(-(offset**2) / (2 * sigma**2)) if sigma else 1.0 for offset in offsets]
    for axis in (0, 1):
        padding = [(radius, radius) if axis == a else (0, 0) for a in range(values.ndim)]
        padded = np.pad(values, padding, mode=beyond_edge)
        terms = [
            weight * padded.take(range(start, start + values.shape[axis]), axis)
            for start, weight in enumerate(weights)
        ]
        values = sum(terms) / sum(weights)
    return values


def smeared(image: Pixels, radius: int, sigma: float, degrees: float) -> Pixels:
    """Return an image of shape (H, W, …) under ImageMagick's motion blur, in 8 bits."""
    height, width = image.shape[:2]
    angle = np.radians(degrees)
    total, weights = np.zeros(image.shape), 0.0
    for distance in range(2 * radius + 1):
        down = int(np.ceil(distance * np.sin(angle) - 0.5))
        right = int(np.ceil(distance * np.cos(angle) - 0.5))
        rows = np.clip(np.arange(height) + down, 0, height - 1)
        columns = np.clip(np.arange(width) + right, 0, width - 1)
        weight = np.exp(-(distance**2) / (2 * sigma**2))
        total += weight * image[rows][:, columns]
        weights += weight
    # The original sums in 16 bits, rounded, and writes 8 of them, cut.
    return np.floor(np.rint(total / weights * 257) / 257).astype(np.uint8)


def zoomed(values: Plane, factor: float) -> Plane:
    """Return the middle of values enlarged linearly, in the same shape; both sides are equal."""
    size = len(values)
    crop = int(np.ceil(size / factor))
    top = (size - crop) // 2
    factors = (factor, factor, *[1] * (values.ndim - 2))
    large = ndimage.zoom(values[top : top + crop, top : top + crop], factors, order=1)
    trim = (len(large) - size) // 2
    return large[trim : trim + size, trim : trim + size]
