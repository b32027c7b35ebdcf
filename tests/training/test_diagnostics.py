"""Gradient norms and inactive units, against autograd and against constructed networks."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from actbench.models.activations import resolve_activation
from actbench.models.build import build_network
from actbench.training.diagnostics import GradientNorms, InactiveUnits


def random_batches(count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.randn(8, 3, 32, 32, generator=generator),
            torch.randint(10, (8,), generator=generator),
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("model", ["cnn", "deep_cnn:depth=4", "resnet20"])
def test_gradient_norms_are_the_mean_over_steps_of_autograds(model: str) -> None:
    network, _ = build_network(model, resolve_activation("prelu"), 10, 0)
    norms = GradientNorms(network)
    weights = {
        name.removesuffix(".weight"): p
        for name, p in network.named_parameters()
        if name.endswith("weight") and p.dim() > 1
    }
    expected = dict.fromkeys(weights, 0.0)
    for images, labels in random_batches(3):
        loss = F.cross_entropy(network(images), labels)
        gradients = torch.autograd.grad(loss, list(weights.values()), retain_graph=True)
        for name, gradient in zip(weights, gradients, strict=True):
            expected[name] += float(gradient.square().sum().sqrt()) / 3
        network.zero_grad()
        loss.backward()
        norms.add_step()
    assert list(norms.means(3)) == list(weights)
    assert norms.means(3) == pytest.approx(expected, rel=1e-5)


def test_a_layers_norm_is_of_its_weight_and_batch_norms_and_slopes_are_no_layers() -> None:
    network, _ = build_network("resnet20", resolve_activation("prelu"), 10, 0)
    layers = list(GradientNorms(network).means(1))
    assert len(layers) == 20
    assert layers[0] == "conv1"
    assert layers[-1] == "fc"
    assert not any("bn" in name or "act" in name for name in layers)


def test_gradient_norms_start_over_after_reset() -> None:
    network = nn.Linear(2, 1, bias=False)
    norms = GradientNorms(nn.Sequential(network))
    network.weight.grad = torch.tensor([[3.0, 4.0]])
    norms.add_step()
    norms.add_step()
    assert norms.means(2) == {"0": 5.0}
    norms.reset()
    network.weight.grad = torch.tensor([[0.0, 1.0]])
    norms.add_step()
    assert norms.means(1) == {"0": 1.0}


def test_a_layer_without_a_gradient_has_norm_zero() -> None:
    network = nn.Sequential(nn.Linear(2, 1))
    norms = GradientNorms(network)
    norms.add_step()
    assert norms.means(1) == {"0": 0.0}


def inactive_shares(network: nn.Module, layers: dict[str, nn.Module]) -> InactiveUnits:
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode(), InactiveUnits(network, layers) as units:
        for _ in range(2):
            network(torch.rand(5, 3, 32, 32, generator=generator) * 2 - 1)
    return units


@pytest.mark.parametrize("spec", ["relu", "leaky_relu:0.3", "gelu"])
def test_units_that_never_get_a_positive_input_are_counted(spec: str) -> None:
    network, layers = build_network("cnn", resolve_activation(spec), 10, 0)
    for layer, dead in ((network.conv1, 3), (network.conv2, 8), (network.fc1, 32)):
        assert isinstance(layer, (nn.Conv2d, nn.Linear))
        nn.init.zeros_(layer.weight)  # a unit's input is its bias
        nn.init.constant_(layer.bias, 0.1)
        nn.init.constant_(layer.bias[:dead], -0.1)
    units = inactive_shares(network, layers)
    assert units.fractions() == {
        "act1.activation": 3 / 16,
        "act2.activation": 8 / 32,
        "act3": 32 / 128,
    }
    assert units.fraction() == 43 / 176


def test_units_of_tokens_are_their_features() -> None:
    model = "vit:depth=1,width=8,heads=2"
    network, layers = build_network(model, resolve_activation("relu"), 10, 0)
    hidden = network.blocks[0].fc1
    nn.init.zeros_(hidden.weight)
    nn.init.constant_(hidden.bias, 0.1)
    nn.init.constant_(hidden.bias[:8], -0.1)
    units = inactive_shares(network, layers)
    assert units.fractions() == {"blocks.0.act": 8 / 32}


def test_units_of_images_whose_channels_are_last_are_these() -> None:
    class Mixer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc, self.act = nn.Conv2d(3, 4, 8, 8), nn.Linear(4, 6), nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.act(self.fc(self.conv(x).permute(0, 2, 3, 1)))

    network = Mixer()
    nn.init.zeros_(network.fc.weight)
    network.fc.bias.data.copy_(torch.tensor([-1.0, -1, -1, 1, 1, 1]))
    units = inactive_shares(network, {"act": network.act})
    assert units.fractions() == {"act": 0.5}


def test_a_unit_is_active_when_one_position_of_one_image_of_any_batch_is_positive() -> None:
    layer = nn.Identity()
    with InactiveUnits(layer, {"layer": layer}) as units:
        first, second = -torch.ones(2, 4, 3, 3), -torch.ones(2, 4, 3, 3)
        first[1, 2, 0, 2] = 1e-30
        second[0, 3, 2, 1] = 1e-30
        layer(first)
        layer(second)
    assert units.fractions() == {"layer": 0.5}


def test_an_input_of_exactly_zero_is_inactive() -> None:
    layer = nn.Identity()
    with InactiveUnits(layer, {"layer": layer}) as units:
        layer(torch.zeros(2, 4))
    assert units.fraction() == 1.0


def test_watching_ends_with_its_block() -> None:
    layer = nn.Identity()
    with InactiveUnits(layer, {"layer": layer}) as units:
        layer(torch.zeros(1, 4))
    layer(torch.ones(1, 4))
    assert units.fraction() == 1.0
    assert not layer._forward_pre_hooks


def test_watching_changes_no_output() -> None:
    network, layers = build_network("cnn", resolve_activation("relu"), 10, 0)
    (images, _), *_ = random_batches(1)
    with torch.inference_mode():
        plain = network(images)
        with InactiveUnits(network, layers):
            assert torch.equal(network(images), plain)
