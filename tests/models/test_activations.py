"""Activations: each equals the published function, and invalid ones are refused."""

from __future__ import annotations

import re
from math import erf, exp, log, sqrt, tanh
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from actbench.errors import UsageError
from actbench.models.activations import check_activation, resolve_activation
from actbench.study.activations import ACTIVATIONS, Shape

if TYPE_CHECKING:
    from collections.abc import Callable

POINTS = (-30.0, -4.0, -3.0, -1.0, -0.3, 0.0, 0.3, 1.0, 3.0, 4.0, 30.0)


def softplus(x: float) -> float:
    return max(x, 0) + log(1 + exp(-abs(x)))


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


# the published formulas: Clevert et al. 2016 (elu), Barron 2017 (celu), Klambauer et al. 2017
# (selu), Hendrycks & Gimpel 2016 (gelu), Ramachandran et al. 2017 (silu), Misra 2020 (mish), Howard
# et al. 2019 (hardswish), Xu et al. 2015 (rrelu: the middle slope in evaluation), Konda et al. 2015
# (threshold); the others are those of torch.nn's documentation
FORMULAS: dict[str, Callable[[float], float]] = {
    "relu": lambda x: max(x, 0),
    "leaky_relu": lambda x: max(0, x) + 0.01 * min(0, x),
    "leaky_relu:0.3": lambda x: max(0, x) + 0.3 * min(0, x),
    "leaky_relu:negative_slope=-0.5": lambda x: max(0, x) - 0.5 * min(0, x),
    "leaky_relu:16": lambda x: max(0, x) + 16 * min(0, x),
    "prelu": lambda x: max(0, x) + 0.25 * min(0, x),
    "prelu:init=0.1": lambda x: max(0, x) + 0.1 * min(0, x),
    "rrelu": lambda x: x if x >= 0 else x * (1 / 8 + 1 / 3) / 2,
    "rrelu:lower=0.1,upper=0.3": lambda x: x if x >= 0 else x * 0.2,
    "elu": lambda x: x if x > 0 else exp(x) - 1,
    "elu:0.5": lambda x: x if x > 0 else 0.5 * (exp(x) - 1),
    "celu": lambda x: max(0, x) + min(0, exp(x) - 1),
    "celu:alpha=2": lambda x: max(0, x) + min(0, 2 * (exp(x / 2) - 1)),
    "selu": lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * (exp(x) - 1)),
    "gelu": lambda x: x * (1 + erf(x / sqrt(2))) / 2,
    "gelu:approximate=tanh": lambda x: (
        x / 2 * (1 + tanh(sqrt(2 / 3.141592653589793) * (x + 0.044715 * x**3)))
    ),
    "silu": lambda x: x * sigmoid(x),
    "mish": lambda x: x * tanh(softplus(x)),
    "hardswish": lambda x: x * min(max(x + 3, 0), 6) / 6,
    "softplus": softplus,
    "softplus:beta=2": lambda x: softplus(2 * x) / 2,
    "tanh": tanh,
    "sigmoid": sigmoid,
    "prelu:channels=true": lambda x: max(0, x) + 0.25 * min(0, x),
    "prelu:channels=true,init=0.1": lambda x: max(0, x) + 0.1 * min(0, x),
    "relu6": lambda x: min(max(x, 0), 6),
    "threshold": lambda x: x if x > 1 else 0,
    "threshold:threshold=0.1,value=-2": lambda x: x if x > 0.1 else -2,
    "tanhshrink": lambda x: x - tanh(x),
    "hardtanh": lambda x: min(max(x, -1), 1),
    "hardtanh:max_val=2,min_val=-0.2": lambda x: min(max(x, -0.2), 2),
    "softsign": lambda x: x / (1 + abs(x)),
    "hardsigmoid": lambda x: min(max(x + 3, 0), 6) / 6,
    "logsigmoid": lambda x: -softplus(-x),
    "hardshrink": lambda x: x if abs(x) > 0.5 else 0,
    "hardshrink:0.2": lambda x: x if abs(x) > 0.2 else 0,
    "softshrink": lambda x: x - 0.5 if x > 0.5 else x + 0.5 if x < -0.5 else 0,
    "softshrink:0.2": lambda x: x - 0.2 if x > 0.2 else x + 0.2 if x < -0.2 else 0,
    "identity": lambda x: x,
}


@pytest.mark.parametrize("spec", FORMULAS)
def test_an_activation_is_the_published_function(spec: str) -> None:
    module = resolve_activation(spec)().eval()
    with torch.no_grad():
        values = module(torch.tensor(POINTS).reshape(1, 1, -1, 1)).flatten().tolist()
    assert values == pytest.approx([FORMULAS[spec](x) for x in POINTS], rel=2e-6, abs=1e-6)


