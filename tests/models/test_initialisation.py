"""Slope-aware initial weights: the published gains, and one set of draws for all activations."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from actbench.errors import UsageError
from actbench.execution.plan import prepare_study
from actbench.models.activations import resolve_activation
from actbench.models.build import build_network
from actbench.models.initialisation import gain_of
from actbench.report.sentences import describe_recipe, variant_label
from actbench.study.study import Study, Trial, trial_id

if TYPE_CHECKING:
    from collections.abc import Callable


def gain(spec: str) -> float:
    return gain_of(resolve_activation(spec))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("relu", nn.init.calculate_gain("relu")),
        ("leaky_relu", nn.init.calculate_gain("leaky_relu", 0.01)),
        ("leaky_relu:0.3", nn.init.calculate_gain("leaky_relu", 0.3)),
        ("prelu", nn.init.calculate_gain("leaky_relu", 0.25)),
        ("rrelu:lower=0.1,upper=0.1", nn.init.calculate_gain("leaky_relu", 0.1)),
        ("rrelu:lower=0,upper=0.3", math.sqrt(2 / (1 + 0.03))),
        ("tanh", nn.init.calculate_gain("tanh")),
        ("selu", nn.init.calculate_gain("selu")),
        ("sigmoid", 1),
        ("identity", 1),
    ],
)
def test_known_gains(spec: str, expected: float) -> None:
    assert gain(spec) == pytest.approx(expected, rel=1e-12)


def test_another_functions_gain_keeps_the_second_moment(user_module: Callable[[str], str]) -> None:
    source = "import torch\ndef leaky(x):\n    return torch.where(x > 0, x, 0.2 * x)\n"
    spec = f"{user_module(source)}:leaky"
    assert gain(spec) == pytest.approx(gain("leaky_relu:0.2"), rel=1e-5)
    per_channel = "from torch import nn\nclass Per(nn.PReLU):\n    def __init__(self):\n"
    per_channel += "        super().__init__(16, init=0.2)\n"
    spec = f"{user_module(per_channel)}:Per"
    assert gain(spec) == pytest.approx(gain("leaky_relu:0.2"), rel=1e-5)
    z = torch.randn(10**6, generator=torch.Generator().manual_seed(0))
    moment = float(nn.functional.gelu(z).square().mean())
    assert gain("gelu") == pytest.approx(1 / math.sqrt(moment), rel=0.01)


def test_a_function_without_a_gain_is_refused_before_training(
    user_module: Callable[[str], str],
) -> None:
    spec = f"{user_module('nothing = lambda x: 0 * x')}:nothing"
    study = Study(activations=("relu", spec), init="slope_aware")
    with pytest.raises(UsageError, match="has no gain for slope_aware initial weights"):
        prepare_study(study)


@pytest.mark.parametrize("model", ["cnn", "resnet20", "deep_cnn:depth=4"])
def test_trials_of_a_pair_start_from_the_same_draws_scaled(model: str) -> None:
    def weights(spec: str, seed: int = 0) -> dict[str, torch.Tensor]:
        network, _ = build_network(model, resolve_activation(spec), 10, seed, "slope_aware")
        layers = (nn.Conv2d, nn.Linear)
        return {n: m.weight for n, m in network.named_modules() if isinstance(m, layers)}

    relu, leaky, zero = weights("relu"), weights("leaky_relu:0.3"), weights("leaky_relu:0")
    other, ratio = weights("relu", 1), gain("leaky_relu:0.3") / gain("relu")
    for name, weight in relu.items():
        assert torch.equal(weight, zero[name])
        torch.testing.assert_close(leaky[name], weight * ratio)
        assert not torch.equal(weight, other[name])


def test_weights_have_the_deviation_of_the_gain_over_the_root_of_the_fan_in() -> None:
    network, _ = build_network("cnn", resolve_activation("leaky_relu:0.3"), 10, 0, "slope_aware")
    for module, fan_in in ((network.fc1, 2048), (network.conv2, 16 * 9)):
        deviation = float(module.weight.detach().std())
        assert deviation == pytest.approx(gain("leaky_relu:0.3") / math.sqrt(fan_in), rel=0.05)
        assert not module.bias.any()


def test_the_default_does_not_change_weights_or_names() -> None:
    plain, _ = build_network("cnn", resolve_activation("relu"), 10, 0)
    default, _ = build_network("cnn", resolve_activation("relu"), 10, 0, "default")
    for name, value in plain.state_dict().items():
        assert torch.equal(value, default.state_dict()[name])
    study, trial = Study(), Trial("relu", 0)
    aware = dataclasses.replace(study, init="slope_aware")
    assert trial_id(dataclasses.replace(study, init="default"), trial) == trial_id(study, trial)
    assert trial_id(aware, trial) != trial_id(study, trial)


def test_the_tables_show_which_initialisation_was_used() -> None:
    aware = Study(init="slope_aware")
    assert variant_label(aware) == "slope-aware initial weights"
    assert variant_label(Study()) == ""
    assert "scaled by each activation's gain" in describe_recipe(aware)
