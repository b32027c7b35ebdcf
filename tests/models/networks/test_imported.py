"""The user's networks: which take an activation factory, and which are converted."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from actbench.errors import UsageError
from actbench.models.activations import resolve_activation
from actbench.models.build import build_network, build_notes
from actbench.models.networks.libraries import torchvision_network
from actbench.models.networks.registry import resolve_model

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCE = """
from functools import partial

import torch.nn.functional as F
from torch import nn


def made(kind, classes=10, width=8, size=32):
    read, decide = nn.Linear(3 * size**2, width), nn.Linear(width, classes)
    return nn.Sequential(nn.Flatten(), read, kind(), decide)

def factory(activation, classes): return made(activation, classes)
def other_names(f, k): return made(f, k)
def act_with_default(act_layer=nn.ReLU, classes=10): return made(act_layer, classes)
def with_size(activation, classes, image_size): return made(activation, classes, size=image_size)
def anything(*args): return made(*args)
partly = partial(made, width=5)

def plain(num_classes=10, width=8): return made(nn.ReLU, num_classes, width)
def keyword(*, classes): return made(nn.ReLU, classes)
def width_first(width=8, num_classes=10): return made(nn.ReLU, num_classes, width)
def pretrained(pretrained=False, classes=10): return made(nn.ReLU, classes)
def any_keywords(**options): return made(nn.ReLU, options["num_classes"])
def only(k): return made(nn.ReLU, k)
def fixed(width=8): return made(nn.ReLU, 7, width)
def plain_with_size(classes, image_size): return made(nn.ReLU, classes, size=image_size)