def test_every_registered_activation_is_tested_against_a_formula() -> None:
    assert {spec.partition(":")[0] for spec in FORMULAS} == set(ACTIVATIONS)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_formula_that_is_listed_gives_the_values(name: str) -> None:
    entry = ACTIVATIONS[name]
    text = entry.help.partition(";")[0].partition(", Φ")[0].replace(", else", " else")
    text = re.sub(r"\|x\|", "abs(x)", text)
    for sign, operator in {"·": "*", "−": "-", "≥": ">=", "≤": "<=", "Φ": "phi"}.items():
        text = text.replace(sign, operator)
    known = {"exp": exp, "log": log, "tanh": tanh, "sigmoid": sigmoid, "abs": abs, "min": min}
    known |= {"max": max, "phi": lambda x: (1 + erf(x / sqrt(2))) / 2, **entry.defaults}
    module = resolve_activation(name)().eval()
    values = module(torch.tensor(POINTS).reshape(1, 1, -1)).flatten().tolist()
    right = [eval(text, {"__builtins__": {}}, {**known, "x": x}) for x in POINTS]
    assert values == pytest.approx(right, rel=1e-4, abs=1e-6)


def test_swish_is_another_name_of_silu() -> None:
    assert resolve_activation("swish").spec == "silu"
    assert isinstance(resolve_activation("swish")(), nn.SiLU)


