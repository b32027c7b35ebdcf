"""Activation specs → factories of torch modules, and a self-check of their values."""

from __future__ import annotations

import functools
import inspect
import math
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from actbench.errors import UsageError
from actbench.models.global_state import settings_kept
from actbench.models.user_code import import_object
from actbench.study.fields import Rule, one_of
from actbench.study.registry import Entry, Parameter, Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from actbench.study.specs import Spec, Value


class Shape(IntEnum):
    """What the graph of an activation permits a max-pool; each shape has the properties below it.

    EXACTLY_INCREASING: non-decreasing, and computed so exactly in floating point that
    ``f(max(x)) == max(f(x))`` to the last bit. Any network may pool before it activates.
    INCREASING: non-decreasing, but its kernel rounds both ways, as those of smooth functions do.
    QUASI_CONVEX: on any interval largest at one of the two ends, as with a single minimum.
    ANY: none of these, or unknown, as for a user's function.
    """

    ANY = 0
    QUASI_CONVEX = 1
    INCREASING = 2
    EXACTLY_INCREASING = 3


@dataclass(frozen=True)
class Definition:
    """A registered activation: its module class, and its shape for some parameters."""

    module: Callable[..., nn.Module]
    shape: Callable[[Mapping[str, Any]], Shape]


class ChannelPReLU(nn.Module):
    """PReLU with a slope for each channel, whose number the first input sets.

    Channels are axis ``axis`` of x, which is 1 as of ``torch.nn.PReLU`` unless a network's builder
    sets another (see ``features.materialise``).
    """

    def __init__(self, init: float = 0.25) -> None:
        super().__init__()
        self.init, self.axis = init, 1
        self.weight = nn.UninitializedParameter()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return shape and type of x."""
        if isinstance(self.weight, nn.UninitializedParameter):
            with torch.no_grad():
                self.weight.materialize((x.shape[self.axis],), device=x.device)
                self.weight.fill_(self.init)
        if self.axis == 1:
            return nn.functional.prelu(x, self.weight)
        return nn.functional.prelu(x.movedim(self.axis, 1), self.weight).movedim(1, self.axis)


def _prelu(init: float = 0.25, *, channels: bool = False) -> nn.Module:
    return ChannelPReLU(init) if channels else nn.PReLU(init=init)


_POSITIVE = Rule(lambda value: value > 0, "above 0")
_NOT_NEGATIVE = Rule(lambda value: value >= 0, "0 or more")
_MIN_BELOW_MAX = Rule(lambda p: p["min_val"] < p["max_val"], "min_val must be below max_val")
_LOWER_UP_TO_UPPER = Rule(lambda p: p["lower"] <= p["upper"], "lower must be at most upper")


def _entry(
    module: Callable[..., nn.Module],
    shape: Shape = Shape.QUASI_CONVEX,
    *,
    only: Callable[[Mapping[str, Any]], bool] = lambda _: True,
    otherwise: Shape = Shape.QUASI_CONVEX,
    rule: Rule | None = None,
    **parameters: Parameter,
) -> Entry[Definition]:
    """Return an entry whose shape is ``shape`` for the parameters that ``only`` accepts."""
    definition = Definition(module, lambda p: shape if only(p) else otherwise)
    return Entry(definition, parameters=parameters, rule=rule)


ACTIVATIONS = Registry(
    "activation",
    relu=_entry(nn.ReLU, Shape.EXACTLY_INCREASING),
    leaky_relu=_entry(
        nn.LeakyReLU,
        Shape.EXACTLY_INCREASING,
        only=lambda p: bool(p["negative_slope"] >= 0),
        negative_slope=Parameter(0.01),
    ),
    prelu=_entry(_prelu, init=Parameter(0.25), channels=Parameter(False)),
    rrelu=_entry(
        nn.RReLU,
        Shape.ANY,  # its slopes are drawn anew at each call
        rule=_LOWER_UP_TO_UPPER,
        lower=Parameter(1 / 8),
        upper=Parameter(1 / 3),
    ),
    relu6=_entry(nn.ReLU6, Shape.EXACTLY_INCREASING),
    threshold=_entry(
        lambda threshold=1.0, value=0.0: nn.Threshold(threshold, value),
        Shape.EXACTLY_INCREASING,
        only=lambda p: bool(p["value"] <= p["threshold"]),
        threshold=Parameter(1.0),
        value=Parameter(0.0),
    ),
    elu=_entry(
        nn.ELU, Shape.INCREASING, only=lambda p: bool(p["alpha"] >= 0), alpha=Parameter(1.0)
    ),
    celu=_entry(nn.CELU, Shape.INCREASING, alpha=Parameter(1.0, _POSITIVE)),
    selu=_entry(nn.SELU, Shape.INCREASING),
    gelu=_entry(nn.GELU, approximate=Parameter("none", one_of("none", "tanh"))),
    silu=_entry(nn.SiLU),
    mish=_entry(nn.Mish),
    hardswish=_entry(nn.Hardswish),
    softplus=_entry(
        nn.Softplus,
        Shape.INCREASING,
        # at a lower threshold, from which it is the identity, it drops visibly
        only=lambda p: bool(p["threshold"] >= 20),
        otherwise=Shape.ANY,
        beta=Parameter(1.0, _POSITIVE),
        threshold=Parameter(20.0),
    ),
    tanh=_entry(nn.Tanh, Shape.INCREASING),
    tanhshrink=_entry(nn.Tanhshrink, Shape.INCREASING),
    hardtanh=_entry(
        nn.Hardtanh,
        Shape.EXACTLY_INCREASING,
        rule=_MIN_BELOW_MAX,
        min_val=Parameter(-1.0),
        max_val=Parameter(1.0),
    ),
    softsign=_entry(nn.Softsign, Shape.INCREASING),
    sigmoid=_entry(nn.Sigmoid, Shape.INCREASING),
    hardsigmoid=_entry(nn.Hardsigmoid, Shape.INCREASING),
    logsigmoid=_entry(nn.LogSigmoid, Shape.INCREASING),
    hardshrink=_entry(nn.Hardshrink, Shape.EXACTLY_INCREASING, lambd=Parameter(0.5, _NOT_NEGATIVE)),
    softshrink=_entry(nn.Softshrink, Shape.INCREASING, lambd=Parameter(0.5, _NOT_NEGATIVE)),
    identity=_entry(nn.Identity, Shape.EXACTLY_INCREASING),
    aliases={"swish": "silu"},
    importable=True,
)


@dataclass(frozen=True)
class ActivationFactory:
    """Builds a fresh activation module at each call.

    Attributes:
        spec: its canonical text.
        full_spec: the canonical text with all parameters, those at their defaults too.
        build: what builds it.
        shape: of its graph.
    """

    spec: str
    full_spec: str
    build: Callable[[], nn.Module]
    shape: Shape = Shape.ANY

    def __call__(self, inplace: bool = False) -> nn.Module:
        """Return a new module; ``inplace``, which torchvision's blocks pass, has no effect."""
        with settings_kept(self.spec):  # so that the network's other layers do not depend on it
            return self.build()


