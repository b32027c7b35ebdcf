"""Networks: shapes as published, and the same initial weights under every activation."""

from __future__ import annotations

import functools
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from actbench.errors import UsageError
from actbench.models.activations import resolve_activation
from actbench.models.build import build_network
from actbench.models.networks.layers import (
    ActivationPool,
)
from actbench.models.networks.registry import resolve_model
from actbench.study.activations import ACTIVATIONS

if TYPE_CHECKING:
    from collections.abc import Callable

NETWORKS = (
    "cnn",
    "deep_cnn:depth=6",
    "resnet20",
    "resnet18",
    "wrn:depth=10,width=1",
    "vgg",
    "vgg:batch_norm=true",
    "squeezenet",
    "nin",
    "mlp:depth=2,width=16",
    "vit:depth=2,width=16,heads=2",
)
LARGE = ("resnet18", "vgg:batch_norm=true")  # wider than resnet20, and vgg with other layers


def marked(model: str, *values: str) -> Any:
    return pytest.param(model, *values, marks=pytest.mark.slow if model in LARGE else ())


EACH_NETWORK = [marked(model) for model in NETWORKS]


def network_of(
    model: str, spec: str = "relu", seed: int = 0, classes: int = 10, image_size: int = 32
) -> nn.Module:
    return build_network(model, resolve_activation(spec), classes, seed, image_size=image_size)[0]


@functools.cache
def without_activations(model: str) -> dict[str, torch.Tensor]:
    return network_of(model, "identity", seed=3).state_dict()


def parameter_count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("model", "spec"),
    [("cnn", name) for name in ACTIVATIONS if name != "identity"]
    + [marked(model, spec) for model in NETWORKS[1:] for spec in ("relu", "prelu")]
    + [pytest.param(model, "gelu", marks=pytest.mark.slow) for model in NETWORKS[1:]],
)
def test_every_activation_of_a_seed_starts_from_the_same_weights(model: str, spec: str) -> None:
    reference = without_activations(model)
    state = network_of(model, spec, seed=3).state_dict()
    assert reference.keys() <= state.keys()
    assert all(torch.equal(state[name], reference[name]) for name in reference)


def test_a_seed_gives_the_same_weights_every_time_and_another_gives_others() -> None:
    first, again, other = (network_of("cnn", seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])


@pytest.mark.parametrize("model", EACH_NETWORK)
def test_prelu_adds_its_own_slopes_and_nothing_else(model: str) -> None:
    plain = network_of(model, "relu").state_dict()
    with_slopes, layers = build_network(model, resolve_activation("prelu"), 10, 0)
    added = with_slopes.state_dict().keys() - plain.keys()
    assert added == {f"{name}.weight" for name in layers}
    assert all(with_slopes.state_dict()[name].tolist() == [0.25] for name in added)


@pytest.mark.parametrize("model", EACH_NETWORK)
def test_prelu_of_channels_adds_a_slope_for_each_channel(model: str) -> None:
    plain = parameter_count(network_of(model))
    network, layers = build_network(model, resolve_activation("prelu:channels=true"), 10, 0)
    slopes = [layer.weight for layer in layers.values()]
    assert all((slope == 0.25).all() for slope in slopes)
    assert parameter_count(network) == plain + sum(len(slope) for slope in slopes)
    if model == "cnn":
        assert [len(slope) for slope in slopes] == [16, 32, 128]
    if model.startswith("vit"):
        assert [len(slope) for slope in slopes] == [64, 64]


def test_the_draws_of_a_users_activation_depend_on_the_seed(
    user_module: Callable[[str], str],
) -> None:
    source = """
import torch
class Act(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.rand(()))
    def forward(self, x):
        return torch.where(x > 0, x, self.slope * x)
"""
    spec = f"{user_module(source)}:Act"
    first, again, other = (network_of("cnn", spec, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(first["act3.slope"], again["act3.slope"])
    assert not torch.equal(first["act3.slope"], other["act3.slope"])
    assert torch.equal(first["conv1.weight"], network_of("cnn").state_dict()["conv1.weight"])


@pytest.mark.parametrize("model", EACH_NETWORK)
def test_building_a_network_does_not_change_its_callers_random_numbers(model: str) -> None:
    before = torch.get_rng_state()
    network_of(model, "prelu")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("model", EACH_NETWORK)
def test_a_network_gives_a_logit_for_each_class(model: str) -> None:
    network = network_of(model, classes=7).eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize(
    ("model", "image_size"),
    [
        *product(("cnn", "deep_cnn:depth=6"), (4, 28, 30, 33)),
        *product(("resnet20", "wrn:depth=10,width=1"), (4, 33)),
        *product(("squeezenet", "nin"), (8, 33)),
        ("mlp:depth=2,width=16", 5),
        ("vgg", 64),
        ("vit:patch=5,depth=2,width=16,heads=2", 30),
    ],
)
def test_a_network_takes_images_of_another_size(model: str, image_size: int) -> None:
    network = network_of(model, image_size=image_size).eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, image_size, image_size)).shape == (2, 10)


