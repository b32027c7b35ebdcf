"""The batches of an epoch: the order of the training images, and the images of a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from actbench.study.study import seed_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actbench.data.augmentation import Augmentation, Draws
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
    """Yield an epoch's training batches (see ``take``); the last one may be smaller.

    ``part`` is which of the training images are used, int64 (N,); all of them unless given. With
    ``native``, the native kernels prepare them: the same bits, but in less time.
    """
    images = data.train_images
    order = epoch_order(len(images) if part is None else len(part), seed, epoch)
    draws = augmentation.draw(len(order), images.shape[1], seed, epoch)
    order = order if part is None else part[order]
    for start in range(0, len(order), batch_size):
        here = slice(start, start + batch_size)
        of_batch = {name: drawn[here] for name, drawn in draws.items()}
        yield take(data, order[here], augmentation, of_batch, native=native)


def take(
    data: ImageData,
    index: torch.Tensor,
    augmentation: Augmentation,
    draws: Draws,
    *,
    native: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return training images, normalised (B, 3, H, W) in [−1, 1], and their labels (B,).

    Args:
        data: the images, on the device where the index and the draws are.
        index: which, int64 (B,).
        augmentation: their random changes.
        draws: what these draw for each of the images (see ``Augmentation.draw``).
        native: use the native kernels.
    """
    images = augmentation.take(data.train_images, index, draws, native=native)
    return images, data.train_labels.index_select(0, index)
