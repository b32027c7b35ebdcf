"""Networks written with ReLU, to which other activations are given."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

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


def network_of(kind: type[nn.Module]) -> nn.Module:
    """Return such a network; each call gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind()


def swapped_of(kind: type[nn.Module], activation: str) -> nn.Module:
    """Return such a network with another activation."""
    return swap_activations(network_of(kind), activation, IMAGES)