@pytest.mark.parametrize(
    ("model", "image_size", "message"),
    [
        ("cnn", 3, "model 'cnn' takes images of 4×4 pixels or more, not 3×3"),
        ("vgg", 28, "model 'vgg' takes images of 32×32 pixels or more, not 28×28"),
        ("vit", 30, "patch must divide 30"),
    ],
)
def test_images_of_a_size_that_a_network_cannot_take_are_refused(
    model: str, image_size: int, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        network_of(model, image_size=image_size)


def test_the_cnn_is_that_of_the_original_experiment() -> None:
    shapes = {name: tuple(p.shape) for name, p in network_of("cnn").named_parameters()}
    assert shapes == {
        "conv1.weight": (16, 3, 3, 3),
        "conv1.bias": (16,),
        "conv2.weight": (32, 16, 3, 3),
        "conv2.bias": (32,),
        "fc1.weight": (128, 2048),
        "fc1.bias": (128,),
        "fc2.weight": (10, 128),
        "fc2.bias": (10,),
    }


@pytest.mark.parametrize("spec", ["relu", "leaky_relu:0.3", "gelu", "tanh"])
def test_the_cnn_computes_conv_activation_pool_twice_and_two_linear_layers(spec: str) -> None:
    network = network_of("cnn", spec).eval()
    weights = network.state_dict()
    activation = resolve_activation(spec)()
    x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1

    def conv(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    with torch.inference_mode():
        y = F.max_pool2d(activation(conv(x, "conv1")), 2)
        y = F.max_pool2d(activation(conv(y, "conv2")), 2)
        expected = linear(activation(linear(y.flatten(1), "fc1")), "fc2")
        torch.testing.assert_close(network(x), expected)


@pytest.mark.parametrize("depth", [3, 6, 7, 20])
def test_deep_cnn_has_depth_convolutions_of_32_channels_and_two_pools(depth: int) -> None:
    network = network_of(f"deep_cnn:depth={depth}")
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [32] * depth
    assert sum(isinstance(m, ActivationPool) for m in network.modules()) == 2
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())


def test_the_activation_layers_are_named_in_the_networks_order() -> None:
    def names(model: str) -> list[str]:
        return list(build_network(model, resolve_activation("relu"), 10, 0)[1])

    assert names("cnn") == ["act1.activation", "act2.activation", "act3"]
    assert len(names("resnet20")) == 19
    assert len(names("deep_cnn:depth=5")) == 5


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("cn", "did you mean 'cnn'?"),
        ("resnet19", "did you mean 'resnet18'?"),
        ("wrn:depth=15", "depth is 15; it must be 6 n + 4, from 10 to 100"),
        ("vgg:depth=12", "depth is 12; it must be one of 11, 13, 16, 19"),
        ("vgg:batch_norm=1", "it must be true or false"),
        ("mlp:depth=0", "it must be an integer from 1 to 200"),
        ("vit:heads=5", "heads must divide width"),
        ("cnn:3", "takes no parameter"),
        ("deep_cnn:depth=2", "depth is 2; it must be an integer from 3 to 200"),
        ("deep_cnn:depth=1000000000", "it must be an integer from 3 to 200"),
        ("deep_cnn:depth=6.5", "it must be an integer"),
        ("deep_cnn:width=6", "has no parameter 'width'"),
        ("no_such_module_here:build", "cannot import"),
        ("math:pi", "must be a callable"),
        ("math:floor:3", "give its parameters by name"),
    ],
)
def test_an_invalid_network_is_refused(model: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        resolve_model(model)
    assert message in str(error.value)


OWN_NETWORK = """
from torch import nn

def build(activation, classes, width=8):
    read, decide = nn.Linear(3072, width), nn.Linear(width, classes)
    return nn.Sequential(nn.Flatten(), read, activation(), decide)
"""


def test_a_user_defined_network_is_called_with_the_activation_and_the_classes(
    user_module: Callable[[str], str],
) -> None:
    network, layers = build_network(
        f"{user_module(OWN_NETWORK)}:build:width=5", resolve_activation("tanh"), 4, 0
    )
    assert parameter_count(network) == 3072 * 5 + 5 + 5 * 4 + 4
    assert list(layers) == ["2"]
    assert isinstance(layers["2"], nn.Tanh)


SIZED_NETWORK = """
from torch import nn

def build(activation, classes, image_size, width=8):
    read, decide = nn.Linear(3 * image_size**2, width), nn.Linear(width, classes)
    return nn.Sequential(nn.Flatten(), read, activation(), decide)
"""


def test_a_user_defined_network_gets_the_size_of_the_images_if_it_names_it(
    user_module: Callable[[str], str],
) -> None:
    name = f"{user_module(SIZED_NETWORK)}:build"
    assert network_of(name, image_size=5)[1].weight.shape == (8, 75)
    assert network_of(f"{name}:image_size=5,width=3", image_size=5)[1].weight.shape == (3, 75)
