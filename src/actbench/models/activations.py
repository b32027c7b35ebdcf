"""Activation specs → factories of torch modules, and a self-check of their values."""

from __future__ import annotations

import functools
import inspect
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from actbench.errors import UsageError
from actbench.models.global_state import seed_torch, settings_kept
from actbench.models.user_code import import_object
from actbench.study.activations import ACTIVATIONS, Shape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from actbench.study.specs import Spec, Value


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


_OF_OUR_OWN = {
    "prelu": lambda init, channels: ChannelPReLU(init) if channels else nn.PReLU(init=init)
}


@dataclass(frozen=True)
class ActivationFactory:
    """Builds a fresh activation module at each call.

    Attributes:
        spec: its canonical text.
        full_spec: the canonical text with all parameters, those at their defaults too.
        build: what builds it.
        shape: the shape of its graph.
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
    parameters = {**entry.defaults, **bound}
    module: Callable[..., nn.Module] = _OF_OUR_OWN.get(spec.name) or getattr(nn, entry.target.name)

    def build() -> nn.Module:
        return module(**parameters)

    main = next(iter(entry.parameters), None)
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
                seed_torch(seed)
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