class Net(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.first, self.last = nn.Linear(3072, 8), nn.Linear(8, num_classes)

    def forward(self, x):
        return self.last(F.relu(self.first(x.flatten(1))))

def drops_out(num_classes=10):
    read, decide, drop = nn.Linear(3072, 8), nn.Linear(8, num_classes), nn.Dropout(inplace=True)
    return nn.Sequential(nn.Flatten(), read, nn.ReLU(inplace=True), drop, decide)

def two(act, classes): raise AssertionError
def three(width, depth, classes): raise AssertionError
built = nn.Linear(1, 1)
def nothing(classes): return nn.Sequential(nn.Flatten(), nn.Linear(3072, classes))
def forgot_to_return(classes): made(nn.ReLU, classes)
def returns_a_class(classes): return Net
def compiled(classes):
    network = made(nn.ReLU, classes)
    network.compile()
    return network
"""
TAKE_A_FACTORY = ("factory", "other_names", "act_with_default", "with_size", "anything", "partly")
CONVERTED = (
    "plain",
    "keyword",
    "width_first",
    "pretrained",
    "any_keywords",
    "only",
    "fixed",
    "plain_with_size",
    "Net",
    "plain:num_classes=7",
)


@pytest.fixture
def module(user_module: Callable[[str], str]) -> str:
    return user_module(SOURCE)


@pytest.mark.parametrize("name", [*TAKE_A_FACTORY, *CONVERTED])
def test_a_users_function_is_called_with_what_it_takes(name: str, module: str) -> None:
    network, layers = build_network(f"{module}:{name}", resolve_activation("tanh"), 7, 0)
    assert [type(layer) for layer in layers.values()] == [nn.Tanh]
    assert network.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    notes = build_notes(network)
    if name in TAKE_A_FACTORY:
        assert notes == []
    else:
        calls = (0, 1) if name == "Net" else (1, 0)
        assert notes[0].startswith(f"activations replaced: {calls[0]} modules")
        assert f"{calls[1]} calls" in notes[0]


def test_parameters_and_the_size_of_images_are_passed(module: str) -> None:
    tanh = resolve_activation("tanh")
    network, _ = build_network(f"{module}:plain:width=5", tanh, 10, 0)
    assert network[1].weight.shape == (5, 3072)
    network, _ = build_network(f"{module}:plain_with_size", tanh, 10, 0, image_size=6)
    assert network[1].weight.shape == (8, 108)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("two:depth=3", "unexpected keyword argument 'depth'"),
        ("three", "it must take (activation factory, classes), or the number of classes only"),
        ("built", "must be a callable"),
        ("plain:3", "give its parameters by name"),
    ],
)
def test_a_function_is_not_called_with_what_it_does_not_take(
    name: str, message: str, module: str
) -> None:
    with pytest.raises(UsageError) as error:
        resolve_model(f"{module}:{name}")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "has no activation to replace"),
        ("forgot_to_return", "is built as NoneType; it must be a torch.nn.Module"),
        ("returns_a_class", "is built as class Net; it must be a torch.nn.Module"),
        ("compiled", "is compiled by torch.compile; give the Python module"),
    ],
)
def test_a_network_that_cannot_be_converted_is_refused_with_its_name(
    name: str, message: str, module: str
) -> None:
    with pytest.raises(UsageError, match=f"model '{module}:{name}' {message}"):
        build_network(f"{module}:{name}", resolve_activation("tanh"), 7, 0)


@pytest.mark.parametrize("name", ["plain", "Net"])
def test_a_converted_network_starts_from_the_same_weights_under_every_activation(
    name: str, module: str
) -> None:
    def weights(spec: str, seed: int = 0) -> dict[str, torch.Tensor]:
        network, _ = build_network(f"{module}:{name}", resolve_activation(spec), 10, seed)
        return network.state_dict()

    first = weights("prelu")  # finds the activations, which must not draw for later networks
    for spec in ("relu", "gelu"):
        state = weights(spec)
        assert all(torch.equal(value, first[key]) for key, value in state.items())
    other = weights("prelu", seed=1)
    assert not any(torch.equal(other[key], first[key]) for key in weights("relu"))


# torchvision and timm


@pytest.mark.parametrize(
    ("model", "activations", "parameters"),
    [
        pytest.param("torchvision:resnet18", 17, 11_181_642, marks=pytest.mark.slow),
        ("torchvision:squeezenet1_1", 26, 727_626),
        ("torchvision:mobilenet_v3_small", 33, 1_528_106),  # its dropout overwrites its input
    ],
)
def test_a_network_of_torchvision_is_converted(
    model: str, activations: int, parameters: int
) -> None:
    network, _ = build_network(model, resolve_activation("relu"), 10, 0)
    network(torch.randn(2, 3, 32, 32)).sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    network, layers = build_network(model, resolve_activation("leaky_relu:0.1"), 10, 0)
    assert len(layers) == activations
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert not any(isinstance(m, (nn.ReLU, nn.Hardswish)) for m in network.modules())
    assert network.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_a_network_whose_own_dropout_overwrites_what_relu_needs_can_be_trained(module: str) -> None:
    for spec in ("relu", "leaky_relu:0.1"):
        network, _ = build_network(f"{module}:drops_out", resolve_activation(spec), 10, 0)
        network(torch.randn(4, 3, 32, 32)).square().sum().backward()
        assert all(p.grad is not None for p in network.parameters())


def test_a_vision_transformer_of_torchvision_is_built_for_the_size_of_the_images() -> None:
    with torch.device("meta"):
        network = torchvision_network("vit_b_16")(10, 64)
    assert network.encoder.pos_embedding.shape[1] == 17


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("torchvision", "needs a name, such as torchvision:resnet18"),
        ("torchvision:resnet19", "close names are resnet18"),
        ("torchvision:fcn_resnet50", "torchvision has no such network; close names are resnet50"),
        ("torchvision:zzzzzzzz", "it has 80 others"),
        ("torchvision:nam=resnet18", "has no parameter 'nam'; did you mean 'name'?"),
    ],
)
def test_an_unknown_network_of_torchvision_is_refused(model: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        resolve_model(model)
    assert message in str(error.value)


def test_a_network_of_a_library_has_one_text() -> None:
    for text in ("torchvision:resnet18", "torchvision:name=resnet18", " torchvision: resnet18"):
        assert resolve_model(text)[0] == "torchvision:resnet18"


def test_without_timm_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError) as error:
        resolve_model("timm:resnet18")
    assert str(error.value) == (
        "model 'timm:resnet18' needs timm; install actbench with the extra timm"
    )


def test_a_network_of_timm_is_converted() -> None:
    pytest.importorskip("timm")
    network, layers = build_network("timm:mobilenetv3_small_050", resolve_activation("relu"), 10, 0)
    assert len(layers) == 33
    assert network.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    with pytest.raises(UsageError, match="close names are resnet18"):
        resolve_model("timm:resnet18x")


def test_a_transformer_of_timm_is_built_for_the_size_of_the_images() -> None:
    pytest.importorskip("timm")
    network, _ = build_network(
        "timm:vit_tiny_patch16_224", resolve_activation("relu"), 10, 0, image_size=64
    )
    assert network.pos_embed.shape[1] == 17
