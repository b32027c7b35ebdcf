"""Plain convolutional networks: that of the original experiment, and a deep stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from actbench.models.networks.layers import IMAGE_SIZE, check_image_size, flatten, pooled_layers

if TYPE_CHECKING:
    import torch

    from actbench.models.activations import ActivationFactory


class CNN(nn.Module):
    """Two 3×3 convolutions (16, 32 channels) with activation and 2×2 max-pool; two linear layers.

    The first linear layer takes the 32×8×8 = 2048 values, for images of 32×32 pixels, to 128 units
    with activation.
    """

    def __init__(
        self, activation: ActivationFactory, num_classes: int, image_size: int = IMAGE_SIZE
    ) -> None:
        super().__init__()
        check_image_size("cnn", image_size, 4)
        self.conv1, self.act1 = pooled_layers(activation, 3, 16)
        self.conv2, self.act2 = pooled_layers(activation, 16, 32)
        self.fc1 = nn.Linear(32 * (image_size // 4) ** 2, 128)
        self.act3 = activation()
        self.fc2 = nn.Linear(128, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (N, classes) for normalised images (N, 3, size, size)."""
        x = self.act1(self.conv1(x))
        x = self.act2(self.conv2(x))
        x = self.act3(self.fc1(flatten(x)))
        return self.fc2(x)  # type: ignore[no-any-return]


class DeepCNN(nn.Module):
    """A plain stack of ``depth`` 3×3 convolutions of 32 channels without normalisation.

    A 2×2 max-pool follows the convolutions at a third and two thirds of the depth; a linear layer
    takes the 32×8×8 values, for images of 32×32 pixels. It exists to show gradients that vanish
    with depth.
    """

    def __init__(
        self,
        activation: ActivationFactory,
        num_classes: int,
        image_size: int = IMAGE_SIZE,
        *,
        depth: int,
    ) -> None:
        super().__init__()
        check_image_size("deep_cnn", image_size, 4)
        pooled = {depth // 3, 2 * depth // 3}
        layers: dict[str, nn.Module] = {}
        for i in range(1, depth + 1):
            channels_in = 3 if i == 1 else 32
            if i in pooled:
                layers[f"conv{i}"], layers[f"act{i}"] = pooled_layers(activation, channels_in, 32)
            else:
                layers[f"conv{i}"] = nn.Conv2d(channels_in, 32, 3, padding=1)
                layers[f"act{i}"] = activation()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.fc = nn.Linear(32 * (image_size // 4) ** 2, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (N, classes) for normalised images (N, 3, size, size)."""
        *layers, fc = self.children()
        for layer in layers:
            x = layer(x)
        return fc(flatten(x))  # type: ignore[no-any-return]
