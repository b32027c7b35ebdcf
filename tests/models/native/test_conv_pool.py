"""The native step equals convolution and max-pool, and picks the same winners."""

from __future__ import annotations

import platform
from functools import partial
from typing import TYPE_CHECKING

import pytest
import torch
import torch.nn.functional as F

from actbench.models.native import compiled
from actbench.models.native.conv_pool import conv_pool, conv_pool_chosen, extremes, maxima
from helpers.compiler import has_compiler

if TYPE_CHECKING:
    from collections.abc import Callable

    Tensors = tuple[torch.Tensor, ...]


# images, channels, height, width, filters: cnn's and deep_cnn's, and sizes that fill no vector
IMAGE_SIZES = (28, 48, 64, 96)
SHAPES = [
    (5, 3, 32, 32, 16),
    (5, 16, 16, 16, 32),
    (3, 32, 32, 32, 32),
    (2, 1, 6, 4, 33),
    (2, 2, 12, 10, 3),
    (2, 5, 6, 14, 7),
    (1, 20, 2, 2, 100),
    (1, 64, 4, 6, 70),
    # odd sides: the last row or column is in no window
    (2, 3, 33, 33, 16),
    (2, 16, 15, 15, 32),
    (2, 2, 5, 8, 3),
    (2, 5, 6, 3, 7),
    *((2, 3, size, size, 16) for size in IMAGE_SIZES),
    *((2, 16, size // 2, size // 2, 32) for size in IMAGE_SIZES),
]


def drawn(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensors:
    """Return images, weights, biases and a gradient of the output, all normal, channels_last."""
    n, c, h, w, k = shape
    generator = torch.Generator().manual_seed(seed)
    sizes = ((n, c, h, w), (k, c, 3, 3), (k,), (n, k, h // 2, w // 2))
    tensors = (torch.randn(size, generator=generator, dtype=dtype) for size in sizes)
    x, weight, bias, g = tensors
    return _channels_last(x), _channels_last(weight / (9 * c) ** 0.5), bias, _channels_last(g)


def _channels_last(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)


def by_pytorch(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return F.max_pool2d(F.conv2d(x, weight, bias, padding=1), 2)


def values_and_gradients(
    function: Callable[..., torch.Tensor], inputs: Tensors, g: torch.Tensor
) -> list[torch.Tensor]:
    """Return the pooled values and the gradients in images, weights and biases."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    pooled = function(*leaves)
    return [pooled.detach(), *torch.autograd.grad(pooled, leaves, g.to(pooled.dtype))]


def relative_error(found: torch.Tensor, right: torch.Tensor) -> float:
    return float((found.double() - right).abs().max() / right.abs().max())


@has_compiler
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradients_are_pytorchs_to_float32s_precision(shape: tuple[int, ...]) -> None:
    *inputs, g = drawn(shape)
    ours = values_and_gradients(conv_pool, tuple(inputs), g)
    right = values_and_gradients(by_pytorch, tuple(tensor.double() for tensor in inputs), g)
    assert [tensor.shape for tensor in ours] == [tensor.shape for tensor in right]
    assert max(map(relative_error, ours, right)) < 3e-6


@has_compiler
@pytest.mark.parametrize("slope", [0.0, 0.1, 1.0, 16.0])
@pytest.mark.parametrize("shape", SHAPES[:8], ids=str)
def test_a_leaky_relu_in_it_has_the_bits_of_pytorchs_after_it(
    shape: tuple[int, ...], slope: float
) -> None:
    def after(*tensors: torch.Tensor) -> torch.Tensor:
        return F.leaky_relu(conv_pool(*tensors), slope)

    *inputs, g = drawn(shape)
    found = values_and_gradients(partial(conv_pool, slope=slope), tuple(inputs), g)
    expected = values_and_gradients(after, tuple(inputs), g)
    assert all(map(torch.equal, found, expected))


@has_compiler
@pytest.mark.parametrize("pixel", [torch.inf, -torch.inf, torch.nan])
@pytest.mark.parametrize("channels", [3, 16])
def test_what_is_not_finite_passes_a_relu_as_in_pytorch(pixel: float, channels: int) -> None:
    x, weight, bias, _ = drawn((2, channels, 8, 8, 16))
    x[0, 0, 3, 3] = pixel
    found = conv_pool(x, weight, bias, slope=0)
    assert torch.equal(found.isfinite(), F.relu(by_pytorch(x, weight, bias)).isfinite())
    assert relative_error(found[1], F.relu(by_pytorch(x, weight, bias))[1].double()) < 3e-6


@pytest.mark.parametrize("slope", [-0.1, float("nan")])
def test_a_slope_that_would_change_the_maximum_is_refused(slope: float) -> None:
    x, weight, bias, _ = drawn((1, 3, 4, 4, 2))
    with pytest.raises(ValueError, match=rf"a slope of 0 or more, not {slope}"):
        conv_pool(x, weight, bias, slope=slope)


def v_shaped(x: torch.Tensor) -> torch.Tensor:
    return F.leaky_relu(x, -0.5)


@has_compiler
@pytest.mark.parametrize(
    ("activation", "from_zero"),
    [(F.silu, True), (F.silu, False), (torch.tanh, True), (v_shaped, False)],
)
@pytest.mark.parametrize("shape", SHAPES[:10], ids=str)
def test_the_element_with_the_largest_activation_is_chosen(
    shape: tuple[int, ...], activation: Callable[[torch.Tensor], torch.Tensor], from_zero: bool
) -> None:
    def ours(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return activation(conv_pool_chosen(x, weight, bias, activation, from_zero=from_zero))

    def by_definition(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(activation(F.conv2d(x, weight, bias, padding=1)), 2)

    *inputs, g = drawn(shape)
    right = tuple(tensor.double() for tensor in inputs)
    found = values_and_gradients(ours, tuple(inputs), g)
    expected = values_and_gradients(by_definition, right, g)
    assert max(map(relative_error, found, expected)) < 3e-6


@has_compiler
@pytest.mark.parametrize("from_zero", [True, False])
def test_an_infinite_element_whose_activation_is_nan_is_chosen(from_zero: bool) -> None:
    x = torch.ones(1, 3, 2, 4)
    x[:, :, :, 2] = -torch.inf
    weight = torch.ones(1, 3, 3, 3)  # the first column is finite, the three that see −∞ are −∞
    chosen = conv_pool_chosen(x, weight, torch.zeros(1), F.mish, from_zero=from_zero)
    assert F.mish(chosen).isnan().all()


@has_compiler
@pytest.mark.parametrize("channels", [3, 4, pytest.param(17, marks=pytest.mark.slow)])
def test_gradients_are_those_of_finite_differences(channels: int) -> None:
    *inputs, _ = drawn((2, channels, 4, 7, 3), torch.float64)
    leaves = [tensor.requires_grad_() for tensor in inputs]
    assert torch.autograd.gradcheck(conv_pool, leaves)
    assert torch.autograd.gradcheck(lambda *t: conv_pool_chosen(*t, F.silu), leaves)


# difficult inputs


def small_integers(shape: tuple[int, ...]) -> list[torch.Tensor]:
    """Return tensors as ``drawn``, of values with which every sum is exact, and many ties."""
    return [tensor.mul(2).round().clamp(-3, 3) for tensor in drawn(shape)]


def ties(x: torch.Tensor) -> torch.Tensor:
    return x


def zeros(x: torch.Tensor) -> torch.Tensor:
    return x * 0


def flat_areas(x: torch.Tensor) -> torch.Tensor:
    x[:, :, 1:] = x[:, :, :1, :1]
    return x


def denormals(x: torch.Tensor) -> torch.Tensor:
    return x * 2.0**-140


def nan(x: torch.Tensor) -> torch.Tensor:
    x[0, 0, 3, 3] = torch.nan
    x[1, -1, 0, :] = torch.nan
    return x


def infinities(x: torch.Tensor) -> torch.Tensor:
    x[0, 0, 3, 3] = torch.inf
    x[0, -1, 0, 0] = -torch.inf
    x[1, 0, ::3, ::4] = torch.inf
    return x


def both(x: torch.Tensor) -> torch.Tensor:
    return nan(infinities(x))


HARD = [ties, zeros, flat_areas, denormals, nan, infinities, both]


@has_compiler
@pytest.mark.parametrize("spoil", HARD)
@pytest.mark.parametrize(
    "shape",
    [(2, 3, 8, 8, 16), (2, 16, 8, 8, 32), (2, 5, 6, 6, 7), (2, 3, 9, 7, 16), (2, 16, 7, 9, 32)],
    ids=str,
)
def test_the_winner_is_that_of_pytorchs_max_pool(
    spoil: Callable[[torch.Tensor], torch.Tensor], shape: tuple[int, ...]
) -> None:
    x, weight, bias, g = small_integers(shape)
    x = spoil(x)
    if spoil is denormals:
        bias = bias * 0
    pooled, winner = maxima(x, weight, bias, positions=True)
    (largest, largest_at), (smallest, smallest_at), are_finite = extremes(
        x, weight, bias, positions=True
    )
    assert are_finite == x.isfinite().all()
    convolved = F.conv2d(x, weight, bias, padding=1)
    width = x.shape[3]
    for values, positions, sign in (
        (pooled, winner, 1),
        (largest, largest_at, 1),
        (-smallest, smallest_at, -1),
    ):
        right, index = F.max_pool2d(sign * convolved, 2, return_indices=True)
        torch.testing.assert_close(values, right, rtol=0, atol=0, equal_nan=True)
        assert torch.equal(positions, (index // width % 2 * 2 + index % width % 2).to(torch.uint8))
    alone, none = maxima(x, weight, bias, positions=False)
    assert none is None
    torch.testing.assert_close(alone, pooled, rtol=0, atol=0, equal_nan=True)
    if x.isfinite().all():
        ours = values_and_gradients(conv_pool, (x, weight, bias), g)
        theirs = values_and_gradients(by_pytorch, (x, weight, bias), g)
        assert all(map(torch.equal, ours, theirs))


@has_compiler
def test_a_gradient_of_nan_or_infinity_is_not_lost() -> None:
    x, weight, bias, g = drawn((2, 16, 8, 8, 32))
    g[0, 3, 1, 1], g[1, 5, 2, 2] = torch.nan, torch.inf
    ours = values_and_gradients(conv_pool, (x, weight, bias), g)
    theirs = values_and_gradients(by_pytorch, (x, weight, bias), g)
    for mine, other in zip(ours, theirs, strict=True):
        # PyTorch's zeros times infinity give NaN; the native step skips these products
        assert (~mine.isfinite() <= ~other.isfinite()).all()
    assert not ours[1][0].isfinite().all()
    assert not ours[1][1].isfinite().all()
    assert ours[3].isnan().nonzero().flatten().tolist() == [3]
    assert ours[3].isinf().nonzero().flatten().tolist() == [5]


# permitted inputs


@has_compiler
@pytest.mark.parametrize("shape", SHAPES[:2], ids=str)
def test_neither_strides_nor_adjacent_memory_change_a_bit(shape: tuple[int, ...]) -> None:
    x, weight, bias, g = drawn(shape)
    usual = values_and_gradients(conv_pool, (x, weight, bias), g)
    strided = torch.empty(*x.shape[:3], 2 * x.shape[3])[..., ::2].copy_(x)
    other = values_and_gradients(conv_pool, (strided, weight.contiguous(), bias), g.contiguous())
    assert all(map(torch.equal, usual, other))
    assert torch.equal(conv_pool(x[3:4], weight, bias), usual[0][3:4])


@has_compiler
@pytest.mark.parametrize("channels", [3, 16])
def test_no_images_give_no_values_and_gradients_of_zero(channels: int) -> None:
    x, weight, bias, g = drawn((0, channels, 4, 4, 8))
    pooled, *gradients = values_and_gradients(conv_pool, (x, weight, bias), g)
    assert pooled.shape == (0, 8, 2, 2)
    assert all(gradient.eq(0).all() for gradient in gradients)


@has_compiler
@pytest.mark.parametrize("wanted", [0, 1, 2])
def test_each_gradient_can_be_computed_by_itself(wanted: int) -> None:
    *inputs, g = drawn((2, 5, 4, 6, 3))
    all_gradients = values_and_gradients(conv_pool, tuple(inputs), g)[1:]
    inputs[wanted].requires_grad_()
    (single,) = torch.autograd.grad(conv_pool(*inputs), inputs[wanted], g)
    assert torch.equal(single, all_gradients[wanted])


@has_compiler
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, w, b: (x[..., :1], w, b), "height and width 2 or more"),
        (lambda x, w, b: (x[:, :, 3:], w, b), "height and width 2 or more"),
        (lambda x, w, b: (x[0], w, b), "height and width 2 or more"),
        (lambda x, w, b: (x[:, 1:], w, b), "weights .K, 4, 3, 3."),
        (lambda x, w, b: (x, w[..., :2], b), "weights .K, 5, 3, 3."),
        (lambda x, w, b: (x, w, b[1:]), "biases"),
        (lambda x, w, b: (x.double(), w, b), "float32, float64"),
        (lambda x, w, b: (x.half(), w.half(), b.half()), "not in float16"),
        (lambda x, w, b: (x.to("meta"), w, b), "on the processor only, not on meta"),
    ],
)
def test_other_shapes_and_types_are_refused(change: Callable[..., Tensors], message: str) -> None:
    x, weight, bias, _ = drawn((2, 5, 4, 6, 3))
    with pytest.raises(ValueError, match=message):
        conv_pool(*change(x, weight, bias))


@has_compiler
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the flags are of x86")
@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(("-mno-avx512f",), id="AVX2"),
        pytest.param(("-mno-avx",), id="plain", marks=pytest.mark.slow),
    ],
)
@pytest.mark.usefixtures("built_anew")
def test_narrower_vectors_compute_the_same(
    flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def computed() -> list[list[torch.Tensor]]:
        given = [drawn(SHAPES[0]), drawn(SHAPES[1]), drawn(SHAPES[5])]
        functions = (conv_pool, lambda *tensors: conv_pool_chosen(*tensors, F.silu))
        return [values_and_gradients(f, tuple(x), g) for f in functions for *x, g in given]

    widest = computed()
    monkeypatch.setattr(compiled, "FLAGS", (*compiled.FLAGS, *flags))
    for usual, narrow in zip(widest, computed(), strict=True):
        if flags == ("-mno-avx512f",):
            assert all(map(torch.equal, narrow, usual))  # fused multiplications on both
        assert max(map(relative_error, narrow, [t.double() for t in usual])) < 1e-6
