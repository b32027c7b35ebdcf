"""The batches of an epoch: the order of the training images, and the images of a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from actbench.study.study import seed_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actbench.data.augmentation import Augmentation
    from actbench.data.images import ImageData


def epoch_order(count: int, seed: int, epoch: int) -> torch.Tensor:
    """Return the order of an epoch's images, int64 (N,), each once, by the seed and the epoch."""
    generator = torch.Generator().manual_seed(seed_for("batch order", seed, epoch))
    return torch.randperm(count, generator=generator)


def batches(
    data: ImageData,
    batch_size: int,
    seed: int,
    epoch: int,
    augmentation: Augmentation,
    part: torch.Tensor | None = None,
    *,
    native: bool = False,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield an epoch's training batches; the last one may be smaller.

    A batch is images, normalised float32 (B, 3, H, W) in [−1, 1], and their labels, int64 (B,).
    ``part`` is which of the training images are used, int64 (N,); all of them unless given. With
    ``native``, the native kernels prepare them: the same bits, but in less time.
    """
    order = epoch_order(len(data.train_images) if part is None else len(part), seed, epoch)
    draws = augmentation.draw(len(order), data.image_size, seed, epoch)
    order = order if part is None else part[order]
    for start in range(0, len(order), batch_size):
        here = slice(start, start + batch_size)
        of_batch = {name: drawn[here] for name, drawn in draws.items()}
        images = augmentation.take(data.train_images, order[here], of_batch, native=native)
        yield images, data.train_labels.index_select(0, order[here])
