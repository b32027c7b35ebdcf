"""A set of images under one corruption at one severity."""

from __future__ import annotations

import torch

from actbench.corruptions.specs import resolve
from actbench.errors import UsageError

MIN_SIDE = 8
PIXELS_PER_CHUNK = 500 * 32 * 32  # float32 RGB: 6 MB an operand, which stays near the caches


def corrupt(images: torch.Tensor, spec: str, severity: int) -> torch.Tensor:
    """Return a set of images under one corruption, the same bytes every time.

    The result depends on the images and their order, the spec and the severity only. The images
    are corrupted in chunks of ``images_per_chunk``, and values are cut, not rounded, to 8 bits, as
    in the original. If k is a multiple of a chunk, the first k results depend on the first k images
    only.

    Args:
        images: uint8 of shape (N, H, W, 3) on the CPU, N ≥ 1, H and W ≥ 8.
        spec: a name, a name with constants, or the import path of a corruption of one's own.
        severity: from 1 to 5, or to the number of levels that the constants give.

    Returns:
        uint8 of shape (N, H, W, 3).

    Raises:
        UsageError: an argument is not as described.
    """
    level = resolve(spec, severity)
    shape = tuple(images.shape)
    if images.dtype != torch.uint8 or len(shape) != 4 or shape[0] < 1 or shape[3] != 3:
        raise UsageError(
            f"images to corrupt are {images.dtype} of shape {shape}; "
            "they must be uint8 of shape (N, H, W, 3) with N ≥ 1"
        )
    if min(shape[1:3]) < MIN_SIDE:
        raise UsageError(
            f"images to corrupt are {shape[1]}×{shape[2]}; "
            f"they must be at least {MIN_SIDE}×{MIN_SIDE}"
        )
    generator = torch.Generator().manual_seed(level.seed)
    corrupted = torch.empty_like(images, memory_format=torch.contiguous_format)
    size = images_per_chunk(*shape[1:3])
    for start in range(0, len(images), size):
        chunk = images[start : start + size]
        clean = chunk.permute(0, 3, 1, 2).contiguous().float().div_(255)
        result = level.apply(clean, generator)
        corrupted[start : start + size] = (result * 255).to(torch.uint8).permute(0, 2, 3, 1)
    return corrupted


def images_per_chunk(height: int, width: int) -> int:
    """Return how many images are corrupted at a time: 500 of 32×32 pixels, 10 of 224×224."""
    return max(1, PIXELS_PER_CHUNK // (height * width))
