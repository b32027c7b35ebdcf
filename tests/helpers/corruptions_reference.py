"""Image corruptions by their definition: one image at a time, in float64, slow and simple.

Written independently of ``actbench.corruptions``, from Hendrycks & Dietterich (2019), the constants
of ``make_cifar_c.py``, ``make_tinyimagenet_c.py`` and ``make_imagenet_c.py``, and the OpenCV,
scikit-image and ImageMagick functions that these call. Each takes a uint8 image of shape (S, S, 3),
a severity from 1 to 5 and a ``torch.Generator``, and returns a uint8 image, cut to 8 bits as in the
original. S below 48 has the first file's constants, below 128 the second's, above the third's.

The four noises draw in numpy, in no common order with actbench. The others draw the same numbers
in the same order as actbench does for a batch of one, so that their images can be compared pixel
by pixel.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from io import BytesIO
from itertools import product
from typing import Any

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from scipy import ndimage

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float64]
Reference = Callable[[Pixels, int, torch.Generator], Pixels]


def by_size(image: Pixels, at_32: list[Any], at_64: list[Any], at_224: list[Any]) -> list[Any]:
    side = image.shape[0]
    return at_32 if side < 48 else at_64 if side < 128 else at_224


def cut(values: Plane) -> Pixels:
    """Return values in [0, 1] as 8-bit levels, cut and not rounded."""
    return (np.clip(values, 0, 1) * 255).astype(np.uint8)


def numpy_draws(generator: torch.Generator) -> np.random.Generator:
    return np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))


def gaussian_noise(image: Pixels, severity: int, generator: torch.Generator) -> Pixels:
    sigma = by_size(
        image,
        [0.04, 0.06, 0.08, 0.09, 0.10],
        [0.04, 0.08, 0.12, 0.15, 0.18],
        [0.08, 0.12, 0.18, 0.26, 0.38],
    )[severity - 1]
    return cut(image / 255 + numpy_draws(generator).normal(0, sigma, image.shape))


def shot_noise(image: Pixels, severity: int, generator: torch.Generator) -> Pixels:
    rate = by_size(image, [500, 250, 100, 75, 50], [250, 100, 50, 30, 15], [60, 25, 12, 5, 3])[
        severity - 1
    ]
    return cut(numpy_draws(generator).poisson(image / 255 * rate) / rate)


def impulse_noise(image: Pixels, severity: int, generator: torch.Generator) -> Pixels:
    share = by_size(
        image,
        [0.01, 0.02, 0.03, 0.05, 0.07],
        [0.01, 0.02, 0.05, 0.08, 0.14],
        [0.03, 0.06, 0.09, 0.17, 0.27],
    )[severity - 1]
    draws = numpy_draws(generator)
    flipped = draws.random(image.shape) < share
    salt = draws.random(image.shape) < 0.5
    return np.where(flipped, np.where(salt, 255, 0), image).astype(np.uint8)


def speckle_noise(image: Pixels, severity: int, generator: torch.Generator) -> Pixels:
    sigma = by_size(
        image,
        [0.06, 0.1, 0.12, 0.16, 0.2],
        [0.15, 0.2, 0.25, 0.3, 0.35],
        [0.15, 0.2, 0.35, 0.45, 0.6],
    )[severity - 1]
    x = image / 255
    return cut(x + x * numpy_draws(generator).normal(0, sigma, image.shape))


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


def gaussian_blur(image: Pixels, severity: int, generator: torch.Generator) -> Pixels:
    sigmas = by_size(image, [0.4, 0.6, 0.7, 0.8, 1], [0.5, 0.75, 1, 1.25, 1.5], [1, 2, 3, 4, 6])
    return cut(smoothed(image / 255, sigmas[severity - 1]))


def glass_blur(image: Pixels, severity: int, generator: torch.Generator) -> Pixels:
    sigma, shift, rounds = by_size(
        image,
        [(0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)],
        [(0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)],
        [(0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)],
    )[severity - 1]
    glass = cut(smoothed(image / 255, sigma))
    size = len(image)
    for _ in range(rounds):
        draws = torch.randint(
            2 * shift, (2, size - 2 * shift, size - 2 * shift), generator=generator
        )
        down, right = (shift - 1 - draws).tolist()
        inside = range(size - shift, shift, -1)
        for row, column in product(inside, inside):
            other_row = row + down[row - shift - 1][column - shift - 1]
            other_column = column + right[row - shift - 1][column - shift - 1]
            # The original swaps two views of one array, so the second gets its own new value.
            glass[row, column] = glass[other_row, other_column]
    return cut(smoothed(glass / 255, sigma))


def defocus_blur(image: Pixels, severity: int, generator: torch.Generator) -> Pixels:
    radius, sigma = by_size(
        image,
        [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)],
        [(0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)],
        [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)],
    )[severity - 1]
    reach, rim = (8, 1) if radius <= 8 else (radius, 2)
    disk = np.zeros((2 * reach + 1, 2 * reach + 1))
    for row, column in product(range(-reach, reach + 1), repeat=2):
        disk[row + reach, column + reach] = row**2 + column**2 <= radius**2
    disk /= disk.sum()
    weights = {step: np.exp(-(step**2) / (2 * sigma**2)) for step in range(-rim, rim + 1)}
    for axis in (0, 1):
        # OpenCV's blur of the kernel mirrors it at its own edges.
        wide = np.pad(disk, [(rim, rim) if axis == a else (0, 0) for a in (0, 1)], mode="reflect")
        disk = sum(
            weight * wide.take(range(rim + step, rim + step + len(disk)), axis)
            for step, weight in weights.items()
        ) / sum(weights.values())
    padded = np.pad(image / 255, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    height, width, _ = image.shape
    blurred = np.zeros(image.shape)
    for row, column in np.argwhere(disk):
        blurred += disk[row, column] * padded[row : row + height, column : column + width]
    return cut(blurred)


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


def motion_blur(image: Pixels, severity: int, generator: torch.Generator) -> Pixels:
    radius, sigma = by_size(
        image,
        [(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)],
        [(10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)],
        [(10, 3), (15, 5), (15, 8), (15, 12), (20, 15)],
    )[severity - 1]
    degrees = torch.rand(1, generator=generator).item() * 90 - 45
    return smeared(image, radius, sigma, degrees)


def zoomed(values: Plane, factor: float) -> Plane:
    """Return the middle of values enlarged linearly, in the same shape; both sides are equal."""
    size = len(values)
    crop = int(np.ceil(size / factor))
    top = (size - crop) // 2
    factors = (factor, factor, *[1] * (values.ndim - 2))
    large = ndimage.zoom(values[top : top + crop, top : top + crop], factors, order=1)
    trim = (len(large) - size) // 2
    return large[trim : trim + size, trim : trim + size]


def zoom_blur(image: Pixels, severity: int, generator: torch.Generator) -> Pixels:
    small = [(1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)]
    large = [(1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)]
    factors = np.arange(1, *by_size(image, small, small, large)[severity - 1])
    x = image / 255
    return cut((x + sum(zoomed(x, factor) for factor in factors)) / (len(factors) + 1))


def fog(image: Pixels, severity: int, generator: torch.Generator) -> Pixels:
    strength, decay = by_size(
        image,
        [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)],
        [(0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)],
        [(1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)],
    )[severity - 1]
    x = image / 255
    height, width, _ = image.shape
    size = 2 ** int(np.ceil(np.log2(max(height, width))))
    plasma = plasma_fractal(size, decay, generator)[:height, :width, None]
    return cut((x + strength * plasma) * x.max() / (x.max() + strength))


def plasma_fractal(size: int, decay: float, generator: torch.Generator) -> Plane:
    """Return a height map by diamond-square on a torus, stretched to [0, 1]."""
    heights = np.zeros((size, size))
    step, wibble = size, 100.0
    while step >= 2:
        half = step // 2
        # The middles of squares, then of the diamonds whose tops and sides lie on grid lines.
        for first_row, first_column, straight in (
            (half, half, False),
            (0, half, True),
            (half, 0, True),
        ):
            draws = torch.rand(size // step, size // step, generator=generator).numpy()
            corners = (
                [(-half, 0), (half, 0), (0, -half), (0, half)]
                if straight
                else list(product((-half, half), repeat=2))
            )
            rows = np.arange(first_row, size, step)[:, None]
            columns = np.arange(first_column, size, step)[None]
            around = [
                heights[(rows + down) % size, (columns + right) % size] for down, right in corners
            ]
            noise = wibble * (2 * draws.astype(np.float64) - 1) * wibble
            heights[rows, columns] = np.mean(around, axis=0) + noise
        step, wibble = half, wibble / decay
    heights -= heights.min()
    return heights / heights.max()


def snow(image: Pixels, severity: int, generator: torch.Generator) -> Pixels:
    mean, sigma, factor, threshold, radius, smear_sigma, kept = by_size(
        image,
        [
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ],
        [
            (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
        ],
        [
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ],
    )[severity - 1]
    x = image / 255
    flakes = zoomed(torch.randn(x.shape[:2], generator=generator).numpy() * sigma + mean, factor)
    flakes[flakes < threshold] = 0
    degrees = torch.rand(1, generator=generator).item() * 90 - 135
    layer = smeared(cut(flakes), radius, smear_sigma, degrees)[..., None] / 255
    grey = (x @ [0.299, 0.587, 0.114])[..., None]
    whitened = kept * x + (1 - kept) * np.maximum(x, grey * 1.5 + 0.5)
    return cut(whitened + layer + layer[::-1, ::-1])


def spatter(image: Pixels, severity: int, generator: torch.Generator) -> Pixels:
    mean, sigma, smoothing, threshold, strength, is_mud = by_size(
        image,
        [
            (0.62, 0.1, 0.7, 0.7, 0.5, False),
            (0.65, 0.1, 0.8, 0.7, 0.5, False),
            (0.65, 0.3, 1, 0.69, 0.5, False),
            (0.65, 0.1, 0.7, 0.69, 0.6, True),
            (0.65, 0.1, 0.5, 0.68, 0.6, True),
        ],
        [
            (0.62, 0.1, 0.7, 0.7, 0.6, False),
            (0.65, 0.1, 0.8, 0.7, 0.6, False),
            (0.65, 0.3, 1, 0.69, 0.6, False),
            (0.65, 0.1, 0.7, 0.68, 0.6, True),
            (0.65, 0.1, 0.5, 0.67, 0.6, True),
        ],
        [
            (0.65, 0.3, 4, 0.69, 0.6, False),
            (0.65, 0.3, 3, 0.68, 0.6, False),
            (0.65, 0.3, 2, 0.68, 0.5, False),
            (0.65, 0.3, 1, 0.65, 1.5, True),
            (0.67, 0.4, 1, 0.65, 1.5, True),
        ],
    )[severity - 1]
    x = image / 255
    noise = torch.randn(x.shape[:2], generator=generator).numpy() * sigma + mean
    liquid = smoothed(noise, smoothing)
    liquid[liquid < threshold] = 0
    if is_mud:
        mud = smoothed((liquid > threshold).astype(float), strength)
        mud[mud < 0.8] = 0
        brown = np.array([63, 42, 20]) / 255
        return cut(x * (1 - mud[..., None]) + brown * mud[..., None])
    depth = (np.trunc(liquid * 255) % 256).astype(np.uint8)  # as the original wraps
    distance = np.minimum(distance_from(canny_edges(depth)), 20)
    # The added 1e-9 keeps an integer mean of nine distances from being rounded down.
    levels = np.floor(filtered(distance, np.ones((3, 3)) / 9) + 1e-9).astype(int)
    relief = np.clip(filtered(equalised(levels), [[-2, -1, 0], [-1, 1, 1], [0, 1, 2]]), 0, 255)
    water = depth * np.rint(filtered(relief, np.ones((3, 3)) / 9))
    turquoise = np.array([175, 238, 238]) / 255
    return cut(x + water[..., None] / max(water.max(), 1) * strength * turquoise)


def filtered(plane: Plane, kernel: object) -> Plane:
    """Return the correlation with a 3×3 kernel, mirrored at the edge pixels' middles."""
    return ndimage.correlate(plane.astype(np.float64), np.asarray(kernel), mode="mirror")


