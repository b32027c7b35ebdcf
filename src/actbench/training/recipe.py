"""What a recipe needs to know of the images: its number of passes, and their normalisation."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import torch

from actbench.errors import UsageError
from actbench.study.recipe import AUGMENTATIONS, Crop, Cutout
from actbench.training.validation import split

if TYPE_CHECKING:
    from actbench.data.images import ImageData
    from actbench.study.study import Study


def resolve_recipe(study: Study, data: ImageData) -> Study:
    """Return the study with the values that its recipe takes from its images.

    Raises:
        UsageError: the recipe does not fit the images.
    """
    side = data.train_images.shape[1]
    for change in (AUGMENTATIONS.resolve(text) for text in study.augment):
        if isinstance(change, Crop) and change.padding > side:
            raise UsageError(
                f"augmentation 'crop': padding is {change.padding}; the images have {side}×{side} "
                f"pixels, so it must be at most {side}"
            )
        if isinstance(change, Cutout) and change.size > side:
            raise UsageError(
                f"augmentation 'cutout': size is {change.size}; the images have {side}×{side} "
                f"pixels, so it must be at most {side}"
            )
    count = passes(study, data)
    if study.steps and study.epochs not in (type(study)().epochs, count):
        raise UsageError(
            f"epochs is {study.epochs} and steps is {study.steps}, which are {count} epochs of "
            f"{trained_images(study, data)} images; give one of them"
        )
    statistics = study.pixel_statistics
    if study.normalise == "dataset" and not statistics:
        statistics = channel_statistics(data.train_images)
    return dataclasses.replace(study, epochs=count, pixel_statistics=statistics)


def trained_images(study: Study, data: ImageData) -> int:
    """Return the number of images that each trial trains on; it is the same for every seed.

    Raises:
        UsageError: as ``validation.split``.
    """
    if not study.validation:
        return len(data.train_labels)
    part, _ = split(data.train_labels, study.validation, study.seeds[0])
    return len(part)


def passes(study: Study, data: ImageData) -> int:
    """Return the number of epochs, the last of which may be partial if the study has ``steps``."""
    if not study.steps:
        return study.epochs
    return math.ceil(study.steps / math.ceil(trained_images(study, data) / study.batch_size))


def channel_statistics(images: torch.Tensor) -> tuple[tuple[float, float], ...]:
    """Return the mean and the standard deviation of each channel, for pixels in [0, 1].

    They are over all pixels of all images, uint8 (N, H, W, C), and exact up to rounding in float64.
    A channel with one value has no spread to divide by, so its deviation is 1.
    """
    levels = torch.arange(256, dtype=torch.float64) / 255
    found = []
    for channel in range(images.shape[3]):
        counts = torch.bincount(images[..., channel].flatten(), minlength=256).double()
        share = counts / counts.sum()
        mean = float((share * levels).sum())
        deviation = math.sqrt(float((share * (levels - mean) ** 2).sum()))
        found.append((mean, deviation or 1.0))
    return tuple(found)
