"""A 3×3 convolution, the 2×2 max-pool after it and a leaky ReLU as one operation, in C++.

``conv_pool.cpp`` says why it takes less time than PyTorch's dense convolutions.
"""

from __future__ import annotations

import ctypes
import functools
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from actbench.models.native.compiled import TYPES, library, pointer

if TYPE_CHECKING:
    from collections.abc import Callable

# an element of each window, (N, K, H // 2, W // 2), and uint8 where it is: 0 and 1 in its upper and
# 2 and 3 in its lower row; with a leaky ReLU, NEGATIVE more unless it is above 0
Extreme = tuple[torch.Tensor, torch.Tensor | None]


NEGATIVE = 4


class Select(Protocol):
    """Computes an element of each window."""

    def __call__(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, *, positions: bool
    ) -> Extreme:
        """Return it, for dense tensors, outside any graph; its position if asked for."""


def conv_pool(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, *, slope: float = 1.0
) -> torch.Tensor:
    """Return a leaky ReLU of ``max_pool2d(conv2d(x, weight, bias, padding=1), 2)``.

    It has first derivatives. A gradient goes to the first maximum of a window, or to the last NaN
    if there is one, as in ``max_pool2d``. Sums are rounded differently than in PyTorch, so near
    ties may be decided differently. A gradient of 0 stays 0, even times infinity or NaN.

    Args:
        x: float32 or float64 (N, C, H, W), H and W at least 2; fastest in channels_last, and where
            C is up to 3 or a multiple of 16.
        weight: (K, C, 3, 3), of x's type; fastest in channels_last.
        bias: (K,), of x's type.
        slope: that of the leaky ReLU for negative values, at least 0: ReLU for 0, none for 1.

    Returns:
        (N, K, H // 2, W // 2) in channels_last, of x's type. A 0 of ReLU may have a negative sign.

    Raises:
        ValueError: a shape or type differs, or the slope is negative.
        UnavailableError: the C++ source cannot be compiled (see ``compiled.prepare``).
    """
    if not slope >= 0:
        raise ValueError(f"conv_pool takes a slope of 0 or more, not {slope}")
    return _selected(x, weight, bias, functools.partial(maxima, slope=slope), slope)


def conv_pool_chosen(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    activation: Callable[[torch.Tensor], torch.Tensor],
    *,
    from_zero: bool = False,
) -> torch.Tensor:
    """Return the element of each 2×2 window of ``conv2d`` whose activation is the largest.

    The activation is quasi-convex: on any interval it is largest at one of the two ends. So only
    the largest and the smallest element of a window are looked at, and
    ``activation(conv_pool_chosen(x, weight, bias, activation))`` is
    ``max_pool2d(activation(conv2d(x, weight, bias, padding=1)), 2)``, up to the rounding of sums.
    Gradients go to that element.

    Args:
        x: as for ``conv_pool``.
        weight: as for ``conv_pool``.
        bias: as for ``conv_pool``.
        activation: from a tensor to one of its shape, element by element.
        from_zero: whether it is non-decreasing from 0 on and nowhere below 0 larger than at 0. Then
            it is computed only for windows without an element from 0 on; ``activation`` gets their
            elements in one dimension.

    Returns:
        As ``conv_pool``.

    Raises:
        ValueError: a shape or type differs.
        UnavailableError: the C++ source cannot be compiled (see ``compiled.prepare``).
    """
    select = functools.partial(_chosen, activation=activation, from_zero=from_zero)
    return _selected(x, weight, bias, select)


