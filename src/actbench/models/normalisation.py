"""Normalisation of images inside a network, so that every network takes images in [−1, 1]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn


class _Normalise:
    """Maps a network's input x in [−1, 1] to ((x + 1) / 2 − mean) / deviation per channel."""

    def __init__(self, statistics: Sequence[tuple[float, float]]) -> None:
        mean, deviation = torch.tensor(statistics, dtype=torch.float64).T[..., None, None]
        self._scale = (0.5 / deviation).float()
        self._shift = ((0.5 - mean) / deviation).float()

    def __call__(self, _: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        images, *others = inputs
        if self._scale.device != images.device:
            self._scale = self._scale.to(images.device)
            self._shift = self._shift.to(images.device)
        return (torch.addcmul(self._shift, images, self._scale), *others)


def normalise_inputs(network: nn.Module, statistics: Sequence[tuple[float, float]]) -> None:
    """Let a network normalise its images by the data's statistics before its first layer.

    It still takes images in [−1, 1], so that evaluation, corruptions and attacks are the same for
    every normalisation. Nothing is added to its ``state_dict``.

    Args:
        network: changed in place.
        statistics: the mean and the standard deviation of each channel, for pixels in [0, 1].
    """
    network.register_forward_pre_hook(_Normalise(statistics))
