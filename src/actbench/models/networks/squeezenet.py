"""SqueezeNet (Iandola et al. 2016, arXiv:1602.07360) for small images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from actbench.models.networks.layers import (
    IMAGE_SIZE,
    ActivationPool,
    check_image_size,
    max_pool,
)

if TYPE_CHECKING:
    from actbench.models.activations import ActivationFactory


class Fire(nn.Module):
    """A 1×1 convolution to few channels, then a 1×1 and a 3×3 convolution side by side.

    Batch norm and the activation follow each of the three.
    """

    def __init__(
        self, activation: ActivationFactory, channels_in: int, squeezed: int, channels: int
    ) -> None:
        super().__init__()
        half = channels // 2
        self.squeeze = _convolution(channels_in, squeezed, 1, activation())
        self.expand1 = _convolution(squeezed, half, 1, activation())
        self.expand3 = _convolution(squeezed, half, 3, activation())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return shape (N, channels, H, W)."""
        x = self.squeeze(x)
        return torch.cat([self.expand1(x), self.expand3(x)], 1)


def _convolution(
    channels_in: int, channels: int, size: int, activation: nn.Module
) -> nn.Sequential:
    convolution = nn.Conv2d(channels_in, channels, size, padding=size // 2)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), activation)


class SqueezeNet(nn.Module):
    """SqueezeNet with simple bypass and batch norm, in the form for CIFAR behind Mish's table.

    That form (Misra 2020, the repository's notebooks) differs from the paper's: the first
    convolution is 3×3 with stride 1, the pools are 2×2, after the first convolution and after the
    fire modules 4 and 8, batch norm follows each convolution but the last, and there is no dropout.
    A bypass is around every second fire module, where the number of channels stays the same.
    """

    def __init__(
        self, activation: ActivationFactory, num_classes: int, image_size: int = IMAGE_SIZE
    ) -> None:
        super().__init__()
        check_image_size("squeezenet", image_size, 8)
        self.conv1, self.bn1 = nn.Conv2d(3, 96, 3, padding=1), nn.BatchNorm2d(96)
        self.act1 = ActivationPool(activation)
        self.fire2 = Fire(activation, 96, 16, 128)
        self.fire3 = Fire(activation, 128, 16, 128)
        self.fire4 = Fire(activation, 128, 32, 256)
        self.fire5 = Fire(activation, 256, 32, 256)
        self.fire6 = Fire(activation, 256, 48, 384)
        self.fire7 = Fire(activation, 384, 48, 384)
        self.fire8 = Fire(activation, 384, 64, 512)
        self.fire9 = Fire(activation, 512, 64, 512)
        self.conv10 = nn.Conv2d(512, num_classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (N, classes) for normalised images (N, 3, size, size)."""
        x = self.fire2(self.act1(self.bn1(self.conv1(x))))
        x = max_pool(self.fire4(self.fire3(x) + x))
        x = self.fire6(self.fire5(x) + x)
        x = max_pool(self.fire8(self.fire7(x) + x))
        return self.conv10(self.fire9(x)).mean((2, 3))  # type: ignore[no-any-return]