def _scores_below_zero(
    largest: torch.Tensor,
    smallest: torch.Tensor,
    activation: Callable[[torch.Tensor], torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the activations of the extremes where the largest is below 0, and 0 elsewhere."""
    # PyTorch's nonzero takes five times as long as NumPy's
    where = torch.from_numpy(np.flatnonzero(_flat(largest).numpy() < 0))
    scores = torch.zeros_like(largest), torch.zeros_like(smallest)
    for score, extreme in zip(scores, (largest, smallest), strict=True):
        _flat(score).scatter_(0, where, activation(_flat(extreme).index_select(0, where)))
    return scores


def _flat(dense: torch.Tensor) -> torch.Tensor:
    return dense.permute(0, 2, 3, 1).view(-1)


def _check(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> None:
    dtypes = {x.dtype, weight.dtype, bias.dtype}
    if len(dtypes) > 1 or x.dtype not in TYPES:
        found = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
        raise ValueError(f"conv_pool computes in float32 or float64 only, not in {found}")
    if x.device.type != "cpu":
        raise ValueError(f"conv_pool computes on the processor only, not on {x.device}")
    if x.dim() != 4 or x.shape[2] < 2 or x.shape[3] < 2:
        raise ValueError(
            "conv_pool takes images (N, C, H, W) of height and width 2 or more, not "
            f"{tuple(x.shape)}"
        )
    if bias.dim() != 1 or weight.shape != (len(bias), x.shape[1], 3, 3):
        raise ValueError(
            f"conv_pool takes weights (K, {x.shape[1]}, 3, 3) and biases (K,) for images of "
            f"{x.shape[1]} channels, not {tuple(weight.shape)} and {tuple(bias.shape)}"
        )


def _selected(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, select: Select, slope: float = 1.0
) -> torch.Tensor:
    """Return an element of each window, with its derivatives if they are asked for.

    ``select`` has applied a leaky ReLU of the slope to it.
    """
    _check(x, weight, bias)
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad or bias.requires_grad):
        return _Selected.apply(x, weight, bias, select, slope)  # type: ignore[no-any-return]
    with torch.no_grad():
        return select(_dense(x), _dense(weight), bias.contiguous(), positions=False)[0]


class _Selected(torch.autograd.Function):
    """The element of each window that ``select`` returns."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        select: Select,
        slope: float,
    ) -> torch.Tensor:
        x, weight = _dense(x), _dense(weight)
        values, winner = select(x, weight, bias.contiguous(), positions=True)
        ctx.save_for_backward(x, weight, winner)
        ctx.slope = slope
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, winner = ctx.saved_tensors
        input_gradient = weight_gradient = bias_gradient = None
        if ctx.needs_input_grad[0]:
            input_gradient = torch.empty_like(x)
        if any(ctx.needs_input_grad[1:3]):
            weight_gradient = torch.empty_like(weight)
            bias_gradient = weight.new_empty(len(weight))
        gradients = (input_gradient, weight_gradient, bias_gradient)
        _call("conv_pool_gradients", ctx.slope, x, weight, _dense(gradient), winner, *gradients)
        return *gradients, None, None


def maxima(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    *,
    positions: bool,
    slope: float = 1.0,
) -> Extreme:
    """Return a leaky ReLU of the largest element of each window, and its position if asked for.

    The arguments are those of ``conv_pool``, dense in channels_last.
    """
    largest = _empty_extreme(x, weight, positions=positions)
    if not _call("conv_pool_forward", slope, x, weight, bias, *largest, None, None):
        _pool_by_definition(_convolved(x, weight, bias), *largest)
        values, winner = largest
        if slope != 1 and winner is not None:
            winner += NEGATIVE * ~(values > 0)
        F.leaky_relu_(values, slope) if slope else F.relu_(values)
    return largest


def extremes(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, *, positions: bool
) -> tuple[Extreme, Extreme, bool]:
    """Return the largest and the smallest elements, as ``maxima``, and whether all are finite."""
    largest, smallest = (_empty_extreme(x, weight, positions=positions) for _ in range(2))
    is_finite = _call("conv_pool_forward", 1.0, x, weight, bias, *largest, *smallest)
    if not is_finite:
        convolved = _convolved(x, weight, bias)
        _pool_by_definition(convolved, *largest)
        _pool_by_definition(-convolved, *smallest)
        smallest[0].neg_()
    return largest, smallest, bool(is_finite)


def _chosen(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    *,
    activation: Callable[[torch.Tensor], torch.Tensor],
    from_zero: bool,
    positions: bool,
) -> Extreme:
    """Return the extreme of each window that has the larger activation."""
    largest, smallest, is_finite = extremes(x, weight, bias, positions=positions)
    if from_zero and is_finite:  # the activation of −∞ may be NaN
        scores = _scores_below_zero(largest[0], smallest[0], activation)
    else:
        scores = activation(largest[0]), activation(smallest[0])
    chosen = _empty_extreme(x, weight, positions=positions)
    of_both = (*map(_dense, scores), largest[0], smallest[0], largest[1], smallest[1])
    library("conv_pool", x.dtype).conv_pool_choose(
        ctypes.c_ssize_t(chosen[0].numel()), *map(pointer, (*of_both, *chosen))
    )
    return chosen


def _empty_extreme(x: torch.Tensor, weight: torch.Tensor, *, positions: bool) -> Extreme:
    n, _, height, width = x.shape
    values = torch.empty(
        (n, len(weight), height // 2, width // 2),
        dtype=x.dtype,
        device=x.device,
        memory_format=torch.channels_last,
    )
    return values, torch.empty_like(values, dtype=torch.uint8) if positions else None


def _call(
    function: str,
    slope: float,
    x: torch.Tensor,
    weight: torch.Tensor,
    *tensors: torch.Tensor | None,
) -> int:
    """Call a function of the C++ source with sizes, slope, and the tensors' memory, or none."""
    n, c, h, w = x.shape
    sizes = (ctypes.c_ssize_t * 5)(n, h, w, c, len(weight))
    called = getattr(library("conv_pool", x.dtype), function)
    of_tensors = map(pointer, (x, weight, *tensors))
    return called(sizes, ctypes.c_double(slope), *of_tensors)  # type: ignore[no-any-return]


def _dense(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)


def _convolved(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Return the convolution by its definition; Winograd's differences turn infinity into NaN."""
    return F.conv2d(x, weight, bias, padding=1)


def _pool_by_definition(
    convolved: torch.Tensor, pooled: torch.Tensor, winner: torch.Tensor | None
) -> None:
    values, indices = F.max_pool2d(convolved, 2, return_indices=True)
    width = convolved.shape[3]
    pooled.copy_(values)
    if winner is not None:
        winner.copy_(indices // width % 2 * 2 + indices % width % 2)