def canny_edges(plane: Pixels) -> NDArray[np.bool_]:
    """Return Canny's edges with thresholds 50 and 150 on the sum of both gradients' sizes."""
    height, width = plane.shape
    sobel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    x = ndimage.correlate(plane.astype(int), sobel, mode="nearest")
    y = ndimage.correlate(plane.astype(int), sobel.T, mode="nearest")
    size = np.pad(np.abs(x) + np.abs(y), 1)
    ridge = {}
    for row, column in product(range(height), range(width)):
        strength = size[row + 1, column + 1]
        angle = np.degrees(np.arctan2(y[row, column], x[row, column])) % 180
        # The direction of the gradient among eight neighbours, rows counted downwards.
        sector = int((angle + 22.5) // 45) % 4
        down, right = [(0, 1), (1, 1), (1, 0), (1, -1)][sector]
        before = size[row + 1 - down, column + 1 - right]
        after = size[row + 1 + down, column + 1 + right]
        beats_after = strength >= after if sector in (0, 2) else strength > after
        if strength > 50 and strength > before and beats_after:
            ridge[row, column] = strength
    found = [place for place, strength in ridge.items() if strength > 150]
    edges = np.zeros(plane.shape, dtype=bool)
    while found:
        row, column = found.pop()
        edges[row, column] = True
        around = [(row + down, column + right) for down, right in product((-1, 0, 1), repeat=2)]
        found += [place for place in around if place in ridge and not edges[place]]
    return edges


def distance_from(edges: NDArray[np.bool_]) -> Plane:
    """Return the distance to an edge by steps of 1, 1.4 (diagonal) and 2.1969 (knight's move).

    Pixels that are more than 22 rows or columns away are left at a larger distance.
    """
    reach = 22
    distance = np.full(np.add(edges.shape, 2 * reach), 1e4)
    down, right = np.abs(np.mgrid[-reach : reach + 1, -reach : reach + 1])
    long, short = np.maximum(down, right), np.minimum(down, right)
    shallow = 2.1969 * short + (long - 2 * short)
    diagonal = 2.1969 * (long - short) + 1.4 * (2 * short - long)
    steps = np.where(long >= 2 * short, shallow, diagonal)
    for row, column in np.argwhere(edges):
        around = distance[row : row + 2 * reach + 1, column : column + 2 * reach + 1]
        np.minimum(around, steps, out=around)
    return distance[reach:-reach, reach:-reach]


def equalised(levels: NDArray[np.int_]) -> Plane:
    """Return levels mapped so that their histogram is spread over 0 to 255."""
    lowest = levels.min()
    above_lowest = (levels > lowest).sum()
    spread = np.zeros(levels.shape)
    for level in range(lowest + 1, levels.max() + 1):
        between = ((levels > lowest) & (levels <= level)).sum()
        spread[levels == level] = np.rint(between * 255 / above_lowest)
    return spread


def contrast(image: Pixels, severity: int, generator: torch.Generator) -> Pixels:
    large = [0.4, 0.3, 0.2, 0.1, 0.05]
    kept = by_size(image, [0.75, 0.5, 0.4, 0.3, 0.15], large, large)[severity - 1]
    x = image / 255
    mean = x.mean(axis=(0, 1))
    return cut((x - mean) * kept + mean)


def in_hsv(image: Pixels, change: Callable[[float, float], tuple[float, float]]) -> Pixels:
    """Return the image with each pixel's saturation and value in HSV changed."""
    changed = np.empty(image.shape)
    for place in np.ndindex(image.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*(image[place] / 255))
        changed[place] = colorsys.hsv_to_rgb(hue, *change(saturation, value))
    return cut(changed)


def brightness(image: Pixels, severity: int, generator: torch.Generator) -> Pixels:
    large = [0.1, 0.2, 0.3, 0.4, 0.5]
    added = by_size(image, [0.05, 0.1, 0.15, 0.2, 0.3], large, large)[severity - 1]
    return in_hsv(image, lambda saturation, value: (saturation, min(value + added, 1)))


def saturate(image: Pixels, severity: int, generator: torch.Generator) -> Pixels:
    factor, added = by_size(
        image,
        [(0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)],
        [(0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)],
        [(0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)],
    )[severity - 1]
    return in_hsv(image, lambda saturation, value: (min(saturation * factor + added, 1), value))


def jpeg_compression(image: Pixels, severity: int, generator: torch.Generator) -> Pixels:
    file = BytesIO()
    quality = by_size(image, [80, 65, 58, 50, 40], [65, 58, 50, 40, 25], [25, 18, 15, 10, 7])[
        severity - 1
    ]
    PIL.Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(PIL.Image.open(file))


def pixelate(image: Pixels, severity: int, generator: torch.Generator) -> Pixels:
    height, width, _ = image.shape
    scale = by_size(
        image,
        [0.95, 0.9, 0.85, 0.75, 0.65],
        [0.9, 0.8, 0.7, 0.6, 0.5],
        [0.6, 0.5, 0.4, 0.3, 0.25],
    )[severity - 1]
    box = PIL.Image.Resampling.BOX
    small = PIL.Image.fromarray(image).resize((int(width * scale), int(height * scale)), box)
    return np.asarray(small.resize((width, height), box))


def elastic_transform(image: Pixels, severity: int, generator: torch.Generator) -> Pixels:
    constants = by_size(
        image,
        [(0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)],
        [(0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03), (0.16, 0.03, 0.02)],
        [(2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)],
    )[severity - 1]
    # The third file says 244 where the side is 224.
    unit = len(image) * (244 / 224 if len(image) >= 128 else 1)
    alpha, sigma, shift = (unit * value for value in constants)
    x = image / 255
    height, width, _ = image.shape
    side = min(height, width) // 3
    corners = np.array([width // 2, height // 2]) + side * np.array([[1, 1], [1, -1], [-1, -1]])
    moved = corners + shift * (2 * torch.rand(3, 2, generator=generator).numpy() - 1)
    # The affine map x ↦ linear · x + offset that takes each corner to where it moved.
    edges, moved_edges = corners[:2] - corners[2], moved[:2] - moved[2]
    linear = np.linalg.inv(edges) @ moved_edges
    offset = moved[2] - corners[2] @ linear
    rows, columns = np.mgrid[:height, :width]
    places = np.stack([columns, rows], axis=-1)
    sources = (places - offset) @ np.linalg.inv(linear)
    sheared = interpolated(x, sources, "mirror")
    noise = 2 * torch.rand(2, height, width, generator=generator).double().numpy() - 1
    displacement = [alpha * smoothed(plane, sigma, "symmetric", truncate=3) for plane in noise]
    return cut(interpolated(sheared, places + np.stack(displacement, axis=-1), "reflect"))


def interpolated(values: Plane, places: Plane, mode: str) -> Plane:
    """Return an image's values at (column, row) places, linearly; ``mode`` as in scipy."""
    coordinates = [places[..., 1], places[..., 0]]
    channels = [
        ndimage.map_coordinates(values[..., channel], coordinates, order=1, mode=mode)
        for channel in range(values.shape[2])
    ]
    return np.stack(channels, axis=-1)


REFERENCE: dict[str, Reference] = {
    function.__name__: function
    for function in (
        gaussian_noise,
        shot_noise,
        impulse_noise,
        speckle_noise,
        gaussian_blur,
        glass_blur,
        defocus_blur,
        motion_blur,
        zoom_blur,
        fog,
        snow,
        spatter,
        contrast,
        brightness,
        saturate,
        jpeg_compression,
        pixelate,
        elastic_transform,
    )
}
