"""The corrupted test sets that all trials of a study share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actbench.corruptions.published import published_images
from actbench.corruptions.registry import corrupt
from actbench.data.cache import cached_images

if TYPE_CHECKING:
    import torch

    from actbench.data.images import ImageData


def corrupted_test_images(
    data: ImageData, corruption: str, severity: int, published: str = ""
) -> torch.Tensor:
    """Return the test set under a corruption, uint8 (N, 32, 32, 3); the same for every trial.

    It is computed on the processor and returned on the data's device. ``published`` is the folder
    of the published CIFAR-10-C files; without it the images are computed here.
    """
    if published:
        images = published_images(published, corruption, severity)
    else:
        key = f"{data.checksum} {corruption} {severity}"
        images = cached_images(key, lambda: corrupt(data.test_images.cpu(), corruption, severity))
    return images.to(data.test_images.device)
