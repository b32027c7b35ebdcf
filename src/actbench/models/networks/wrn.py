"""Wide residual networks (Zagoruyko and Komodakis 2016, arXiv:1605.07146)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from actbench.models.networks.layers import IMAGE_SIZE, draw_as_he

if TYPE_CHECKING:
    import torch

    from actbench.models.activations import ActivationFactory


class WideBlock(nn.Module):
    """Twice batch norm, activation and a 3×3 convolution, with a shortcut around them.

    Where the number of channels changes, the shortcut is a 1×1 convolution of the activated input.
    """

    def __init__(
        self, activation: ActivationFactory, channels_in: int, channels: int, stride: int
    ) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.act1 = activation()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.act2 = activation()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.shortcut = None
        if channels_in != channels:
            self.shortcut = nn.Conv2d(channels_in, channels, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return shape (N, channels, H / stride, W / stride), halves rounded up."""
        y = self.act1(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(y)
        y = self.conv2(self.act2(self.bn2(self.conv1(y))))
        return y + shortcut  # type: ignore[no-any-return]


class WideResNet(nn.Module):
    """WRN-``depth``-``width``: blocks of 16, 32 and 64 channels times ``width``, without dropout.

    ``depth`` is 6 n + 4 for n blocks of each width.
    """

    def __init__(
        self,
        activation: ActivationFactory,
        num_classes: int,
        image_size: int = IMAGE_SIZE,
        *,
        depth: int,
        width: int,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        layers, channels_in = [], 16
        for channels, stride in ((16 * width, 1), (32 * width, 2), (64 * width, 2)):
            for block in range((depth - 4) // 6):
                first = block == 0
                layers.append(WideBlock(activation, channels_in, channels, stride if first else 1))
                channels_in = channels
        self.blocks = nn.Sequential(*layers)
        self.bn = nn.BatchNorm2d(channels_in)
        self.act = activation()
        self.fc = nn.Linear(channels_in, num_classes)
        draw_as_he(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (N, classes) for normalised images (N, 3, size, size)."""
        x = self.act(self.bn(self.blocks(self.conv1(x))))
        return self.fc(x.mean((2, 3)))  # type: ignore[no-any-return]