class FunctionActivation(nn.Module):
    """A module that computes a user's function from tensor to tensor."""

    def __init__(self, function: Callable[..., torch.Tensor], parameters: Mapping[str, Value]):
        super().__init__()
        self.function = function
        self.arguments = dict(parameters)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the function of ``x``."""
        return self.function(x, **self.arguments)


def resolve_activation(text: str) -> ActivationFactory:
    """Return the factory that an activation spec names.

    Raises:
        UsageError: an unknown name or parameter, a value that is not finite or out of range, an
            import that fails, or an object that is neither a module class nor a function.
    """
    spec = ACTIVATIONS.parse(text)
    if spec.imported:
        return _imported(spec)
    entry = ACTIVATIONS[spec.name]
    bound = ACTIVATIONS.bind(spec)

    def build() -> nn.Module:
        return entry.target.module(**bound)

    main = next(iter(entry.parameters), None)
    parameters = {**entry.defaults, **bound}
    shape = entry.target.shape(parameters)
    texts = spec.canonical(bound, main), spec.canonical(parameters, main)
    return ActivationFactory(*texts, build, shape)


def _imported(spec: Spec) -> ActivationFactory:
    found = import_object(spec)
    if spec.value is not None:
        raise UsageError(
            f"activation {spec.name!r}: give the parameters of your own activations by name, "
            f"for example {spec.name}:alpha={spec.value}"
        )
    for key, value in spec.parameters.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"activation {spec.name!r}: {key} is {value}; it must be finite")

    made_by = found
    while isinstance(made_by, functools.partial):
        made_by = made_by.func
    if inspect.isclass(made_by) and issubclass(made_by, nn.Module):

        def build() -> nn.Module:
            module: nn.Module = found(**spec.parameters)
            return module
    elif callable(made_by) and not (inspect.isclass(made_by) or isinstance(made_by, nn.Module)):

        def build() -> nn.Module:
            return FunctionActivation(found, spec.parameters)
    else:
        raise UsageError(
            f"activation {spec.name!r} is {repr(found)[:60]}; "
            "it must be a torch.nn.Module class or a function of a tensor"
        )
    text = spec.canonical(spec.parameters)
    return ActivationFactory(text, text, build)


@dataclass(frozen=True)
class ActivationCheck:
    """The values of an activation in evaluation mode and single precision.

    ``monotone`` is whether it never decreases on 10,001 equally spaced points of [−5, 5];
    ``trainable_parameters`` counts the numbers that one instance adds to the network.
    """

    at_minus_one: float
    at_zero: float
    at_one: float
    monotone: bool
    trainable_parameters: int


def check_activation(factory: ActivationFactory, seed: int | None = None) -> ActivationCheck:
    """Return the self-check of an activation, which shows a slope of 16 in place of 0.16.

    An activation that draws random numbers draws them from a generator with ``seed``, or without
    one from the generators' current states.

    Raises:
        UsageError: it cannot be built, raises, or returns something other than a tensor of its
            input's shape and floating-point type.
    """
    points = (torch.arange(-5000, 5001, dtype=torch.float32) / 1000).reshape(-1, 1, 1, 1)
    try:
        with torch.random.fork_rng(devices=[]), settings_kept(factory.spec):
            if seed is not None:
                torch.manual_seed(seed)
            module = factory().eval()
            points = points.expand(-1, channels_of(module), 1, 1)
            with torch.no_grad():
                values = module(points.clone())
    except (Exception, SystemExit) as error:  # a user's activation may raise anything
        reason = f"{type(error).__name__}: {error}".replace("\n", " ")
        raise UsageError(f"activation {factory.spec!r} fails its self-check: {reason}") from error
    if not isinstance(values, torch.Tensor) or not values.is_floating_point():
        raise UsageError(f"activation {factory.spec!r} returns no floating-point tensor")
    if values.dtype != points.dtype:
        raise UsageError(
            f"activation {factory.spec!r} turns {_type_name(points)} into {_type_name(values)}; "
            "it must keep the type"
        )
    if values.shape != points.shape:
        raise UsageError(
            f"activation {factory.spec!r} turns shape {tuple(points.shape)} into "
            f"{tuple(values.shape)}; it must keep the shape"
        )
    flat = values[:, 0].flatten()
    at = {x: float(flat[round((x + 5) * 1000)]) for x in (-1, 0, 1)}
    return ActivationCheck(
        at_minus_one=at[-1],
        at_zero=at[0],
        at_one=at[1],
        monotone=bool((flat.diff() >= 0).all()),
        trainable_parameters=sum(p.numel() for p in module.parameters() if p.requires_grad),
    )


def channels_of(module: nn.Module) -> int:
    """Return the number of channels that a module has parameters for, as ``PReLU`` may; else 1."""
    sizes = {p.numel() for p in module.parameters() if not isinstance(p, nn.UninitializedParameter)}
    return max(sizes, default=1) if len(sizes - {1}) == 1 else 1


def _type_name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
