"""The images on which a trial is scored while it trains, and the weights that it selects by them.

With ``Study.validation``, these are training images that are held out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from actbench.errors import UsageError
from actbench.store.record import EpochRecord
from actbench.study.study import seed_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from actbench.data.images import ImageData
    from actbench.study.study import Study
    from actbench.training.measure import Scores


def split(labels: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return the indices to train on and those to hold out, both int64 and rising.

    The share of each class, rounded to an integer number of images, is held out. The images are
    drawn by the seed; at least one of each class is left to train on.

    Args:
        labels: those of the training images, int64 (N,).
        share: the share to hold out, from 0 to 0.5.
        seed: the trial's.

    Raises:
        UsageError: the share of every class is less than half an image.
    """
    labels = labels.cpu()
    generator = torch.Generator().manual_seed(seed_for("validation", seed))
    order = torch.randperm(len(labels), generator=generator)
    shuffled = labels[order]
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label, count in enumerate(labels.bincount().tolist()):
        chosen = min(round(share * count), max(count - 1, 0))
        held_out[order[shuffled == label][:chosen]] = True
    if not held_out.any():
        raise UsageError(
            f"validation is {share:g}, which holds out no image of any class; the largest of "
            f"{len(labels)} training images has {int(labels.bincount().max())}"
        )
    return (~held_out).nonzero().flatten(), held_out.nonzero().flatten()


class Validation:
    """What a trial is scored on after each epoch, and its weights after the best one.

    Attributes:
        part: which training images are trained on, int64 (N,); None for all of them.
        images: uint8 (M, H, W, 3), the held-out training images, or else the test images.
        labels: int64 (M,).
        name: ``validation`` or ``test``, for messages.
        best: copies of the network's weights after the best epoch; empty if none are selected.
    """

    def __init__(
        self, network_state: Mapping[str, Any], data: ImageData, study: Study, seed: int
    ) -> None:
        self.part: Tensor | None = None
        self.images, self.labels = data.test_images, data.test_labels
        self.name = "validation" if study.validation else "test"
        if study.validation:
            self.part, held_out = split(data.train_labels, study.validation, seed)
            held_out = held_out.to(data.train_images.device)
            self.images = data.train_images.index_select(0, held_out)
            self.labels = data.train_labels.index_select(0, held_out)
        self._selects = study.select == "best"
        self.best = [value.clone() for value in _tensors(network_state)] if self._selects else []

    def record(
        self, epoch: int, train_loss: float, scores: Scores, norms: dict[str, float]
    ) -> EpochRecord:
        """Return the record of an epoch with its scores on ``images``."""
        if self.part is None:
            return EpochRecord(epoch, train_loss, scores.loss, scores.accuracy, norms)
        return EpochRecord(epoch, train_loss, None, None, norms, scores.loss, scores.accuracy)

    def add_epoch(self, network_state: Mapping[str, Any], history: Sequence[EpochRecord]) -> None:
        """Keep the weights if the last epoch of a history is its best."""
        if self._selects and best_epoch(history) == len(history):
            for kept, value in zip(self.best, _tensors(network_state), strict=True):
                kept.copy_(value)

    def select(self, network_state: Mapping[str, Any]) -> None:
        """Copy the selected weights into the network."""
        if self._selects:
            for kept, value in zip(self.best, _tensors(network_state), strict=True):
                value.copy_(kept)


def _tensors(network_state: Mapping[str, Any]) -> list[Tensor]:
    return [value for value in network_state.values() if isinstance(value, torch.Tensor)]


def best_epoch(history: Sequence[EpochRecord]) -> int:
    """Return the epoch, from 1, with the highest accuracy on held-out images.

    Of equal ones, it is the one with the lowest loss, then the first.
    """

    def key(epoch: EpochRecord) -> tuple[float, float, int]:
        return (-(epoch.validation_accuracy or 0.0), epoch.validation_loss or 0.0, epoch.epoch)

    return min(history, key=key).epoch
