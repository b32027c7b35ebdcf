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

import numpy as np
import PIL.Image
import torch
from scipy import ndimage

from helpers.pixels_reference import Pixels, Plane, by_size, cut, smeared, smoothed, zoomed
from helpers.weather_reference import fog, snow, spatter

Reference = Callable[[Pixels, int, torch.Generator], Pixels]


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


def motion_blur(image: Pixels, severity: int, generator: torch.Generator) -> Pixels:
    radius, sigma = by_size(
        image,
        [(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)],
        [(10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)],
        [(10, 3), (15, 5), (15, 8), (15, 12), (20, 15)],
    )[severity - 1]
    degrees = torch.rand(1, generator=generator).item() * 90 - 45
    return smeared(image, radius, sigma, degrees)


def zoom_blur(image: Pixels, severity: int, generator: torch.Generator) -> Pixels:
    small = [(1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)]
    large = [(1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)]
    factors = np.arange(1, *by_size(image, small, small, large)[severity - 1])
    x = image / 255
    return cut((x + sum(zoomed(x, factor) for factor in factors)) / (len(factors) + 1))


def contrast(image: Pixels, severity: int, generator: torch.Generator) -> Pixels:
    large = [0.4, 0.3, 0.2, 0.1, 0.05]
    kept = by_size(image, [0.75, 0.5, 0.4, 0.3, 0.15], large, large)[severity - 1]
    x = image / 255
    mean = x.mean(axis=(0, 1))
    return cut((x - mean) * kept + mean)


def in_hsv(image: Pixels, change: Callable[[float, float], tuple[float, float]]) -> Pixels:
    """Return the image with each pixel's saturation and value in HSV changed."""
    changed = np.empty(image.shape)
    for position in np.ndindex(image.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*(image[position] / 255))
        changed[position] = colorsys.hsv_to_rgb(hue, *change(saturation, value))
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
    positions = np.stack([columns, rows], axis=-1)
    sources = (positions - offset) @ np.linalg.inv(linear)
    sheared = interpolated(x, sources, "mirror")
    noise = 2 * torch.rand(2, height, width, generator=generator).double().numpy() - 1
    displacement = [alpha * smoothed(plane, sigma, "symmetric", truncate=3) for plane in noise]
    return cut(interpolated(sheared, positions + np.stack(displacement, axis=-1), "reflect"))


def interpolated(values: Plane, positions: Plane, mode: str) -> Plane:
    """Return an image's values at (column, row) positions, linearly; ``mode`` as in scipy."""
    coordinates = [positions[..., 1], positions[..., 0]]
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
