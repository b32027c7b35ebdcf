"""Networks written with ReLU get another activation in every place, and compute the same else."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

import actbench
from actbench.models.swap import swap_activations
from helpers.relu_networks import (
    IMAGES,
    Attribute,
    DependsOnValues,
    Functions,
    Gated,
    Helpers,
    InPlace,
    OptionalArguments,
    OtherModes,
    SameObjectTwice,
    SharedModule,
    Transformer,
    network_of,
    swapped_of,
)

# the modules, the calls and the number of new activations
FOUND = {
    Functions: ({}, {"relu": 4}, 4),
    InPlace: ({}, {"relu": 3}, 3),
    SharedModule: ({"ReLU": 1}, {}, 3),
    Attribute: ({}, {"relu": 1, "leaky_relu": 1}, 3),
    SameObjectTwice: ({"ReLU": 2}, {}, 2),
    OptionalArguments: ({}, {"relu": 2}, 2),
    OtherModes: ({}, {"relu": 1, "gelu": 1}, 2),
    Helpers: ({}, {"silu": 1, "hardswish": 1}, 2),
    DependsOnValues: ({"ReLU": 1, "ELU": 1}, {}, 2),
    Transformer: ({}, {"relu": 1}, 1),
    Gated: ({"Hardswish": 1}, {}, 1),
}
ONLY_RELU = (Functions, InPlace, SharedModule, SameObjectTwice, OptionalArguments, Transformer)


def steps(network: nn.Module, images: torch.Tensor, count: int = 3) -> list[torch.Tensor]:
    """Train a few steps; return the losses, the gradients, the weights and the outputs after."""
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    found = []
    network.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for _ in range(count):
            optimizer.zero_grad()
            loss = network(images).square().mean()
            loss.backward()
            found += [loss.detach(), *(p.grad.clone() for p in network.parameters())]
            optimizer.step()
    found += network.state_dict().values()
    network.eval()
    with torch.no_grad():
        return [*found, network(images)]


def same_bits(found: list[torch.Tensor], expected: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def layers(network: nn.Module, kind: type[nn.Module]) -> list[str]:
    return [name for name, module in network.named_modules() if type(module) is kind]


@pytest.mark.parametrize("kind", FOUND)
def test_every_activation_is_replaced_and_counted(kind: type[nn.Module]) -> None:
    network = swapped_of(kind, "prelu")
    modules, calls, activations = FOUND[kind]
    swapped = network.swapped
    assert (swapped.modules, swapped.calls, swapped.activations) == (modules, calls, activations)
    assert len(layers(network, nn.PReLU)) == activations
    slopes = {id(p) for n, p in network.named_parameters() if n not in names(network_of(kind))}
    assert len(slopes) == activations
    assert swapped.shared == (("DependsOnValues",) if kind is DependsOnValues else ())


def names(network: nn.Module) -> set[str]:
    return {name for name, _ in network.named_parameters()}


@pytest.mark.parametrize("kind", ONLY_RELU)
def test_a_network_with_relu_for_relu_has_the_same_bits(kind: type[nn.Module]) -> None:
    expected = steps(network_of(kind), IMAGES)
    assert same_bits(steps(swapped_of(kind, "relu"), IMAGES), expected)


class Overwrites(nn.Module):
    """ReLUs that overwrite their input; those of ``alone`` are all that reads it."""

    alone = ("conv_relu", "block_relu", "first", "added", "sum")

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.image, self.after, self.read, self.pooled = (nn.ReLU(inplace=True) for _ in range(4))
        self.conv_relu, self.block_relu, self.kept = (nn.ReLU(inplace=True) for _ in range(3))
        self.first, self.added, self.sum, self.both = (nn.ReLU(inplace=True) for _ in range(4))
        self.view, self.end, self.usual = nn.ReLU(inplace=True), nn.Linear(3, 2), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv_relu(self.conv(self.image(x.clone())))
        x = self.block_relu(self.norm(self.conv(x)))
        y = self.conv(x)
        y = y.mean() + self.read(y)  # read before
        z = self.norm(y)
        y = self.after(z) * z  # read after, where the original has ReLU of z
        z = self.first(self.conv(y))
        y = self.norm(self.conv(z))
        y += z
        y = self.added(y)
        z = self.conv(y)
        x = z.sigmoid() * self.kept(z)  # read before
        x = self.sum(self.conv(x) + y)
        x = self.usual(self.norm(x)) + self.pooled(F.avg_pool2d(x, 3, 1, 1))
        y = self.norm(x).view_as(x)
        return self.end(self.both(y).mean((2, 3)) + self.view(x[:, :, 0]).mean(2))


@pytest.mark.parametrize("spec", ["relu", "leaky_relu:0.1", "leaky_relu:-0.1", "elu"])
def test_an_activation_overwrites_only_what_nothing_else_reads(spec: str) -> None:
    network = swapped_of(Overwrites, spec)
    found = {n for n, m in network.named_modules() if getattr(m, "inplace", False)}
    assert found == (set(Overwrites.alone) if spec in ("relu", "leaky_relu:0.1") else set())
    other = copy.deepcopy(network)
    for module in other.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    assert same_bits(steps(network, IMAGES), steps(other, IMAGES))


class AddsInPlace(nn.Module):
    """Its code is not rewritten, and torch.fx shows ``+=`` as a sum that makes a new tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.start = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(inplace=True)
        self.middle, self.end = nn.ReLU(inplace=True), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.start(self.conv(x))
        y = z = self.conv(x)
        y += x
        return self.middle(y) + self.end(z)  # ReLU twice is ReLU, a leaky ReLU twice is another


