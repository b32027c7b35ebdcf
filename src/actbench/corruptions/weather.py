"""Fog, snow and spatter, drawn for every image.

Images and results are float32 (N, 3, H, W) in [0, 1].
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage

from actbench.corruptions.blur import enlarge, smear, smooth

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Generator, Tensor


def fog(images: Tensor, generator: Generator, *, strength: float, decay: float) -> Tensor:
    """Return (x + s · plasma) · m / (m + s), with m the largest value of each image.

    The plasma is the corner of a fractal whose side is the next power of two.
    """
    count, _, height, width = images.shape
    size = 1 << (max(height, width) - 1).bit_length()
    plasma = _plasma(count, size, decay, generator)[:, None, :height, :width]
    peak = images.amax(dim=(1, 2, 3), keepdim=True)
    return ((images + strength * plasma) * peak / (peak + strength)).clamp_(0, 1)


def _plasma(count: int, size: int, decay: float, generator: Generator) -> Tensor:
    """Return plasma fractals of shape (count, size, size), each stretched to [0, 1].

    The diamond-square algorithm on a torus: the middles of squares, then of diamonds, become the
    mean of their four corners plus uniform noise, whose amplitude, 100² at first, is divided by
    decay² each time the squares halve. ``size`` is a power of two.
    """
    heights = torch.zeros(count, size, size)
    step, amplitude = size, 100.0

    def noisy_mean(corner_sum: Tensor) -> Tensor:
        noise = torch.rand(corner_sum.shape, generator=generator) * 2 - 1
        return corner_sum / 4 + noise * amplitude**2

    while step >= 2:
        half = step // 2
        corners = heights[:, ::step, ::step]
        below = corners + corners.roll(-1, 1)
        beside = corners + corners.roll(-1, 2)
        middles = noisy_mean(below + below.roll(-1, 2))
        heights[:, half::step, half::step] = middles
        tops = noisy_mean(middles + middles.roll(1, 1) + beside)
        sides = noisy_mean(middles + middles.roll(1, 2) + below)
        heights[:, ::step, half::step] = tops
        heights[:, half::step, ::step] = sides
        step, amplitude = half, amplitude / decay
    heights -= heights.amin(dim=(1, 2), keepdim=True)
    return heights / heights.amax(dim=(1, 2), keepdim=True)


def snow(
    images: Tensor,
    generator: Generator,
    *,
    mean: float,
    sigma: float,
    zoom: float,
    threshold: float,
    radius: int,
    smear_sigma: float,
    kept: float,
) -> Tensor:
    """Return a whitened x under flakes that fall within 45° of straight down.

    Flakes are Gaussian noise, enlarged, cut below a threshold and smeared (``smear``), then laid on
    once as they are and once turned by 180°. Whitening mixes x with max(x, 1.5 · grey + 0.5).
    """
    count, _, height, width = images.shape
    noise = torch.randn(count, 1, height, width, generator=generator) * sigma + mean
    flakes = enlarge(noise, (zoom,))
    flakes = torch.where(flakes < threshold, 0.0, flakes).clamp_(max=1)
    degrees = torch.rand(count, generator=generator) * 90 - 135
    flakes = _cut_to_8_bits(smear(_cut_to_8_bits(flakes), radius, smear_sigma, degrees))

    red, green, blue = images[:, :1], images[:, 1:2], images[:, 2:]
    grey = red * 0.299 + green * 0.587 + blue * 0.114
    whitened = images * kept + torch.maximum(images, grey * 1.5 + 0.5) * (1 - kept)
    return (whitened + flakes + flakes.rot90(2, dims=(2, 3))).clamp_(0, 1)


def _cut_to_8_bits(images: Tensor) -> Tensor:
    return (images * 255).floor_().div_(255)


def spatter(
    images: Tensor,
    generator: Generator,
    *,
    mean: float,
    sigma: float,
    smoothing: float,
    threshold: float,
    strength: float,
    mud: bool,
) -> Tensor:
    """Return x with drops of water or splashes of mud over it.

    Liquid is smoothed Gaussian noise, cut below a threshold. Water adds pale turquoise in
    proportion to the liquid, in 256 levels, times its relief. Levels above 255 wrap around to 0, as
    they do in the original's conversion to uint8. Mud replaces x by brown where the mask of liquid,
    smoothed by a Gaussian of standard deviation ``strength``, is at least 0.8.
    """
    count, _, height, width = images.shape
    noise = torch.randn(count, height, width, generator=generator) * sigma + mean
    liquid = smooth(noise, smoothing)
    if not mud:
        layer = torch.where(liquid < threshold, 0.0, liquid) * 255
        depth = layer.to(torch.int32).remainder_(256).to(torch.uint8)
        water = depth * torch.from_numpy(_relief(depth.numpy()))
        water = water / water.amax(dim=(1, 2), keepdim=True).clamp_(min=1)
        turquoise = torch.tensor([175, 238, 238]).view(3, 1, 1) / 255
        return (images + water[:, None] * strength * turquoise).clamp_(0, 1)
    cover = smooth((liquid > threshold).float(), strength)[:, None]
    cover = torch.where(cover < 0.8, 0.0, cover)
    brown = torch.tensor([63, 42, 20]).view(3, 1, 1) / 255
    return (images * (1 - cover) + brown * cover).clamp_(0, 1)


_PIXEL, _DIAGONAL, _KNIGHT = 65536, 91750, 143976  # 1, 1.4 and 2.1969 pixels, in 2⁻¹⁶ pixels
_FAR = 2**24


def _relief(depth: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return the relief of water of depths (N, H, W): levels from 0 to 255.

    The distance from the water's edges, at most 20 pixels, is averaged over 3×3 pixels and cut to
    integers; its histogram is equalised, and the result is embossed and averaged. Each step is
    the original's call of OpenCV, in integers, with edges mirrored.
    """
    distance = np.minimum(_edge_distance(_edges(depth)), 20 * _PIXEL)
    levels = _equalise(_box_sum(distance) // (9 * _PIXEL))
    kernel = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
    embossed: NDArray[np.int32] = ndimage.correlate(levels, kernel[None], mode="mirror")
    return (_box_sum(embossed.clip(0, 255)) + 4) // 9


def _box_sum(planes: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the sums over 3×3 pixels of planes (N, H, W)."""
    padded = np.pad(planes, ((0, 0), (1, 1), (1, 1)), mode="reflect")
    columns = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    sums: NDArray[np.int32] = columns[:, :, :-2] + columns[:, :, 1:-1] + columns[:, :, 2:]
    return sums


def _edges(depth: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the Canny edges of planes (N, H, W), thresholds 50 and 150.

    Gradients are Sobel's, their magnitude the sum of both components' absolute values.
    """
    planes = np.pad(depth, ((0, 0), (1, 1), (1, 1)), mode="edge").astype(np.int32)
    down = planes[:, :-2] + 2 * planes[:, 1:-1] + planes[:, 2:]
    along = planes[:, :, :-2] + 2 * planes[:, :, 1:-1] + planes[:, :, 2:]
    horizontal = down[:, :, 2:] - down[:, :, :-2]
    vertical = along[:, 2:] - along[:, :-2]
    magnitude = np.abs(horizontal) + np.abs(vertical)

    # A ridge exceeds its two neighbours along the gradient, whose direction has four sectors.
    candidates = magnitude > 50
    x, y = horizontal[candidates], vertical[candidates]
    slope = np.abs(y) - math.tan(math.pi / 8) * np.abs(x)
    level, steep, falling = slope < 0, slope > 2 * np.abs(x), (x < 0) == (y < 0)
    padded = np.pad(magnitude, ((0, 0), (1, 1), (1, 1)))
    width = padded.shape[2]
    step = np.select([level, steep, falling], [1, width, width + 1], width - 1)
    position = np.flatnonzero(np.pad(candidates, ((0, 0), (1, 1), (1, 1))))
    here, before, after = (
        padded.ravel()[at] for at in (position, position - step, position + step)
    )
    tie_allowed = level | steep
    ridge = np.zeros(depth.shape, dtype=bool)
    ridge[candidates] = (here > before) & ((here > after) | (tie_allowed & (here == after)))

    # Weak edges stay where they touch strong ones; planes are not connected with each other.
    touching = np.zeros((3, 3, 3), dtype=bool)
    touching[1] = True
    labels, count = ndimage.label(ridge, structure=touching)
    strong = np.zeros(count + 1, dtype=bool)
    strong[labels[ridge & (magnitude > 150)]] = True
    return strong[labels]


def _edge_distance(edges: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return each pixel's distance from the nearest edge of its plane (N, H, W), in 2⁻¹⁶ pixels.

    Borgefors' 5×5 chamfer distance: steps to the side, diagonally and like a knight's.
    """
    height, width = edges.shape[1:]
    distance = np.full((height + 4, len(edges), width + 4), _FAR, dtype=np.int32)
    distance[2:-2, :, 2:-2] = np.where(edges, 0, _FAR).transpose(1, 0, 2)
    ramp = np.arange(width, dtype=np.int32) * _PIXEL
    steps = [(1, 0, _PIXEL)]
    steps += [(1, right, _DIAGONAL) for right in (-1, 1)]
    steps += [(1, right, _KNIGHT) for right in (-2, 2)]
    steps += [(2, right, _KNIGHT) for right in (-1, 1)]
    for _ in ("from the top left", "from the bottom right"):
        for row in range(2, height + 2):
            here = distance[row, :, 2:-2]
            for up, right, length in steps:
                above = distance[row - up, :, 2 + right : 2 + right + width]
                np.minimum(here, above + length, out=here)
            here[:] = np.minimum.accumulate(here - ramp, axis=1) + ramp
        distance = distance[::-1, :, ::-1]
    return distance[2:-2, :, 2:-2].transpose(1, 0, 2)


def _equalise(levels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return planes (N, H, W) of small integers with their histograms spread over 0 to 255."""
    flat = levels.reshape(len(levels), -1)
    depth = int(levels.max()) + 1
    bins = flat + depth * np.arange(len(flat))[:, None]
    histogram = np.bincount(bins.ravel(), minlength=depth * len(flat)).reshape(-1, depth)
    reached = histogram.cumsum(axis=1)
    lowest = reached[np.arange(len(flat)), flat.min(axis=1)][:, None]
    spread = np.rint((reached - lowest) * (255 / np.maximum(flat.shape[1] - lowest, 1)))
    return np.take_along_axis(spread.astype(np.int32), flat, axis=1).reshape(levels.shape)
