"""Contrast, brightness, saturation, JPEG, pixels and elastic transforms.

Images and results are float32 (N, 3, H, W) in [0, 1].
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Generator, Tensor

from actbench.corruptions.blur import smooth
from actbench.corruptions.constants import published_side

if TYPE_CHECKING:
    from collections.abc import Callable


def contrast(images: Tensor, _generator: Generator, *, factor: float) -> Tensor:
    """Return m + c · (x − m), with m the mean of each image's channel."""
    # NumPy's order of summation does not depend on the number of threads.
    means = images.numpy().mean(axis=(2, 3), dtype=np.float64, keepdims=True)
    mean = torch.from_numpy(means.astype(np.float32))
    return ((images - mean) * factor + mean).clamp_(0, 1)


def brightness(images: Tensor, _generator: Generator, *, added: float) -> Tensor:
    """Return x with c added to its value in HSV, which multiplies the pixel's channels alike."""
    value = images.amax(dim=1, keepdim=True)
    brighter = (value + added).clamp_(max=1)
    return torch.where(value > 0, images * (brighter / value), brighter).clamp_(0, 1)


def saturate(images: Tensor, _generator: Generator, *, factor: float, added: float) -> Tensor:
    """Return x with its saturation in HSV, s, replaced by factor · s + c; grey counts as red."""
    value = images.amax(dim=1, keepdim=True)
    chroma = value - images.amin(dim=1, keepdim=True)
    saturation = torch.where(chroma > 0, chroma / value, 0.0)
    new_saturation = (saturation * factor + added).clamp_(0, 1)
    # A channel is below the value by a share of it; the shares are proportional to the saturation.
    red_grey = torch.tensor([0.0, 1, 1]).view(3, 1, 1) * new_saturation
    share = torch.where(chroma > 0, (value - images) / chroma * new_saturation, red_grey)
    return (value - value * share).clamp_(0, 1)


def jpeg_compression(images: Tensor, _generator: Generator, *, quality: int) -> Tensor:
    """Return x after a round trip through Pillow's JPEG; x is rounded to 8 bits first."""

    def compress(image: Image.Image) -> Image.Image:
        file = BytesIO()
        image.save(file, "JPEG", quality=quality)
        # Calling the decoder takes half as long as Image.open, which also reads the file's header.
        return Image.frombytes("RGB", image.size, file.getvalue(), "jpeg", "RGB", "")

    return _through_pillow(images, compress)


def pixelate(images: Tensor, _generator: Generator, *, scale: float) -> Tensor:
    """Return x shrunk and enlarged again by Pillow's box filter; x is rounded to 8 bits first."""
    height, width = images.shape[-2:]
    small = max(int(width * scale), 1), max(int(height * scale), 1)
    box = Image.Resampling.BOX
    return _through_pillow(images, lambda image: image.resize(small, box).resize(image.size, box))


def _through_pillow(images: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    pixels = (images * 255).round_().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    changed = np.stack([np.asarray(change(Image.fromarray(image))) for image in pixels])
    return torch.from_numpy(changed).permute(0, 3, 1, 2).contiguous().float().div_(255)


def elastic_transform(
    images: Tensor, generator: Generator, *, alpha: float, sigma: float, shift: float
) -> Tensor:
    """Return x sheared by an affine map and then locally displaced, each with linear interpolation.

    The affine map moves three corners of a square around the middle by up to ±shift along each
    axis. The displacement is uniform noise in ±1, smoothed by a Gaussian of standard deviation σ
    cut at 3σ, times α. The constants are in units of the image's side; those published for 224
    pixels are in units of 244, so from 128 pixels on the unit is 244/224 sides. Beyond the edge the
    image is mirrored, the first time without and the second time with the edge pixel repeated.
    """
    count, _, height, width = images.shape
    unit = float(min(height, width))
    if published_side(height, width) == 224:
        unit *= 244 / 224
    middle = np.array([width // 2, height // 2])
    corners = middle + min(height, width) // 3 * np.array([[1, 1], [1, -1], [-1, -1]])
    moves = (torch.rand(count, 3, 2, generator=generator) * 2 - 1) * (unit * shift)
    moved = np.concatenate([corners + moves.double().numpy(), np.ones((count, 3, 1))], axis=2)
    # Each pixel of the result is fetched from where the inverse map, moved to unmoved, sends it.
    inverse = torch.from_numpy(np.linalg.solve(moved, corners.astype(np.float64))).float()

    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    grid = torch.stack([columns, rows], dim=-1).float()
    sheared_grid = (
        grid[..., :1] * inverse[:, None, None, 0]
        + grid[..., 1:] * inverse[:, None, None, 1]
        + inverse[:, None, None, 2]
    )
    sheared = _sample(images, sheared_grid, edge_repeats=False)
    noise = torch.rand(count, 2, height, width, generator=generator) * 2 - 1
    displacement = smooth(noise, unit * sigma, mode="reflect", truncate=3) * (unit * alpha)
    return _sample(sheared, grid + displacement.permute(0, 2, 3, 1), edge_repeats=True).clamp_(0, 1)


def _sample(images: Tensor, positions: Tensor, *, edge_repeats: bool) -> Tensor:
    """Return images (N, C, H, W) interpolated linearly at (column, row) positions (N, H, W, 2).

    Beyond the edge the image is mirrored, about its outer pixels' outer sides where the edge
    repeats and about their middles where not.
    """
    size = torch.tensor([images.shape[3], images.shape[2]], dtype=torch.float32)
    scaled = (positions + 0.5) / size if edge_repeats else positions / (size - 1)
    return F.grid_sample(
        images, scaled * 2 - 1, padding_mode="reflection", align_corners=not edge_repeats
    )
