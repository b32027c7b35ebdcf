"""Networks whose activations cannot be replaced are refused, with what to do."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import actbench
from actbench.errors import UsageError
from actbench.models.swap import swap_activations
from helpers.relu_networks import IMAGES, Functions, Net, SharedModule, network_of, swapped_of


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
