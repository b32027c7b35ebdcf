"""Blurs, and the parts of them that the weather corruptions use.

Arguments and results are float32 (N, 3, H, W) in [0, 1]; constants are CIFAR-10-C's.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from scipy import ndimage, sparse

if TYPE_CHECKING:
    from torch import Generator, Tensor


def gaussian_blur(images: Tensor, severity: int, _generator: Generator) -> Tensor:
    """Return x smoothed by a Gaussian of standard deviation σ."""
    return smooth(images, (0.4, 0.6, 0.7, 0.8, 1)[severity - 1]).clamp_(0, 1)


def smooth(
    images: Tensor,
    sigma: float,
    mode: Literal["nearest", "reflect"] = "nearest",
    truncate: float = 4,
) -> Tensor:
    """Return images of shape (…, H, W) smoothed by a Gaussian cut at ``truncate`` deviations.

    ``mode`` is scipy's name of what is beyond the edge; the defaults are scikit-image's.
    """
    smoothed = ndimage.gaussian_filter(
        images.numpy(), sigma, mode=mode, truncate=truncate, axes=(-2, -1)
    )
    return torch.from_numpy(smoothed)


def glass_blur(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Return x smoothed, cut to 8 bits, its pixels displaced in some rounds, and smoothed again.

    A round replaces each pixel from the third row and column on by itself or its neighbour above,
    left, or above left, each with probability 1/4. The paper calls this a shuffle. The original
    code swaps two views of one array, so that one of the two pixels is copied and the other value
    lost. The published files were made this way, so this function does the same.
    """
    sigma, rounds = ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2))[severity - 1]
    glass = smooth(images, sigma).mul_(255).floor_().div_(255)
    count, channels, height, width = images.shape
    for _ in range(rounds):
        up, left = torch.randint(2, (2, count, height - 2, width - 2), generator=generator)
        source = torch.arange(height * width).repeat(count, 1).view(count, height, width)
        source[:, 2:, 2:] -= up * width + left
        # The original goes from the last pixel to the first, so it never reads one already moved.
        source = source.view(count, 1, -1).expand(-1, channels, -1)
        glass = glass.flatten(2).gather(2, source).view_as(images)
    return smooth(glass, sigma).clamp_(0, 1)


def defocus_blur(images: Tensor, severity: int, _generator: Generator) -> Tensor:
    """Return x averaged over a disk whose rim a 3×3 Gaussian softens, mirrored at the edges."""
    radius, rim_sigma = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))[severity - 1]
    offsets = np.arange(-2, 3)
    disk = (offsets**2 + offsets[:, None] ** 2 <= radius**2).astype(np.float64)
    rim = np.exp(-np.array([1, 0, 1]) / (2 * rim_sigma**2))
    kernel = ndimage.convolve(
        disk / disk.sum(), np.outer(rim, rim) / rim.sum() ** 2, mode="constant"
    )
    blurred = ndimage.correlate(images.numpy(), kernel[None, None], mode="mirror")
    return torch.from_numpy(blurred).clamp_(0, 1)


def motion_blur(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Return x smeared leftwards, along an angle drawn for every image within ±45°."""
    radius, sigma = ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))[severity - 1]
    degrees = torch.rand(len(images), generator=generator) * 90 - 45
    return smear(images, radius, sigma, degrees).clamp_(0, 1)


def smear(images: Tensor, radius: int, sigma: float, degrees: Tensor) -> Tensor:
    """Return each image of (N, C, H, W) averaged along one of N angles, as in ImageMagick.

    That is Σᵢ wᵢ · x[row + dᵢ sin θ, column + dᵢ cos θ] over the distances dᵢ = 0, …, 2 · radius,
    with rows counted downwards, offsets rounded to integer pixels (halves down), the edge pixel
    repeated beyond the edge, and wᵢ half a Gaussian, proportional to exp(−dᵢ² / 2σ²). As in
    ImageMagick the sum has 16 bits, so that a flat image does not change when cut to 8.
    """
    distances = np.arange(2 * radius + 1)
    weights = np.exp(-(distances**2) / (2 * sigma**2))
    weights = (weights / weights.sum()).astype(np.float32)
    angles = np.radians(degrees.numpy().astype(np.float64))[:, None]
    reach = int(distances[-1])
    rows = np.ceil(distances * np.sin(angles) - 0.5).astype(int) + reach
    columns = np.ceil(distances * np.cos(angles) - 0.5).astype(int) + reach

    height, width = images.shape[-2:]
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (reach, reach), (reach, reach)), mode="edge")
    smeared = np.zeros(images.shape, dtype=np.float32)
    term = np.empty(images.shape[1:], dtype=np.float32)
    for source, total, tops, lefts in zip(
        padded, smeared, rows.tolist(), columns.tolist(), strict=True
    ):
        for weight, top, left in zip(weights, tops, lefts, strict=True):
            np.multiply(source[:, top : top + height, left : left + width], weight, out=term)
            total += term
    return torch.from_numpy(smeared).mul_(65535).round_().div_(65535)


def zoom_blur(images: Tensor, severity: int, _generator: Generator) -> Tensor:
    """Return the mean of x and its enlargements from 1 to at most 1.26 in steps of 0.01."""
    largest = (1.06, 1.11, 1.16, 1.21, 1.26)[severity - 1]
    factors = tuple(np.arange(1, largest, 0.01).tolist())
    return ((images + zoom(images, factors)) / (len(factors) + 1)).clamp_(0, 1)


def zoom(images: Tensor, factors: tuple[float, ...]) -> Tensor:
    """Return the sum of images of shape (…, H, W) enlarged linearly about their middle."""
    height, width = images.shape[-2:]
    pixels = images.numpy().reshape(-1, height * width).T
    zoomed = _zoom_operator(height, width, factors) @ np.ascontiguousarray(pixels)
    return torch.from_numpy(np.ascontiguousarray(zoomed.T)).view_as(images)


@lru_cache(maxsize=1)  # a test set is corrupted in many chunks
def _zoom_operator(
    height: int, width: int, factors: tuple[float, ...]
) -> sparse.csr_array[np.float32]:
    """Return the matrix (H·W, H·W) that sums the enlargements of a flattened image.

    Linear enlargement works on rows and columns apart, so one factor's matrix is a Kronecker
    product; all the factors together have few entries in a row, as a pixel moves little.
    """
    total = sparse.csr_array((height * width, height * width), dtype=np.float64)
    for factor in factors:
        rows, columns = _zoom_axis(height, factor), _zoom_axis(width, factor)
        total = total + sparse.kron(rows, columns, format="csr")
    return total.astype(np.float32)


def _zoom_axis(size: int, factor: float) -> sparse.csr_array[np.float64]:
    """Return the matrix (size, size) that enlarges one axis: crop, enlarge with scipy, trim."""
    crop = math.ceil(size / factor)
    top = (size - crop) // 2
    enlarged = ndimage.zoom(np.eye(size)[top : top + crop], (factor, 1), order=1)
    trim = (len(enlarged) - size) // 2
    return sparse.csr_array(enlarged[trim : trim + size])
