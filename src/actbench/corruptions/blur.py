"""Blurs, and the parts of them that the weather corruptions use.

Images and results are float32 (N, 3, H, W) in [0, 1].
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from scipy import fft, ndimage, sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Generator, Tensor

WIDE = 32  # pixels on each side of a smoothing kernel, from which transforms are faster


def gaussian_blur(images: Tensor, _generator: Generator, *, sigma: float) -> Tensor:
    """Return x smoothed by a Gaussian of standard deviation σ."""
    return smooth(images, sigma).clamp_(0, 1)


def smooth(
    images: Tensor,
    sigma: float,
    mode: Literal["nearest", "reflect"] = "nearest",
    truncate: float = 4,
) -> Tensor:
    """Return images of shape (…, H, W) smoothed by a Gaussian cut at ``truncate`` deviations.

    ``mode`` is scipy's name of what is beyond the edge; the defaults are scikit-image's.
    """
    if mode == "reflect" and int(truncate * sigma + 0.5) > WIDE:
        return torch.from_numpy(_smooth_by_dct(images.numpy(), sigma, truncate))
    smoothed = ndimage.gaussian_filter(
        images.numpy(), sigma, mode=mode, truncate=truncate, axes=(-2, -1)
    )
    return torch.from_numpy(smoothed)


def _smooth_by_dct(images: NDArray[np.float32], sigma: float, truncate: float) -> Any:
    """Return the same, mirrored with the edge pixel repeated, in a time that σ does not change.

    Such an image goes on as its cosine transform does, which filters by a product.
    """
    radius = int(truncate * sigma + 0.5)
    distances = np.arange(radius + 1)
    weights = np.exp(-(distances**2) / (2 * sigma**2))
    weights[1:] *= 2  # both sides
    weights /= weights.sum()
    found = fft.dctn(images, axes=(-2, -1))
    for axis in (-2, -1):
        size = images.shape[axis]
        angles = np.pi / size * np.outer(np.arange(size), distances)
        response = (np.cos(angles) @ weights).astype(np.float32)
        found *= response[:, None] if axis == -2 else response
    return fft.idctn(found, axes=(-2, -1))


def glass_blur(
    images: Tensor, generator: Generator, *, sigma: float, shift: int, rounds: int
) -> Tensor:
    """Return x smoothed, cut to 8 bits, its pixels displaced in some rounds, and smoothed again.

    A round goes from the last pixel to the first, and replaces each one that is more than ``shift``
    from the top and the left, and at least ``shift`` from the other two sides, by the pixel at an
    offset drawn evenly from −shift, …, shift − 1 in each direction. The paper calls this a shuffle.
    The original code swaps two views of one array, so that one of the two pixels is copied and the
    other value lost. The published files were made this way, so this function does the same.
    """
    glass = smooth(images, sigma).mul_(255).floor_().div_(255)
    channels = images.shape[1]
    for _ in range(rounds):
        source = _glass_sources(images, shift, generator)[:, None].expand(-1, channels, -1)
        glass = glass.flatten(2).gather(2, source).view_as(images)
    return smooth(glass, sigma).clamp_(0, 1)


def _glass_sources(images: Tensor, shift: int, generator: Generator) -> Tensor:
    """Return where each pixel's value comes from in one round, as int64 positions (N, H·W).

    A pixel whose offset leads to a later one, moved before it, has the source of that one.
    """
    count, _, height, width = images.shape
    inside = (max(height - 2 * shift, 0), max(width - 2 * shift, 0))
    draws = torch.randint(2 * shift, (2, count, *inside), generator=generator)
    down, right = shift - 1 - draws
    source = torch.arange(height * width).repeat(count, 1)
    moved = source.view(count, height, width)
    moved[:, shift + 1 : height - shift + 1, shift + 1 : width - shift + 1] += down * width + right
    if shift == 1:  # no offset leads to a later pixel
        return source
    first = source.clone()
    image, position = torch.nonzero(source > torch.arange(height * width), as_tuple=True)
    while len(position):
        before = source[image, position]
        source[image, position] = after = first[image, before]
        later = after > before
        image, position = image[later], position[later]
    return source


def defocus_blur(
    images: Tensor, _generator: Generator, *, radius: float, alias_blur: float
) -> Tensor:
    """Return x averaged over a disk whose rim a small Gaussian softens, mirrored at the edges."""
    kernel = _disk(radius, alias_blur)
    blur = _filter_directly if len(kernel) <= 7 else _filter_by_fft
    return torch.from_numpy(blur(images.numpy(), kernel)).clamp_(0, 1)


def _disk(radius: float, alias_blur: float) -> NDArray[np.float64]:
    """Return the kernel of ``defocus_blur``, square and cut to its values above 0.

    The disk is drawn on 17×17 pixels and softened by 3×3, or above a radius of 8 drawn on as many
    as it needs and softened by 5×5. What would leave this square is mirrored, as in the original.
    """
    reach, rim = (8, 1) if radius <= 8 else (math.ceil(radius), 2)
    squares = np.arange(-reach, reach + 1) ** 2
    disk = (squares + squares[:, None] <= radius**2).astype(np.float64)
    side = np.exp(-(np.arange(-rim, rim + 1) ** 2) / (2 * alias_blur**2))
    kernel: NDArray[np.float64] = ndimage.convolve(
        disk / disk.sum(), np.outer(side, side) / side.sum() ** 2, mode="mirror"
    )
    cut = reach - int(np.abs(np.nonzero(kernel)[0] - reach).max())
    return kernel[cut : len(kernel) - cut, cut : len(kernel) - cut]


def _filter_directly(images: NDArray[np.float32], kernel: NDArray[np.float64]) -> Any:
    return ndimage.correlate(images, kernel[None, None], mode="mirror")


def _filter_by_fft(images: NDArray[np.float32], kernel: NDArray[np.float64]) -> Any:
    """Return the same sums, in time that hardly depends on the kernel's size."""
    reach = len(kernel) // 2
    height, width = images.shape[-2:]
    padded = np.pad(images, ((0, 0), (0, 0), (reach, reach), (reach, reach)), mode="reflect")
    shape = tuple(fft.next_fast_len(size, real=True) for size in padded.shape[-2:])
    # The kernel is symmetric, so that convolving is correlating.
    response = fft.rfft2(kernel.astype(np.float32), shape)
    filtered = fft.irfft2(fft.rfft2(padded, shape) * response, shape)
    corner = slice(2 * reach, 2 * reach + height), slice(2 * reach, 2 * reach + width)
    return np.ascontiguousarray(filtered[..., *corner])


def motion_blur(images: Tensor, generator: Generator, *, radius: int, sigma: float) -> Tensor:
    """Return x smeared leftwards, along an angle drawn for every image within ±45°."""
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


def zoom_blur(images: Tensor, _generator: Generator, *, largest: float, step: float) -> Tensor:
    """Return the mean of x and its enlargements from 1 in steps to less than the largest."""
    factors = tuple(np.arange(1, largest, step).tolist())
    return ((images + enlarge(images, factors)) / (len(factors) + 1)).clamp_(0, 1)


def enlarge(images: Tensor, factors: tuple[float, ...]) -> Tensor:
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
