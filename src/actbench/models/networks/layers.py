"""Layers that several networks use, and the size of their images."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from actbench.errors import UsageError
from actbench.models.native.conv_pool import conv_pool, conv_pool_chosen
from actbench.study.activations import Shape

if TYPE_CHECKING:
    from actbench.models.activations import ActivationFactory

IMAGE_SIZE = 32


class ActivationPool(nn.Module):
    """The activation and a 2×2 max-pool, for x of shape (N, C, H, W).

    If the two commute to the last bit, the pool comes first: the activation then computes a quarter
    of the elements. With ``pooled_before``, what comes before this layer has pooled already, and
    applied the activation too if ``slope_before`` is not None.
    """

    def __init__(self, activation: ActivationFactory) -> None:
        super().__init__()
        self.activation = activation()
        self.pool_first = activation.shape is Shape.EXACTLY_INCREASING
        self.pooled_before = False
        self._slope = leaky_slope(self.activation)

    def slope_before(self) -> float | None:
        """Return the slope of a leaky ReLU to apply with the pool before this layer, or None.

        An activation with hooks, as of ``InactiveUnits``, runs in this layer.
        """
        hooks = self.activation._forward_pre_hooks or self.activation._forward_hooks
        return self._slope if self.pooled_before and not hooks else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return shape (N, C, H // 2, W // 2), or that of x if it is pooled already."""
        if self.slope_before() is not None:
            return x
        if self.pooled_before:
            return self.activation(x)  # type: ignore[no-any-return]
        return self.activation(max_pool(x)) if self.pool_first else max_pool(self.activation(x))


class PoolingConv2d(nn.Conv2d):
    """A 3×3 convolution with padding 1 for x (N, C, H, W), before an ``ActivationPool``.

    With ``use_native``, it pools as well, in one operation: it returns the element of each window
    that has the largest activation, or this activation if it is a leaky ReLU.
    """

    bias: torch.Tensor

    def __init__(
        self, channels_in: int, channels: int, after: ActivationPool, shape: Shape
    ) -> None:
        super().__init__(channels_in, channels, 3, padding=1)
        self.native = False
        self._shape = shape
        self._after = (after,)  # in a tuple, as it is no part of this layer

    def use_native(self) -> None:
        """Compute with the operations of ``conv_pool``."""
        self.native = True
        self._after[0].pooled_before = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return shape (N, K, H, W), or (N, K, H // 2, W // 2) with native kernels."""
        if not self.native:
            return super().forward(x)
        if self._shape >= Shape.INCREASING:
            slope = self._after[0].slope_before()
            return conv_pool(x, self.weight, self.bias, slope=1.0 if slope is None else slope)
        # its forward, as this is no call of the activation that hooks may count
        activation = self._after[0].activation.forward
        from_zero = self._shape is Shape.INCREASING_FROM_ZERO
        return conv_pool_chosen(x, self.weight, self.bias, activation, from_zero=from_zero)


def overwriting(activation: nn.Module) -> nn.Module:
    """Return the activation; a ReLU or leaky ReLU then overwrites its input, with the same bits.

    For places where nothing else reads the input, such as after a convolution.
    """
    if leaky_slope(activation) is not None:
        activation.inplace = True  # type: ignore[assignment]
    return activation


def leaky_slope(activation: nn.Module) -> float | None:
    """Return the slope of a ReLU or leaky ReLU that has the signs of its input; None of others."""
    if type(activation) is nn.ReLU:
        return 0.0
    if type(activation) is nn.LeakyReLU and activation.negative_slope >= 0:
        return activation.negative_slope
    return None


def pooled_layers(
    activation: ActivationFactory, channels_in: int, channels: int
) -> tuple[nn.Conv2d, ActivationPool]:
    """Return a 3×3 convolution, and the activation and 2×2 max-pool after it."""
    after = ActivationPool(activation)
    if activation.shape is Shape.ANY:
        return nn.Conv2d(channels_in, channels, 3, padding=1), after
    return PoolingConv2d(channels_in, channels, after, activation.shape), after


def flatten(x: torch.Tensor) -> torch.Tensor:
    """Return x, of shape (N, C, H, W) in channels_last, as (N, C · H · W).

    Its gradient is in channels_last too. PyTorch's would be in the order of the flat values, on
    which the derivatives of the layers before take several times as long.
    """
    if x.requires_grad:
        in_order = partial(torch.Tensor.contiguous, memory_format=torch.channels_last)
        x.register_hook(in_order)  # type: ignore[no-untyped-call]
    return x.flatten(1)


def max_pool(x: torch.Tensor) -> torch.Tensor:
    """Return ``max_pool2d(x, 2)`` for x of shape (N, C, H, W).

    Without a graph, which needs the positions of the maxima, comparing rows and then columns gives
    the same values in less time.
    """
    if x.requires_grad:
        return F.max_pool2d(x, 2)
    height, width = x.shape[-2] // 2 * 2, x.shape[-1] // 2 * 2
    rows = torch.maximum(x[..., :height:2, :], x[..., 1:height:2, :])
    return torch.maximum(rows[..., :width:2], rows[..., 1:width:2])


def check_image_size(model: str, image_size: int, smallest: int) -> None:
    """Raise a UsageError if a network's images are smaller than it can take."""
    if image_size < smallest:
        raise UsageError(
            f"model {model!r} takes images of {smallest}×{smallest} pixels or more, not "
            f"{image_size}×{image_size}"
        )


def draw_as_he(network: nn.Module) -> None:
    """Draw the weights of convolutions from Kaiming's normal with ReLU's gain and the fan-out.

    Their biases start at 0 (He et al. 2015, arXiv:1502.01852, backward case of section 2.2).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
