"""The weather of the reference (see ``corruptions_reference``): fog, snow and spatter."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage

from helpers.pixels_reference import Pixels, Plane, by_size, cut, smeared, smoothed, zoomed

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
    found = [position for position, strength in ridge.items() if strength > 150]
    edges = np.zeros(plane.shape, dtype=bool)
    while found:
        row, column = found.pop()
        edges[row, column] = True
        around = [(row + down, column + right) for down, right in product((-1, 0, 1), repeat=2)]
        found += [position for position in around if position in ridge and not edges[position]]
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
