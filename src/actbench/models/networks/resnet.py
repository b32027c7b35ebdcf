"""Residual networks (He, Zhang, Ren and Sun 2016, arXiv:1512.03385) for small images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from actbench.models.networks.layers import IMAGE_SIZE, draw_as_he

if TYPE_CHECKING:
    from actbench.models.activations import ActivationFactory


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with batch norm and a shortcut around them.

    Where the number of channels changes, the image is halved, and the shortcut is either
    ``projected`` by a 1×1 convolution with batch norm (the paper's option B), or it has no
    parameters and zeros for the new channels (option A).
    """

    def __init__(
        self,
        activation: ActivationFactory,
        channels_in: int,
        channels: int,
        *,
        projected: bool = False,
    ) -> None:
        super().__init__()
        stride = 1 if channels_in == channels else 2
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.act1 = activation()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.act2 = activation()
        self.added_channels = channels - channels_in
        self.shortcut = None
        if projected and self.added_channels:
            projection = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return shape (N, channels, H / stride, W / stride), halves rounded up."""
        y = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x)))))
        if self.shortcut is not None:
            x = self.shortcut(x)
        elif self.added_channels:
            half = self.added_channels // 2
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, self.added_channels - half))
        y += x
        return self.act2(y)  # type: ignore[no-any-return]


class CifarResNet(nn.Module):
    """The networks for CIFAR of section 4.2: 6 ``blocks`` + 2 layers, of 16, 32 and 64 channels.

    The shortcuts have no parameters. The convolutions are initialised as there: Kaiming normal with
    ReLU's gain for any activation.
    """

    def __init__(
        self,
        activation: ActivationFactory,
        num_classes: int,
        image_size: int = IMAGE_SIZE,
        *,
        blocks: int = 3,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.act1 = activation()
        more = blocks - 1
        widths = [(16, 16)] * blocks
        widths += [(16, 32), *[(32, 32)] * more, (32, 64), *[(64, 64)] * more]
        self.blocks = nn.Sequential(*(ResidualBlock(activation, a, b) for a, b in widths))
        self.fc = nn.Linear(64, num_classes)
        draw_as_he(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (N, classes) for normalised images (N, 3, size, size)."""
        x = self.blocks(self.act1(self.bn1(self.conv1(x))))
        return self.fc(x.mean((2, 3)))  # type: ignore[no-any-return]


class ResNet18(nn.Module):
    """ResNet-18 (the paper's table 1) whose first layer is a 3×3 convolution, without a max-pool.

    That is the form in which it is commonly trained on CIFAR, for example by Pang et al. 2021
    (arXiv:2010.00467). Shortcuts are projected where the number of channels changes.
    """

    def __init__(
        self, activation: ActivationFactory, num_classes: int, image_size: int = IMAGE_SIZE
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.act1 = activation()
        widths = [(64, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256)]
        widths += [(256, 512), (512, 512)]
        self.blocks = nn.Sequential(
            *(ResidualBlock(activation, a, b, projected=True) for a, b in widths)
        )
        self.fc = nn.Linear(512, num_classes)
        draw_as_he(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (N, classes) for normalised images (N, 3, size, size)."""
        x = self.blocks(self.act1(self.bn1(self.conv1(x))))
        return self.fc(x.mean((2, 3)))  # type: ignore[no-any-return]
