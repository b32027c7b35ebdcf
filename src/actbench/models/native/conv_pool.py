"""A 3×3 convolution and the 2×2 max-pool after it as one operation, in C++.

``conv_pool.cpp`` explains why it takes less time than PyTorch's dense convolutions.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from actbench.models.native import compiled

if TYPE_CHECKING:
    from collections.abc import Callable


def conv_pool(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Return ``max_pool2d(conv2d(x, weight, bias, padding=1), 2)`` with its first derivatives.

    A gradient goes to the first maximum of a window, or to the last NaN if there is one, as in
    ``max_pool2d``. Sums are rounded differently than in PyTorch, so near ties may be decided
    differently. A gradient of 0 stays 0, even times infinity or NaN.

    Args:
        x: float32 or float64 (N, C, H, W), H and W at least 2; fastest in channels_last, and where
            C is up to 3 or a multiple of 16.
        weight: (K, C, 3, 3), of x's type; fastest in channels_last.
        bias: (K,), of x's type.

    Returns:
        (N, K, H // 2, W // 2) in channels_last, of x's type.

    Raises:
        ValueError: a shape or type differs.
        UnavailableError: the C++ source cannot be compiled (see ``compiled.prepare``).
    """
    pooled, _ = torch.ops.actbench.conv_pool.default(x, weight, bias)
    return pooled  # type: ignore[no-any-return]


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
    with torch.no_grad():
        largest, smallest, *positions = torch.ops.actbench.conv_extremes(x, weight, bias)
        if from_zero and smallest.sum().isfinite():  # the activation of −∞ may be NaN
            scores = _scores_below_zero(largest, smallest, activation)
        else:
            scores = activation(largest), activation(smallest)
    chosen, _ = torch.ops.actbench.conv_pool_chosen(
        x, weight, bias, *scores, largest, smallest, *positions
    )
    return chosen  # type: ignore[no-any-return]


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
    if len(dtypes) > 1 or x.dtype not in compiled.TYPES:
        found = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
        raise ValueError(f"conv_pool computes in float32 or float64 only, not in {found}")
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


def _empty(
    like: torch.Tensor, shape: tuple[int, ...], dtype: torch.dtype | None = None
) -> torch.Tensor:
    return torch.empty(
        shape,
        dtype=dtype or like.dtype,
        device=like.device,
        memory_format=torch.channels_last,
    )


def _call(function: str, images: torch.Tensor, filters: int, *tensors: torch.Tensor | None) -> None:
    """Call a function of the C++ source with the sizes and the tensors' memory, or none."""
    n, c, h, w = images.shape
    sizes = (ctypes.c_ssize_t * 5)(n, h, w, c, filters)
    pointers = [ctypes.c_void_p(None if t is None else t.data_ptr()) for t in tensors]
    getattr(compiled.library(images.dtype), function)(sizes, *pointers)


def _dense(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)


