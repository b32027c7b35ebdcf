"""Networks written with ReLU get another activation in every place, and compute the same else."""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

import actbench
from actbench.errors import UsageError
from actbench.models.swap import swap_activations

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGES = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


class Net(nn.Module):
    """Two convolutions and a linear layer; how they are activated differs below."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.fc = nn.Linear(4, 5)

    def end(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x.mean((2, 3)))


class Functions(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.conv1(x))
        x = torch.relu(input=self.conv2(x)) + self.conv2(x).relu()
        return self.end(F.relu(input=self.conv2(x), inplace=True))


class InPlace(Net):
    """Overwrites tensors that are read later; the last two results are ignored."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv1(x)
        z = F.relu(y, True)
        y = self.conv2(z) + y
        y.relu_()
        x = self.conv2(y)
        F.relu_(x)
        return self.end(x + y)


class SharedModule(Net):
    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.conv1(x))
        y = self.conv2(x)
        self.act(y)
        return self.end(y + self.act(self.conv2(y)))


class Attribute(Net):
    def __init__(self) -> None:
        super().__init__()
        self.act, self.other = F.relu, partial(F.leaky_relu, negative_slope=0.3, inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.conv1(x))
        return self.end(self.act(self.other(self.conv2(x))))


class SameObjectTwice(Net):
    def __init__(self) -> None:
        super().__init__()
        act = nn.ReLU()
        self.layers = nn.Sequential(self.conv1, act, self.conv2, act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(self.layers(x))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor, scale: float | None = None, power: int = 1) -> torch.Tensor:
        y = F.relu(self.conv(x))
        return y if scale is None else y * scale**power


class OptionalArguments(Net):
    def __init__(self) -> None:
        super().__init__()
        self.once, self.again = Block(), Block()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.once(self.conv1(x))
        x = self.again(self.again(x, scale=0.5), scale=2.0)
        return self.end(self.conv2(x))


class OtherModes(Net):
    """Its code depends on the mode: dropout, and a layer that runs in training only."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.dropout(F.relu(self.conv1(x)), 0.5, self.training)
        if self.training:
            x = x + self.conv2(x)
        return self.end(F.gelu(x, approximate="tanh"))


def helper(x: torch.Tensor) -> torch.Tensor:
    return F.silu(x) + F.hardswish(x)


class Helpers(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(helper(self.conv1(x)))


class DependsOnValues(Net):
    """Cannot be traced, but its activations are modules, one of which it calls twice."""

    def __init__(self) -> None:
        super().__init__()
        self.act, self.once = nn.ReLU(), nn.ELU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.conv1(x))
        if x.sum() > -1:
            x = self.act(self.conv2(x))
        return self.end(self.once(x))


class Transformer(nn.Module):
    def __init__(self, activation: str | Callable[..., torch.Tensor] = "relu") -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, activation, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.mean(3)).mean(2)


class Gated(Net):
    """A sigmoid gate, which stays."""

    def __init__(self) -> None:
        super().__init__()
        self.act, self.gate = nn.Hardswish(inplace=True), nn.Sigmoid()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.conv1(x))
        return self.end(x * self.gate(self.conv2(x)))


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


def network_of(kind: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind()


def swapped_of(kind: type[nn.Module], activation: str) -> nn.Module:
    return swap_activations(network_of(kind), activation, IMAGES)


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


class NothingThere(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(self.conv1(x).tanh())


class UntraceableFunction(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.conv1(x))
        return self.end(x if x.sum() > 0 else -x)


class OverwritesAView(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv1(x)
        F.relu_(x.flatten())
        return self.end(x)


class OnlyInTraining(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv1(x)
        return self.end(F.relu(x) if self.training else F.elu(x))


class LooksAtClasses(Net):
    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv1(x)
        return self.end(self.act(x) if isinstance(self.act, nn.ReLU) else x)


class Fails(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(F.relu(x))


class WithoutGradient(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            x = F.relu(self.conv1(x))
        return self.end(x)


class Hooked(SharedModule):
    def __init__(self) -> None:
        super().__init__()
        self.act.register_forward_hook(lambda _module, _inputs, output: 2 * output)


class Uncopied(Net):
    def __deepcopy__(self, memo: object) -> None:
        raise RuntimeError("no copies\nof this")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (NothingThere, "has no activation to replace"),
        (nn.ReLU, "is a single activation"),
        (UntraceableFunction, "calls relu in UntraceableFunction, whose code cannot be traced"),
        (OverwritesAView, "overwrites a tensor that is read elsewhere"),
        (OnlyInTraining, "other activations in training than in evaluation"),
        (LooksAtClasses, "changes what it computes"),
        (Fails, "fails in training on inputs of shape (4, 3, 8, 8): RuntimeError"),
        (WithoutGradient, "changes which parameters get a gradient"),
        (Hooked, "has a forward hook on its activation act"),
        (Fails, "(perhaps it needs larger images)"),
        (Uncopied, "the network Uncopied cannot be copied: RuntimeError: no copies of this"),
    ],
)
def test_a_network_that_cannot_be_converted_is_refused_with_what_to_do(
    kind: type[nn.Module], message: str
) -> None:
    with pytest.raises(UsageError) as error:
        swapped_of(kind, "tanh")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    if kind in (NothingThere, UntraceableFunction, OverwritesAView, OnlyInTraining):
        assert "let the network take an activation factory" in str(error.value)


def test_a_network_of_torchscript_is_refused() -> None:
    with pytest.warns(FutureWarning, match="deprecated"):
        network = torch.jit.trace(network_of(Functions), IMAGES, check_trace=False)
    with pytest.raises(UsageError, match="compiled by TorchScript"):
        swap_activations(network, "tanh", IMAGES)


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(UsageError, match=r"model is str; it must be a torch\.nn\.Module"):
        actbench.swap_activations("resnet18", "relu")


def test_an_invalid_activation_is_refused() -> None:
    with pytest.raises(UsageError, match="did you mean 'tanh'"):
        swapped_of(Functions, "tahn")