def test_prelu_of_channels_is_torchs_with_a_slope_for_each() -> None:
    x = torch.randn(4, 5, 3, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    ours, theirs = resolve_activation("prelu:channels=true,init=0.1")(), nn.PReLU(5, 0.1)
    assert torch.equal(ours(x), theirs(x))
    with torch.no_grad():
        for module in (ours, theirs):
            module.weight.copy_(torch.arange(5) / 7)
    (ours(x).square().sum() - theirs(x).square().sum()).backward()
    assert torch.equal(ours.weight.grad, -theirs.weight.grad)
    assert not x.grad.any()


def test_prelu_of_channels_has_its_slopes_on_another_axis_if_it_is_set() -> None:
    module = resolve_activation("prelu:channels=true")()
    module.axis = 2
    module(torch.ones(2, 5, 3))
    with torch.no_grad():
        module.weight.copy_(torch.tensor([0.0, 1.0, 2.0]))
    assert module(-torch.ones(2, 5, 3))[1, 4].tolist() == [0, -1, -2]


def test_rrelu_draws_slopes_between_its_bounds_while_training() -> None:
    module = resolve_activation("rrelu:lower=0.1,upper=0.3")().train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        slopes = -module(-torch.ones(10_000))
    assert 0.1 <= float(slopes.min()) < 0.102
    assert 0.298 < float(slopes.max()) <= 0.3


def test_each_call_of_a_factory_gives_a_new_module() -> None:
    factory = resolve_activation("prelu")
    assert factory() is not factory()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("lekay_relu:0.1", "did you mean 'leaky_relu'?"),
        ("xyz", "known are celu, elu, gelu"),
        ("leaky_relu:slope=0.1", "no parameter 'slope'; did you mean 'negative_slope'?"),
        ("leaky_relu:nan", "negative_slope is nan; it must be finite"),
        ("leaky_relu:inf", "negative_slope is inf; it must be finite"),
        ("leaky_relu:-inf", "negative_slope is -inf; it must be finite"),
        ("leaky_relu:steep", "it must be a number"),
        ("leaky_relu:0.1,0.2", "it must be a number"),
        ("relu:0.1", "'relu' takes no parameter"),
        ("rrelu:lower=0.5,upper=0.1", "lower must be at most upper"),
        ("rrelu:lower=0.5", "lower must be at most upper"),
        ("celu:0", "alpha is 0.0; it must be above 0"),
        ("softplus:beta=-1", "beta is -1.0; it must be above 0"),
        ("softshrink:-0.1", "lambd is -0.1; it must be 0 or more"),
        ("hardtanh:min_val=1", "min_val must be below max_val"),
        ("swich", "did you mean 'swish'?"),
        ("prelu:channels=8", "it must be true or false"),
        ("gelu:approximate=cubic", "approximate is 'cubic'; it must be one of none, tanh"),
        ("no_such_package.module:Act", "cannot import 'no_such_package.module'"),
        ("torch.nn:LekayReLU", "did you mean 'LeakyReLU'?"),
        ("collections:OrderedDict", "must be a torch.nn.Module class or a function"),
        ("torch:nn", "must be a torch.nn.Module class or a function"),
        ("math:pi", "must be a torch.nn.Module class or a function"),
        ("torch.nn:LeakyReLU:0.1", "by name"),
        ("torch.nn:LeakyReLU:negative_slope=nan", "negative_slope is nan; it must be finite"),
    ],
)
def test_an_invalid_activation_is_refused_with_what_is_valid(spec: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        resolve_activation(spec)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_user_defined_class_takes_its_parameters() -> None:
    module = resolve_activation("torch.nn:LeakyReLU:negative_slope=0.5")()
    assert isinstance(module, nn.LeakyReLU)
    assert module.negative_slope == 0.5


def test_a_user_defined_function_takes_its_parameters(
    user_module: Callable[[str], str],
) -> None:
    name = user_module("def scaled(x, factor=1.0):\n    return factor * x\n")
    module = resolve_activation(f"{name}:scaled:factor=3")()
    assert module(torch.tensor([2.0])).item() == 6


def test_a_module_instance_is_refused_as_an_activation(user_module: Callable[[str], str]) -> None:
    name = user_module("from torch import nn\nact = nn.ReLU()\n")
    with pytest.raises(UsageError, match=r"must be a torch\.nn\.Module class"):
        resolve_activation(f"{name}:act")


@pytest.mark.parametrize("spec", FORMULAS)
def test_the_self_check_reports_what_an_activation_computes(spec: str) -> None:
    check = check_activation(resolve_activation(spec))
    reported = (check.at_minus_one, check.at_zero, check.at_one)
    assert reported == pytest.approx([FORMULAS[spec](x) for x in (-1, 0, 1)], rel=2e-6, abs=1e-7)


@pytest.mark.parametrize(
    ("spec", "monotone"),
    [
        ("relu", True),
        ("leaky_relu:0.3", True),
        ("leaky_relu:-0.1", False),
        ("elu", True),
        ("gelu", False),
        ("silu", False),
        ("mish", False),
        ("hardswish", False),
        ("tanh", True),
        ("sigmoid", True),
        ("softplus", True),
        ("identity", True),
        ("relu6", True),
        ("tanhshrink", True),
        ("hardshrink", True),
        ("threshold:threshold=0,value=1", False),
    ],
)
def test_the_self_check_reports_whether_an_activation_is_monotone(
    spec: str, monotone: bool
) -> None:
    assert check_activation(resolve_activation(spec)).monotone is monotone


def test_the_self_check_counts_trainable_parameters() -> None:
    assert check_activation(resolve_activation("relu")).trainable_parameters == 0
    assert check_activation(resolve_activation("prelu")).trainable_parameters == 1
    assert (
        check_activation(resolve_activation("torch.nn:PReLU:num_parameters=1")).trainable_parameters
        == 1
    )


def test_the_self_check_shows_a_slope_of_16_where_0_16_was_meant() -> None:
    assert check_activation(resolve_activation("leaky_relu:16")).at_minus_one == -16


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def act(x):\n    return x.sum()", "it must keep the shape"),
        ("def act(x):\n    return x > 0", "no floating-point tensor"),
        ("def act(x):\n    return 3", "no floating-point tensor"),
        ("def act(x):\n    return None", "no floating-point tensor"),
        ("def act(x):\n    return x.double()", "float64"),
        ("def act(x):\n    raise KeyError('a\\nb')", "fails its self-check: KeyError"),
        ("def act():\n    pass", "fails its self-check: TypeError"),
        ("from torch.nn import Linear as act", "fails its self-check: TypeError"),
        ("from torch.nn import Module as act", "fails its self-check: NotImplementedError"),
        ("from torch.nn import GLU as act", "fails its self-check: RuntimeError"),
    ],
)
def test_the_self_check_refuses_what_no_network_could_use(
    source: str, message: str, user_module: Callable[[str], str]
) -> None:
    factory = resolve_activation(f"{user_module(source)}:act")
    with pytest.raises(UsageError, match="activation 'user_module") as error:
        check_activation(factory)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_self_check_does_not_change_its_callers_random_numbers() -> None:
    before = torch.get_rng_state()
    check_activation(resolve_activation("rrelu"))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "spec",
    [
        *ACTIVATIONS,
        "leaky_relu:-0.1",
        "elu:-1",
        "gelu:approximate=tanh",
        "threshold:value=2",
        "softplus:threshold=1",
    ],
)
def test_a_shape_is_that_of_the_function(spec: str) -> None:
    factory = resolve_activation(spec)
    z = torch.linspace(-12, 12, 4801, dtype=torch.float64)
    with torch.no_grad():
        values = factory().double()(z)
    rounding = 1e-12
    # up to the smallest value it falls, after it it rises
    bottom = int(values.argmin())
    falls, rises = values[: bottom + 1].diff() <= rounding, values[bottom:].diff() >= -rounding
    if factory.shape is Shape.ANY:
        assert spec in ("rrelu", "softplus:threshold=1")
    elif factory.shape < Shape.INCREASING:
        assert falls.all()
        assert rises.all()
        if factory.shape is Shape.INCREASING_FROM_ZERO:
            assert z[bottom] <= 0
            assert (values[z < 0] <= 0).all()
            assert (values[z > 0] >= 0).all()
    else:
        assert (values.diff() >= -rounding).all()
