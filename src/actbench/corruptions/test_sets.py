"""The corrupted test sets that all trials of a study share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actbench.corruptions.corrupt import corrupt
from actbench.corruptions.published import published_images
from actbench.corruptions.specs import resolve
from actbench.files.cache import cached_images
from actbench.models.user_code import code_of
from actbench.study.levels import is_name
from actbench.study.specs import is_import_path, parse_spec

if TYPE_CHECKING:
    import torch

    from actbench.data.images import ImageData


def corrupted_test_images(
    data: ImageData, corruption: str, severity: int, published: str = ""
) -> torch.Tensor:
    """Return the test set under a corruption, uint8 (N, H, W, 3); the same for every trial.

    It is computed on the processor, or read from the cache, and returned on the data's device. With
    ``published``, a folder of published files, images of a spec without constants are read there.
    """
    if published and is_name(corruption):
        images = published_images(published, corruption, severity)
    else:
        key = f"{data.checksum} {resolve(corruption, severity).key}"
        if is_import_path(corruption):
            key += f" {code_of(parse_spec(corruption, 'corruption', ()))}"
        images = cached_images(key, lambda: corrupt(data.test_images.cpu(), corruption, severity))
    return images.to(data.test_images.device)
