"""Kaiming initial weights with the gain of the activation, from the same draws for all."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from actbench.errors import UsageError
from actbench.models.activations import channels_of
from actbench.study.activations import ACTIVATIONS
from actbench.study.study import seed_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from actbench.models.activations import ActivationFactory


def _leaky(mean_square_slope: float) -> float:
    return math.sqrt(2 / (1 + mean_square_slope))


def _rrelu(p: Mapping[str, Any]) -> float:
    low, high = p["lower"], p["upper"]
    return _leaky((low * low + low * high + high * high) / 3)


# He et al. 2015 for ReLU, leaky ReLU and PReLU, whose slope starts at init; for RReLU with the mean
# square of its uniform slope. The others are the values of torch.nn.init.calculate_gain.
_GAINS: dict[str, Callable[[Mapping[str, Any]], float]] = {
    "relu": lambda _: _leaky(0),
    "leaky_relu": lambda p: _leaky(p["negative_slope"] ** 2),
    "prelu": lambda p: _leaky(p["init"] ** 2),
    "rrelu": _rrelu,
    "selu": lambda _: 3 / 4,
    "tanh": lambda _: 5 / 3,
    "sigmoid": lambda _: 1.0,
    "identity": lambda _: 1.0,
}


def gain_of(activation: ActivationFactory) -> float:
    """Return the gain of an activation: initial weights have the deviation gain / √fan-in.

    For leaky slopes √(2 / (1 + a²)) (He, Zhang, Ren and Sun 2015, section 2.2, arXiv:1502.01852),
    and torch's values where it has one. For any other function f, also a user's own, it is
    1 / √E[f(z)²] with z standard normal, by the same derivation: the second moment then stays the
    same from layer to layer.

    Raises:
        UsageError: E[f(z)²] is 0 or not finite.
    """
    spec = ACTIVATIONS.parse(activation.spec)
    if spec.name in _GAINS:
        return _GAINS[spec.name]({**ACTIVATIONS[spec.name].defaults, **ACTIVATIONS.bind(spec)})
    z = torch.linspace(-8, 8, 16_001, dtype=torch.float64)
    density = torch.exp(-z.square() / 2)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        module = activation().eval()
        images = z.float().reshape(-1, 1, 1, 1).expand(-1, channels_of(module), 1, 1)
        values = module(images.clone())[:, 0].double().flatten()
    moment = float((values.square() * density).sum() / density.sum())
    if not 0 < moment < math.inf:
        raise UsageError(
            f"activation {activation.spec!r} has no gain for slope_aware initial weights: its mean "
            f"square under a standard normal is {moment:g}"
        )
    return 1 / math.sqrt(moment)


def draw_weights(network: nn.Module, gain: float, seed: int) -> None:
    """Draw all weights of convolutions and linear layers: normal with deviation gain / √fan-in.

    The standard normal draws depend on the seed only, so the trials of a pair start from the same
    ones, scaled. Biases start at 0. The first layer has the gain too, as in the paper.
    """
    generator = torch.Generator().manual_seed(seed_for("slope-aware initial weights", seed))
    layers = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, layers):
                fan_in = module.weight[0].numel()
                draws = torch.randn(module.weight.shape, generator=generator)
                module.weight.copy_(draws * (gain / math.sqrt(fan_in)))
                if module.bias is not None:
                    module.bias.zero_()
