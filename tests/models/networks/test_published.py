"""Networks are the published ones: numbers of parameters, and the outputs of other code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from actbench.models.activations import resolve_activation
from actbench.models.networks.libraries import LIBRARIES
from actbench.models.networks.registry import MODELS, resolve_model

if TYPE_CHECKING:
    from collections.abc import Callable

    Weights = dict[str, torch.Tensor]


def network_of(model: str, spec: str = "relu", classes: int = 10) -> nn.Module:
    return resolve_model(model)[1](resolve_activation(spec), classes, 32)


# with 10 classes; resnet and wrn: as in the papers' tables, to the digits that these give (0.27,
# 0.46, 0.66 and 0.85 M; 2.7, 8.9 and 36.5 M); nin: that of the authors' configuration
COUNTS = {
    "cnn": 268_650,
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "resnet18": 11_173_962,
    "wrn": 2_748_890,
    "wrn:depth=40,width=4": 8_949_210,
    "wrn:depth=28,width=10": 36_479_194,
    "vgg": 9_225_610,
    "vgg:batch_norm=true": 9_231_114,
    "vgg:depth=16,batch_norm=true": 14_728_266,
    "nin": 966_986,
    "mlp": 3072 * 512 + 512 + 2 * (512 * 512 + 512) + 512 * 10 + 10,
}


@pytest.mark.parametrize(("model", "count"), COUNTS.items())
def test_a_network_has_the_published_number_of_parameters(model: str, count: int) -> None:
    with torch.device("meta"):
        network = network_of(model)
    assert sum(p.numel() for p in network.parameters()) == count


def test_squeezenet_has_the_number_of_parameters_that_is_published_for_100_classes() -> None:
    with torch.device("meta"):
        network = network_of("squeezenet", classes=100)
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 2) == 0.78


@pytest.mark.parametrize("depth", [20, 32, 44, 56])
def test_a_resnet_for_cifar_has_depth_layers_on_the_way(depth: int) -> None:
    with torch.device("meta"):
        network = network_of(f"resnet{depth}")
    weights = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert len(weights) == depth


def images() -> torch.Tensor:
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def with_weights_of(ours: nn.Module, theirs: nn.Module) -> nn.Module:
    """Return another network with our weights, which it has in the same order."""
    values = ours.state_dict().values()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), values, strict=True)))
    return theirs


def test_resnet18_computes_what_torchvisions_does_behind_the_first_layer() -> None:
    torch.manual_seed(0)
    ours, theirs = network_of("resnet18"), torchvision.models.resnet18(num_classes=10)
    theirs.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    theirs.maxpool = nn.Identity()
    torch.testing.assert_close(with_weights_of(ours, theirs)(images()), ours(images()))


@pytest.mark.parametrize("depth", [11, 13, 16, 19])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_vgg_computes_what_torchvisions_convolutions_do(depth: int, batch_norm: bool) -> None:
    torch.manual_seed(0)
    ours = network_of(f"vgg:depth={depth},batch_norm={batch_norm}")
    name = f"vgg{depth}{'_bn' if batch_norm else ''}"
    with torch.device("meta"):
        features = torchvision.models.get_model(name).features
    theirs = nn.Sequential(features, nn.Flatten(), nn.Linear(512, 10)).to_empty(device="cpu")
    torch.testing.assert_close(with_weights_of(ours, theirs)(images()), ours(images()))


def test_vit_computes_what_torchvisions_does() -> None:
    torch.manual_seed(0)
    ours = network_of("vit:depth=2,width=24,heads=3", "gelu")
    theirs = torchvision.models.VisionTransformer(32, 4, 2, 3, 24, 96, num_classes=10)
    weights = ours.state_dict()
    named = {
        "class_token": weights.pop("token"),
        "encoder.pos_embedding": weights.pop("positions"),
        "conv_proj.weight": weights.pop("patches.weight"),
        "conv_proj.bias": weights.pop("patches.bias"),
    }
    others = [name for name in theirs.state_dict() if name not in named]
    theirs.load_state_dict({**named, **dict(zip(others, weights.values(), strict=True))})
    torch.testing.assert_close(theirs(images()), ours(images()), rtol=1e-4, atol=1e-5)


def conv(x: torch.Tensor, w: Weights, name: str, stride: int = 1) -> torch.Tensor:
    weight = w[f"{name}.weight"]
    return F.conv2d(x, weight, w.get(f"{name}.bias"), stride, padding=weight.shape[-1] // 2)


def norm(x: torch.Tensor, w: Weights, name: str) -> torch.Tensor:
    return F.batch_norm(x, None, None, w[f"{name}.weight"], w[f"{name}.bias"], training=True)


def wide_resnet(x: torch.Tensor, w: Weights) -> torch.Tensor:
    x = conv(x, w, "conv1")
    for i, stride in enumerate((1, 2, 2)):
        y = F.relu(norm(x, w, f"blocks.{i}.bn1"))
        name = f"blocks.{i}.shortcut"
        shortcut = conv(y, w, name, stride) if f"{name}.weight" in w else x
        y = conv(y, w, f"blocks.{i}.conv1", stride)
        x = conv(F.relu(norm(y, w, f"blocks.{i}.bn2")), w, f"blocks.{i}.conv2") + shortcut
    pooled = F.relu(norm(x, w, "bn")).mean((2, 3))
    return F.linear(pooled, w["fc.weight"], w["fc.bias"])


def squeezenet(x: torch.Tensor, w: Weights) -> torch.Tensor:
    def step(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.relu(norm(conv(x, w, f"{name}.0"), w, f"{name}.1"))

    x = F.max_pool2d(F.relu(norm(conv(x, w, "conv1"), w, "bn1")), 2)
    for number in range(2, 10):
        name = f"fire{number}"
        squeezed = step(x, f"{name}.squeeze")
        y = torch.cat([step(squeezed, f"{name}.expand1"), step(squeezed, f"{name}.expand3")], 1)
        x = y + x if number in (3, 5, 7) else y
        if number in (4, 8):
            x = F.max_pool2d(x, 2)
    return conv(x, w, "conv10").mean((2, 3))


def network_in_network(x: torch.Tensor, w: Weights) -> torch.Tensor:
    for first in (0, 8, 16):
        for i in (first, first + 2, first + 4):
            x = F.relu(conv(x, w, f"layers.{i}"))
        if first == 0:
            x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        if first == 8:
            x = F.avg_pool2d(x, 3, 2, ceil_mode=True)
            assert x.shape[2:] == (8, 8)
    return x.mean((2, 3))


@pytest.mark.parametrize(
    ("model", "reference"),
    [
        ("wrn:depth=10,width=2", wide_resnet),
        ("wrn:depth=10,width=1", wide_resnet),
        ("squeezenet", squeezenet),
        ("nin", network_in_network),
    ],
)
def test_a_network_computes_the_paper_layer_by_layer(
    model: str, reference: Callable[[torch.Tensor, Weights], torch.Tensor]
) -> None:
    torch.manual_seed(0)
    network = network_of(model)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    with torch.no_grad():
        expected = reference(images(), network.state_dict())
        torch.testing.assert_close(network(images()), expected, rtol=1e-4, atol=1e-5)


def test_every_family_is_tested_against_published_counts_or_code() -> None:
    tested = {*(model.partition(":")[0] for model in COUNTS), "squeezenet", "vit"}
    assert set(MODELS) - set(LIBRARIES) - tested == {"deep_cnn"}  # this project's own
