"""Network in Network (Lin, Chen and Yan 2014, arXiv:1312.4400)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from actbench.models.networks.layers import IMAGE_SIZE, check_image_size

if TYPE_CHECKING:
    import torch

    from actbench.models.activations import ActivationFactory


class NiN(nn.Module):
    """The network for CIFAR-10: three convolutions, each followed by two 1×1 convolutions.

    An activation follows each of the nine, also the last, whose mean over the pixels is the logits.
    Between the three are a 3×3 max-pool and a 3×3 average pool of stride 2, each with dropout of
    one half. As in the authors' configuration, the weights start from a normal with standard
    deviation 0.05, the biases at 0.
    """

    def __init__(
        self, activation: ActivationFactory, num_classes: int, image_size: int = IMAGE_SIZE
    ) -> None:
        super().__init__()
        check_image_size("nin", image_size, 4)

        def convolution(channels_in: int, channels: int, size: int = 1) -> list[nn.Module]:
            return [nn.Conv2d(channels_in, channels, size, padding=size // 2), activation()]

        self.layers = nn.Sequential(
            *convolution(3, 192, 5),
            *convolution(192, 160),
            *convolution(160, 96),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Dropout(0.5),
            *convolution(96, 192, 5),
            *convolution(192, 192),
            *convolution(192, 192),
            nn.AvgPool2d(3, 2, ceil_mode=True),
            nn.Dropout(0.5),
            *convolution(192, 192, 3),
            *convolution(192, 192),
            *convolution(192, num_classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.normal_(module.weight, std=0.05)
                nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (N, classes) for normalised images (N, 3, size, size)."""
        return self.layers(x).mean((2, 3))  # type: ignore[no-any-return]
