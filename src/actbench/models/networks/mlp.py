"""A multilayer perceptron."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from actbench.models.networks.layers import IMAGE_SIZE

if TYPE_CHECKING:
    import torch

    from actbench.models.activations import ActivationFactory


class MLP(nn.Module):
    """``depth`` hidden layers of ``width`` units with the activation, and a linear layer."""

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
        values = 3 * image_size**2
        for i in range(1, depth + 1):
            self.add_module(f"fc{i}", nn.Linear(values, width))
            self.add_module(f"act{i}", activation())
            values = width
        self.fc = nn.Linear(values, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (N, classes) for normalised images (N, 3, size, size)."""
        x = x.flatten(1)
        for layer in self.children():
            x = layer(x)
        return x
