"""Gradient norms per layer while a network trains; inactive units after it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch.utils.hooks import RemovableHandle


class GradientNorms:
    """The mean over steps of the L2 norm of the loss gradient in each layer's weight.

    A layer is a module with a ``weight`` of two or more dimensions (convolutions and linear
    layers, not batch norm or PReLU); layers keep the order of ``named_modules``.
    """

    def __init__(self, network: nn.Module) -> None:
        self._weights = {
            name: module.weight
            for name, module in network.named_modules()
            if isinstance(getattr(module, "weight", None), nn.Parameter) and module.weight.dim() > 1
        }
        device = next((w.device for w in self._weights.values()), None)
        self._none = torch.zeros((), device=device)
        self._sums = torch.zeros(len(self._weights), dtype=torch.float64, device=device)

    @property
    def layers(self) -> list[str]:
        """The names of the layers."""
        return list(self._weights)

    def reset(self) -> None:
        """Forget all steps: a new epoch begins."""
        self._sums.zero_()

    def add_step(self) -> None:
        """Take the gradients that the last backward pass left into the mean."""
        norms = [
            self._none if weight.grad is None else torch.linalg.vector_norm(weight.grad)
            for weight in self._weights.values()
        ]
        if norms:
            self._sums += torch.stack(norms)

    def means(self, steps: int) -> dict[str, float]:
        """Return the mean norm by layer name over the steps since ``reset``, so many."""
        means = self._sums / steps
        return dict(zip(self._weights, means.tolist(), strict=True))


class InactiveUnits:
    """Watches activation layers over a test set: which units never get a positive input.

    A unit is a channel of a convolution's or a neuron of a linear layer's output. It is inactive
    when its pre-activation is ≤ 0 at every position of every image seen. Use as a context manager
    around the forward passes.
    """

    def __init__(self, activation_layers: Mapping[str, nn.Module]) -> None:
        self._layers = activation_layers
        self._largest: dict[str, torch.Tensor] = {}
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        for name, layer in self._layers.items():

            def watch(_: nn.Module, inputs: tuple[torch.Tensor, ...], name: str = name) -> None:
                x = inputs[0]
                units = x.amax((0, *range(2, x.dim())))
                before = self._largest.get(name)
                self._largest[name] = units if before is None else torch.maximum(before, units)

            self._handles.append(layer.register_forward_pre_hook(watch))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def fractions(self) -> dict[str, float]:
        """Return the share of inactive units, in [0, 1], by activation layer."""
        return {
            name: float((largest <= 0).double().mean()) for name, largest in self._largest.items()
        }

    def fraction(self) -> float:
        """Return the share of inactive units among the units of all layers together."""
        largest = torch.cat(list(self._largest.values())) if self._largest else torch.ones(1)
        return float((largest <= 0).double().mean())