def _empty_pooled(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return empty tensors for the pooled values and, uint8, for the positions of the maxima."""
    _check(x, weight, bias)
    shape = (x.shape[0], weight.shape[0], x.shape[2] // 2, x.shape[3] // 2)
    return _empty(x, shape), _empty(x, shape, torch.uint8)


def _empty_input_gradient(
    g: torch.Tensor, winner: torch.Tensor, weight: torch.Tensor, height: int, width: int
) -> torch.Tensor:
    return _empty(g, (g.shape[0], weight.shape[1], height, width))


def _empty_parameter_gradients(
    g: torch.Tensor, winner: torch.Tensor, x: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    return _empty(g, (g.shape[1], x.shape[1], 3, 3)), g.new_empty(g.shape[1])


def _forward(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    pooled, winner = _empty_pooled(x, weight, bias)
    x, weight, bias = _dense(x), _dense(weight), bias.contiguous()
    _call("conv_pool_forward", x, len(weight), x, weight, bias, pooled, winner, None, None)
    if not pooled.sum().isfinite():
        _pool_by_definition(_convolved(x, weight, bias), pooled, winner)
    return pooled, winner


def _empty_extremes(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Return empty tensors for the largest and the smallest values, and for their positions."""
    (largest, largest_at), (smallest, smallest_at) = (
        _empty_pooled(x, weight, bias) for _ in range(2)
    )
    return largest, smallest, largest_at, smallest_at


def _extremes(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    largest, smallest, largest_at, smallest_at = made = _empty_extremes(x, weight, bias)
    x, weight, bias = _dense(x), _dense(weight), bias.contiguous()
    extremes = (largest, largest_at, smallest, smallest_at)
    _call("conv_pool_forward", x, len(weight), x, weight, bias, *extremes)
    if not (largest.sum() + smallest.sum()).isfinite():
        convolved = _convolved(x, weight, bias)
        _pool_by_definition(convolved, largest, largest_at)
        _pool_by_definition(-convolved, smallest, smallest_at)
        smallest.neg_()
    return made


def _convolved(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Return the convolution by its definition; Winograd's differences turn infinity into NaN."""
    return F.conv2d(x, weight, bias, padding=1)


def _pool_by_definition(
    convolved: torch.Tensor, pooled: torch.Tensor, winner: torch.Tensor
) -> None:
    values, indices = F.max_pool2d(convolved, 2, return_indices=True)
    width = convolved.shape[3]
    pooled.copy_(values)
    winner.copy_(indices // width % 2 * 2 + indices % width % 2)


def _empty_chosen(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, *_: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    return _empty_pooled(x, weight, bias)


def _chosen(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    *scores_values_positions: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    made = _empty_pooled(x, weight, bias)
    _call("conv_pool_choose", x, len(weight), *map(_dense, scores_values_positions), *made)
    return made


def _input_gradient(
    g: torch.Tensor, winner: torch.Tensor, weight: torch.Tensor, height: int, width: int
) -> torch.Tensor:
    out = _empty_input_gradient(g, winner, weight, height, width)
    _call("conv_pool_input_gradient", out, len(weight), _dense(weight), _dense(g), winner, out)
    return out


def _parameter_gradients(
    g: torch.Tensor, winner: torch.Tensor, x: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    weight, bias = _empty_parameter_gradients(g, winner, x)
    x = _dense(x)
    _call("conv_pool_parameter_gradients", x, len(weight), x, _dense(g), winner, weight, bias)
    return weight, bias


def _save(ctx: Any, inputs: tuple[torch.Tensor, ...], output: tuple[torch.Tensor, ...]) -> None:
    x, weight = inputs[:2]
    ctx.others = len(inputs) - 3
    ctx.save_for_backward(x, weight, output[1])


def _backward(ctx: Any, gradient: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    x, weight, winner = ctx.saved_tensors
    operations = torch.ops.actbench
    input_gradient = weight_gradient = bias_gradient = None
    if ctx.needs_input_grad[0]:
        input_gradient = operations.conv_pool_input_gradient(
            gradient, winner, weight, x.shape[2], x.shape[3]
        )
    if any(ctx.needs_input_grad[1:]):
        weight_gradient, bias_gradient = operations.conv_pool_parameter_gradients(
            gradient, winner, x
        )
    return input_gradient, weight_gradient, bias_gradient, *[None] * ctx.others


def _register() -> Any:
    """Register the operation and its derivatives with PyTorch; return the registration."""
    library: Any = torch.library
    operations = library.Library("actbench", "DEF")
    for schema, compute, empty in (
        (
            "conv_pool(Tensor x, Tensor weight, Tensor bias) -> (Tensor, Tensor)",
            _forward,
            _empty_pooled,
        ),
        (
            "conv_extremes(Tensor x, Tensor weight, Tensor bias) -> "
            "(Tensor, Tensor, Tensor, Tensor)",
            _extremes,
            _empty_extremes,
        ),
        (
            "conv_pool_chosen(Tensor x, Tensor weight, Tensor bias, Tensor of_largest, "
            "Tensor of_smallest, Tensor largest, Tensor smallest, Tensor largest_at, "
            "Tensor smallest_at) -> (Tensor, Tensor)",
            _chosen,
            _empty_chosen,
        ),
        (
            "conv_pool_input_gradient(Tensor g, Tensor winner, Tensor weight, SymInt height, "
            "SymInt width) -> Tensor",
            _input_gradient,
            _empty_input_gradient,
        ),
        (
            "conv_pool_parameter_gradients(Tensor g, Tensor winner, Tensor x) -> (Tensor, Tensor)",
            _parameter_gradients,
            _empty_parameter_gradients,
        ),
    ):
        name = operations.define(schema)
        operations.impl(name, compute, "CPU")
        library.register_fake(f"actbench::{name}", empty, lib=operations)
    for name in ("conv_pool", "conv_pool_chosen"):
        library.register_autograd(
            f"actbench::{name}", _backward, setup_context=_save, lib=operations
        )
    return operations


_OPERATIONS = _register()
