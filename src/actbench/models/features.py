"""Which axis of a network's tensors counts channels or features, and parameters made from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import torch
from torch import nn

from actbench.models.activations import ChannelPReLU

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle


class FeatureAxis:
    """The axis of the features of a tensor, by the layer that ran last before it is used.

    After a linear layer it is the last one, as of tokens (N, L, C) and of images (N, H, W, C);
    after a convolution, and before any layer, it is axis 1. Used as a context manager around passes
    of the network.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._last = False
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        for module in self._network.modules():
            if isinstance(module, nn.Linear):
                self._handles.append(module.register_forward_hook(self._after_linear))
            elif isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
                self._handles.append(module.register_forward_hook(self._after_convolution))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _after_linear(self, *_: object) -> None:
        self._last = True

    def _after_convolution(self, *_: object) -> None:
        self._last = False

    def of(self, x: torch.Tensor) -> int:
        """Return the axis of the features of a tensor of two or more dimensions."""
        return x.dim() - 1 if self._last else 1


def materialise(network: nn.Module, images: torch.Tensor) -> None:
    """Evaluate a network once, so that lazy layers and lazy parameters get their shapes.

    The slopes of ``ChannelPReLU`` are for the axis of the features at its place. The modes of all
    modules stay as they are.
    """
    modes = [(module, module.training) for module in network.modules()]
    handles = []
    with FeatureAxis(network) as axis, torch.no_grad():

        def set_axis(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
            layer.axis = axis.of(inputs[0])  # type: ignore[assignment]

        for module, _ in modes:
            if isinstance(module, ChannelPReLU):
                handles.append(module.register_forward_pre_hook(set_axis))
        network.eval()(images)
    for handle in handles:
        handle.remove()
    for module, mode in modes:
        module.training = mode
