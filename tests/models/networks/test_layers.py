"""Layers that several networks use: what saves time changes no bit."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from actbench.models.activations import resolve_activation
from actbench.models.build import build_network
from actbench.models.networks.layers import PoolingConv2d, flatten, max_pool, pooled_layers
from actbench.models.networks.libraries import LIBRARIES
from actbench.models.networks.registry import MODELS
from actbench.study.activations import ACTIVATIONS, Shape
from helpers.compiler import has_compiler

if TYPE_CHECKING:
    from collections.abc import Callable


def commuting_specs() -> list[str]:
    given = ["leaky_relu:0", "leaky_relu:0.3", "leaky_relu:16", *ACTIVATIONS]
    return [s for s in given if resolve_activation(s).shape is Shape.EXACTLY_INCREASING]


@pytest.mark.parametrize("spec", commuting_specs())
def test_pooling_first_gives_the_same_bits_where_an_activation_commutes_with_max(spec: str) -> None:
    factory = resolve_activation(spec)
    convolution, activation_and_pool = pooled_layers(factory, 8, 8)
    assert isinstance(convolution, PoolingConv2d)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(16, 8, 32, 32, generator=generator)
    x[:, :, :8] = 0  # ties
    weight = torch.randn(16, 8, 16, 16, generator=generator)

    def values_and_gradient(
        layers: Callable[[torch.Tensor], torch.Tensor],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        leaf = x.clone().requires_grad_()
        y = layers(leaf)
        (gradient,) = torch.autograd.grad((y * weight).sum(), leaf)
        return y.detach(), gradient

    def by_definition(z: torch.Tensor) -> torch.Tensor:
        z = F.conv2d(z, convolution.weight, convolution.bias, padding=1)
        return F.max_pool2d(factory()(z), 2)

    ours = values_and_gradient(nn.Sequential(convolution, activation_and_pool))
    plain = values_and_gradient(by_definition)
    assert torch.equal(ours[0], plain[0])
    assert torch.equal(ours[1], plain[1])


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (2, 3)])
def test_without_a_graph_the_pool_gives_the_same_bits(size: tuple[int, int]) -> None:
    x = torch.randn(3, 5, *size, generator=torch.Generator().manual_seed(0))
    x[0, 0, :2, :2] = 0.25  # a tie
    x[1, 1, 0, 1] = torch.nan
    x[2, 2, 1, 0] = -torch.inf
    pooled = max_pool(x)
    in_a_graph = max_pool(x.requires_grad_())
    assert in_a_graph.requires_grad
    assert not pooled.requires_grad
    assert torch.equal(pooled.view(torch.int32), in_a_graph.detach().view(torch.int32))


@pytest.mark.parametrize(
    ("model", "spec"),
    [
        *((name, "leaky_relu:0.3") for name in MODELS if name not in LIBRARIES),
        *(("resnet20", spec) for spec in ("relu", "leaky_relu:0", "leaky_relu:-0.3")),
        *(("cnn", spec) for spec in ("relu", "leaky_relu:0", "leaky_relu:-0.3")),
    ],
)
def test_a_network_that_overwrites_the_inputs_of_activations_has_the_same_bits(
    model: str, spec: str
) -> None:
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = []
    for overwrites in (True, False):
        network, _ = build_network(model, resolve_activation(spec), 10, seed=0)
        rectifiers = [m for m in network.modules() if isinstance(m, (nn.ReLU, nn.LeakyReLU))]
        assert {m.inplace for m in rectifiers} == {spec != "leaky_relu:-0.3"}
        for module in rectifiers:
            module.inplace &= overwrites
        torch.manual_seed(0)  # of dropout
        logits = network(images)
        logits.square().sum().backward()
        found.append([logits, *(p.grad for p in network.parameters())])
    assert all(map(torch.equal, *found))


def test_the_gradient_of_flat_values_is_in_the_layout_of_the_layers_before() -> None:
    drawn = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    x = drawn.contiguous(memory_format=torch.channels_last)
    seen = []
    for flat in (flatten, functools.partial(torch.flatten, start_dim=1)):
        before = x.clone().requires_grad_() * 1
        before.register_hook(seen.append)
        values = flat(before * 1)
        assert torch.equal(values, drawn.flatten(1))
        values.square().sum().backward()
    ours, pytorchs = seen
    assert torch.equal(ours, pytorchs)
    assert ours.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(flatten(x), drawn.flatten(1))  # without a graph


@has_compiler
@pytest.mark.parametrize("spec", ["relu", "leaky_relu:0.1", "leaky_relu:-0.1", "tanh"])
def test_a_watched_activation_runs_with_native_kernels(spec: str) -> None:
    convolution, after = pooled_layers(resolve_activation(spec), 8, 16)
    assert isinstance(convolution, PoolingConv2d)
    convolution.use_native()
    layers = nn.Sequential(convolution, after)
    x = torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    alone = layers(x)
    for watch in ("register_forward_pre_hook", "register_forward_hook"):
        inputs: list[torch.Tensor] = []
        handle = getattr(after.activation, watch)(lambda _, given, *__: inputs.extend(given))  # noqa: B023
        assert torch.equal(layers(x), alone)
        assert len(inputs) == 1
        handle.remove()
        assert torch.equal(layers(x), alone)
        assert len(inputs) == 1
