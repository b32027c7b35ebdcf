"""The random changes that Square Attack tries, in L∞ and L2.

Andriushchenko et al. 2020 (arXiv:1912.00049), algorithms 2 and 3.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch

from actbench.attacks.perturbations import linf_bounds, projection

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

TILES = 5


class Squares(ABC):
    """The images that Square Attack tries, made of draws that are uniform in [0, 1).

    Attributes:
        first_draws: the shape of the draws for an image's first query.
        draws: the shape of those for each further one.
    """

    first_draws: tuple[int, ...]
    draws: tuple[int, ...]

    @abstractmethod
    def __init__(self, images: Tensor, epsilon: float) -> None: ...

    @abstractmethod
    def first(self, some: Tensor, draws: Tensor) -> Tensor:
        """Return where the search starts, float32 (n, C, H, W), for images with these indices."""

    @abstractmethod
    def change(
        self, points: Tensor, some: Tensor, draws: Tensor, area: float
    ) -> Callable[[Tensor], None]:
        """Change the points, in place, in squares that cover this share of the image.

        The function that is returned changes those back where a mask, bool (n,), is true.
        """


class LinfSquares(Squares):
    """Vertical stripes of ±ε, then squares of ±ε, with a random sign per channel."""

    def __init__(self, images: Tensor, epsilon: float) -> None:
        _, channels, _, width = images.shape
        self._lower, self._upper = linf_bounds(images, epsilon)
        self.first_draws, self.draws = (channels, 1, width), (2 + channels,)

    def first(self, some: Tensor, draws: Tensor) -> Tensor:
        """Return the stripes."""
        return torch.where(draws < 0.5, self._upper[some], self._lower[some])

    def change(
        self, points: Tensor, some: Tensor, draws: Tensor, area: float
    ) -> Callable[[Tensor], None]:
        """Set a square to ±ε; only the pixels in it are read and written."""
        side, (count, channels) = side_of(points, area), points.shape[:2]
        within = torch.arange(side, device=points.device)
        top, left = (corner[:, None] + within for corner in corners(points, draws[:, :2], side))
        each = torch.arange(count, device=points.device)[:, None, None, None]
        channel = torch.arange(channels, device=points.device)[:, None, None]
        place = channel, top[:, None, :, None], left[:, None, None, :]
        image = some[:, None, None, None], *place
        before = points[each, *place]
        low = draws[:, 2:, None, None] < 0.5
        extreme = torch.where(low, self._upper[image], self._lower[image])
        points[each, *place] = extreme

        def undo(rows: Tensor) -> None:
            points[each, *place] = torch.where(rows[:, None, None, None], before, extreme)

        return undo


class L2Squares(Squares):
    """5 × 5 tiles of ``opposite_hills``, then such hills in one square at the cost of another.

    The length that a channel gets in the square is that of the perturbation in both squares, and
    its share of what the ball leaves.
    """

    def __init__(self, images: Tensor, epsilon: float) -> None:
        channels = images.shape[1]
        self._images, self._epsilon = images, epsilon
        self._project = projection(images, epsilon, "l2")
        self.first_draws, self.draws = (1 + channels, TILES, TILES), (5 + channels,)

    def first(self, some: Tensor, draws: Tensor) -> Tensor:
        """Return the tiles, each of a random direction, with a random sign per channel."""
        images = self._images[some]
        height, width = images.shape[2:]
        side = max(min(height, width) // TILES, 1)
        covered = min(TILES * side, height, width)
        tile = torch.arange(covered, device=images.device) // side
        low = draws[:, :, tile][..., tile] < 0.5
        hills = opposite_hills(side).to(images.device).repeat(TILES, TILES)[:covered, :covered]
        hills = torch.where(low[:, :1], hills.T, hills)
        top, left = (height - covered) // 2, (width - covered) // 2
        offset = torch.zeros_like(images)
        inside = offset[:, :, top : top + covered, left : left + covered]
        inside.copy_(torch.where(low[:, 1:], hills, -hills))
        length = torch.linalg.vector_norm(offset, dim=(1, 2, 3), keepdim=True)
        return self._project(images + self._epsilon * offset / length, some)

    def change(
        self, points: Tensor, some: Tensor, draws: Tensor, area: float
    ) -> Callable[[Tensor], None]:
        """Add hills in a square to the perturbation's direction there."""
        before = points.clone()
        points.copy_(self._changed(before, some, draws, area))

        def undo(rows: Tensor) -> None:
            points[rows] = before[rows]

        return undo

    def _changed(self, points: Tensor, some: Tensor, draws: Tensor, area: float) -> Tensor:
        images, (height, width) = self._images[some], points.shape[2:]
        side = min(max(side_of(points, area), 3) // 2 * 2 + 1, height, width)
        gains, loses = (windows(points, draws[:, at : at + 2], side) for at in (0, 2))
        offset = points - images
        unused = self._epsilon**2 - offset.square().sum((1, 2, 3), keepdim=True)
        available = (offset.square() * (gains | loses)).sum((2, 3), keepdim=True)
        available += unused.clamp(min=0) / offset.shape[1]
        signs = torch.where(draws[:, 5:, None, None] < 0.5, 1.0, -1.0)
        hills = placed_hills(points, draws[:, :2], draws[:, 4], side)
        inside = _unit(signs * hills + _unit(offset * gains)) * available.sqrt()
        return self._project(images + torch.where(gains, inside, offset * ~loses), some)


def side_of(images: Tensor, area: float) -> int:
    """Return the side, in pixels, of a square of this share of the image, which it fits into."""
    height, width = images.shape[2:]
    return min(max(round(math.sqrt(area * height * width)), 1), height, width)


def corners(images: Tensor, draws: Tensor, side: int) -> list[Tensor]:
    """Return the first row and column, int64 (n,), of a square at the position of the draws."""
    lengths = images.shape[2:]
    return [(draws[:, axis] * (lengths[axis] - side + 1)).long() for axis in range(2)]


def windows(images: Tensor, draws: Tensor, side: int) -> Tensor:
    """Return bool (n, 1, H, W): a square of this side, at the position of the draws (n, 2)."""
    rows, columns = (
        (position >= 0) & (position < side) for position in _positions(images, draws, side)
    )
    return rows[:, None, :, None] & columns[:, None, None, :]


def placed_hills(images: Tensor, draws: Tensor, flips: Tensor, side: int) -> Tensor:
    """Return ``opposite_hills`` in the square of ``windows``, float32 (n, 1, H, W), 0 elsewhere.

    They are transposed where ``flips``, (n,), is less than a half.
    """
    rows, columns = (position.clamp(0, side - 1) for position in _positions(images, draws, side))
    rows, columns = rows[:, :, None], columns[:, None, :]
    hills = opposite_hills(side).to(images.device)
    transposed = flips[:, None, None] < 0.5
    placed = torch.where(transposed, hills[columns, rows], hills[rows, columns])
    return placed[:, None] * windows(images, draws, side)


def opposite_hills(side: int) -> Tensor:
    """Return η of the paper's section 3.3, float32 (side, side), of length 1.

    The upper half is a pyramid that falls from its centre by inverse squares; the lower half is
    one of the opposite sign.
    """
    upper = side // 2
    hills = torch.cat([_hill(upper, side), -_hill(side - upper, side)])
    length: Tensor = torch.linalg.vector_norm(hills)
    return hills / length


def _hill(height: int, width: int) -> Tensor:
    rows, columns = ((torch.arange(n) - n // 2).abs() for n in (height, width))
    distance = torch.maximum(rows[:, None], columns[None, :])
    falls = 1 / torch.arange(1, max(height, width) // 2 + 2, dtype=torch.float32) ** 2
    return falls.flip(0).cumsum(0).flip(0)[distance]


def _positions(images: Tensor, draws: Tensor, side: int) -> list[Tensor]:
    """Return each row's and column's position in its image's square, int64 (n, H) and (n, W)."""
    return [
        torch.arange(length, device=images.device) - corner[:, None]
        for length, corner in zip(images.shape[2:], corners(images, draws, side), strict=True)
    ]


def _unit(offset: Tensor) -> Tensor:
    """Return each channel of each image divided by its length; 0 stays 0."""
    length = torch.linalg.vector_norm(offset, dim=(2, 3), keepdim=True)
    return torch.where(length > 0, offset / length, 0.0)