def test_code_that_adds_in_place_is_not_mistaken_for_a_sum() -> None:
    network = network_of(AddsInPlace)
    converted = swap_activations(network, "leaky_relu:0.1", IMAGES)
    assert converted.start.inplace
    assert not converted.middle.inplace
    with torch.no_grad():
        x = F.leaky_relu(network.conv(IMAGES), 0.1)
        y = F.leaky_relu(network.conv(x) + x, 0.1)
        assert torch.equal(converted(IMAGES), y + y)


class AddsAfter(nn.Module):
    """A SiLU that overwrites its input keeps what its derivative needs elsewhere, unlike ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act, self.end = nn.Conv2d(3, 3, 3), nn.SiLU(inplace=True), nn.Flatten()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.conv(x))
        x += 1
        return self.end(x)


def test_a_network_that_overwrites_the_output_of_a_silu_can_be_trained() -> None:
    converted = swap_activations(network_of(AddsAfter), "leaky_relu:0.1", IMAGES)
    assert not converted.act.inplace
    assert len(steps(converted, IMAGES)) > 4


def test_a_network_can_be_swapped_again() -> None:
    once = swap_activations(network_of(SharedModule), "leaky_relu:0.1", IMAGES)
    twice = swap_activations(once, "prelu", IMAGES)
    assert twice.swapped.activations == len(layers(twice, nn.PReLU)) == FOUND[SharedModule][2]


def test_what_a_layer_with_another_forward_returns_is_not_overwritten() -> None:
    network = network_of(AddsInPlace)
    network.conv.forward = nn.Identity().forward
    assert not swap_activations(network, "relu", IMAGES).start.inplace


def test_a_tensor_that_a_forward_hook_gets_is_not_overwritten() -> None:
    network = network_of(AddsInPlace)
    network.conv.register_forward_hook(lambda *_: None)
    assert not swap_activations(network, "relu", IMAGES).start.inplace


@pytest.mark.slow
def test_resnet18_with_relu_for_relu_has_the_same_bits() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = torchvision.models.resnet18(num_classes=10)
    images = F.interpolate(IMAGES, 32)
    converted = swap_activations(network, "relu")
    assert str(converted.swapped) == (
        "activations replaced: 9 modules (9 ReLU), 0 calls; 17 activations in all"
    )
    assert same_bits(steps(converted, images, 2), steps(network, images, 2))


@pytest.mark.parametrize("kind", FOUND)
def test_each_activation_runs_in_training_and_in_evaluation(kind: type[nn.Module]) -> None:
    network, ran = swapped_of(kind, "prelu"), []
    for name in layers(network, nn.PReLU):
        network.get_submodule(name).register_forward_hook(lambda *_, name=name: ran.append(name))
    for mode in (True, False):
        ran.clear()
        with torch.no_grad():
            network.train(mode)(IMAGES)
        assert set(ran) == set(layers(network, nn.PReLU))


def test_the_new_activation_is_what_the_network_computes() -> None:
    network = network_of(SharedModule)
    converted = swap_activations(network, "tanh", IMAGES)
    with torch.no_grad():
        x = network.conv2(network.conv1(IMAGES).tanh()).tanh()
        expected = network.end(x + network.conv2(x).tanh())
        assert torch.equal(converted(IMAGES), expected)


class Doubled(nn.ReLU):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def test_a_subclass_with_code_of_its_own_keeps_it() -> None:
    network = swap_activations(nn.Sequential(Doubled(inplace=True), nn.Flatten()), "tanh", IMAGES)
    assert torch.equal(network(IMAGES), 2 * IMAGES.tanh().flatten(1))


def test_the_fast_path_of_a_transformer_computes_the_new_activation() -> None:
    network, reference = network_of(Transformer), Transformer(torch.tanh)
    reference.load_state_dict(network.state_dict())
    converted = swap_activations(network, "tanh", IMAGES).eval()
    with torch.no_grad():
        torch.testing.assert_close(converted(IMAGES), reference.eval()(IMAGES))
        assert not torch.allclose(converted(IMAGES), network.eval()(IMAGES))


def test_the_model_and_its_callers_random_numbers_stay_as_they_are() -> None:
    network = network_of(SharedModule)
    before, state = torch.get_rng_state(), copy.deepcopy(network.state_dict())
    converted = swap_activations(network, "prelu", IMAGES)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())
    assert [type(m) for m in network.children()][-1] is nn.ReLU
    assert names(network) < names(converted)
    assert converted.training


def test_a_copy_of_a_converted_network_is_independent() -> None:
    network = swapped_of(Functions, "prelu")
    copied = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
        assert not copied(IMAGES).any()
        assert network(IMAGES).any()


@pytest.mark.parametrize("training", [True, False])
def test_the_new_activations_are_in_the_models_mode_and_type(training: bool) -> None:
    network = network_of(SharedModule).double().train(training)
    converted = swap_activations(network, "prelu", IMAGES.double())
    assert {module.training for module in converted.modules()} == {training}
    assert {p.dtype for p in converted.parameters()} == {torch.float64}


def test_slopes_for_each_channel_are_made() -> None:
    network = swapped_of(SharedModule, "prelu:channels=true")
    assert [len(m.weight) for m in network.modules() if hasattr(m, "init")] == [4, 4, 4]


def test_it_is_public() -> None:
    assert actbench.swap_activations is swap_activations
