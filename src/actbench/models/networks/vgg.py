"""VGG networks (Simonyan and Zisserman 2015, arXiv:1409.1556) for small images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from actbench.models.networks.layers import (
    IMAGE_SIZE,
    ActivationPool,
    check_image_size,
    draw_as_he,
)

if TYPE_CHECKING:
    import torch

    from actbench.models.activations import ActivationFactory

# the paper's table 1, by depth: the convolutions before each of the five max-pools
CONVOLUTIONS = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


class VGG(nn.Module):
    """The convolutions of VGG-``depth`` and one linear layer.

    The paper's three linear layers, for images of 224×224 pixels, are replaced by one, which is
    usual for CIFAR; it takes the mean over the last pool's pixels. With ``batch_norm``, batch norm
    follows each convolution. Weights start as in ``draw_as_he``, biases at 0.
    """

    def __init__(
        self,
        activation: ActivationFactory,
        num_classes: int,
        image_size: int = IMAGE_SIZE,
        *,
        depth: int,
        batch_norm: bool,
    ) -> None:
        super().__init__()
        check_image_size("vgg", image_size, 32)
        layers: list[nn.Module] = []
        channels_in = 3
        for count, channels in zip(CONVOLUTIONS[depth], (64, 128, 256, 512, 512), strict=True):
            for left in reversed(range(count)):
                layers.append(nn.Conv2d(channels_in, channels, 3, padding=1))
                if batch_norm:
                    layers.append(nn.BatchNorm2d(channels))
                layers.append(activation() if left else ActivationPool(activation))
                channels_in = channels
        self.features = nn.Sequential(*layers)
        self.fc = nn.Linear(512, num_classes)
        draw_as_he(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (N, classes) for normalised images (N, 3, size, size)."""
        return self.fc(self.features(x).mean((2, 3)))  # type: ignore[no-any-return]
