"""Activations that have a name: formulas, parameters and the shapes of their graphs.

``actbench.models.activations`` builds them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from actbench.study.fields import Rule, one_of
from actbench.study.registry import Entry, Parameter, Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Shape(IntEnum):
    """What the graph of an activation permits a max-pool; each shape has the properties below it.

    EXACTLY_INCREASING: non-decreasing, and computed so exactly in floating point that
    ``f(max(x)) == max(f(x))`` to the last bit. Any network may pool before it activates.
    INCREASING: non-decreasing, but its kernel rounds both ways, as those of smooth functions do.
    INCREASING_FROM_ZERO: non-decreasing from 0 on, and nowhere below 0 larger than at 0. Native
    kernels then compute it for fewer elements, which pays for slow functions only.
    QUASI_CONVEX: on any interval largest at one of the two ends, as with a single minimum.
    ANY: none of these, or unknown, as for a user's function.
    """

    ANY = 0
    QUASI_CONVEX = 1
    INCREASING_FROM_ZERO = 2
    INCREASING = 3
    EXACTLY_INCREASING = 4


@dataclass(frozen=True)
class Definition:
    """A class of ``torch.nn``, and the shape of its graph for some parameters."""

    name: str
    shape: Callable[[Mapping[str, Any]], Shape]


_POSITIVE = Rule(lambda value: value > 0, "above 0")
_NOT_NEGATIVE = Rule(lambda value: value >= 0, "0 or more")
_MIN_BELOW_MAX = Rule(lambda p: p["min_val"] < p["max_val"], "min_val must be below max_val")
_LOWER_UP_TO_UPPER = Rule(lambda p: p["lower"] <= p["upper"], "lower must be at most upper")


def _entry(
    name: str,
    formula: str,
    shape: Shape = Shape.QUASI_CONVEX,
    *,
    only: Callable[[Mapping[str, Any]], bool] = lambda _: True,
    otherwise: Shape = Shape.QUASI_CONVEX,
    rule: Rule | None = None,
    **parameters: Parameter,
) -> Entry[Definition]:
    """Return an entry whose shape is ``shape`` for the parameters that ``only`` accepts."""
    definition = Definition(name, lambda p: shape if only(p) else otherwise)
    return Entry(definition, formula, parameters, rule)


ACTIVATIONS = Registry(
    "activation",
    relu=_entry("ReLU", "max(0, x)", Shape.EXACTLY_INCREASING),
    leaky_relu=_entry(
        "LeakyReLU",
        "x if x ≥ 0, else negative_slope · x",
        Shape.EXACTLY_INCREASING,
        only=lambda p: bool(p["negative_slope"] >= 0),
        negative_slope=Parameter(0.01),
    ),
    prelu=_entry(
        "PReLU",
        "x if x ≥ 0, else init · x; the slope is learned, with channels=true one for each channel",
        init=Parameter(0.25),
        channels=Parameter(False),
    ),
    rrelu=_entry(
        "RReLU",
        "x if x ≥ 0, else (lower + upper) / 2 · x; in training the slope is drawn between the two",
        Shape.ANY,  # its slopes are drawn anew at each call
        rule=_LOWER_UP_TO_UPPER,
        lower=Parameter(1 / 8),
        upper=Parameter(1 / 3),
    ),
    relu6=_entry("ReLU6", "min(max(0, x), 6)", Shape.EXACTLY_INCREASING),
    threshold=_entry(
        "Threshold",
        "x if x > threshold, else value",
        Shape.EXACTLY_INCREASING,
        only=lambda p: bool(p["value"] <= p["threshold"]),
        threshold=Parameter(1.0),
        value=Parameter(0.0),
    ),
    elu=_entry(
        "ELU",
        "x if x > 0, else alpha · (exp(x) − 1)",
        Shape.INCREASING,
        only=lambda p: bool(p["alpha"] >= 0),
        alpha=Parameter(1.0),
    ),
    celu=_entry(
        "CELU",
        "x if x > 0, else alpha · (exp(x / alpha) − 1)",
        Shape.INCREASING,
        alpha=Parameter(1.0, _POSITIVE),
    ),
    selu=_entry(
        "SELU", "1.0507 · x if x > 0, else 1.0507 · 1.6733 · (exp(x) − 1)", Shape.INCREASING
    ),
    gelu=_entry(
        "GELU",
        "x · Φ(x), Φ the normal distribution function; tanh: its approximation",
        approximate=Parameter("none", one_of("none", "tanh")),
    ),
    silu=_entry("SiLU", "x · sigmoid(x)"),
    mish=_entry("Mish", "x · tanh(log(1 + exp(x)))", Shape.INCREASING_FROM_ZERO),
    hardswish=_entry("Hardswish", "x · min(max(0, x + 3), 6) / 6"),
    softplus=_entry(
        "Softplus",
        "log(1 + exp(beta · x)) / beta if beta · x ≤ threshold, else x",
        Shape.INCREASING,
        # at a lower threshold, from which it is the identity, it drops visibly
        only=lambda p: bool(p["threshold"] >= 20),
        otherwise=Shape.ANY,
        beta=Parameter(1.0, _POSITIVE),
        threshold=Parameter(20.0),
    ),
    tanh=_entry("Tanh", "tanh(x)", Shape.INCREASING),
    tanhshrink=_entry("Tanhshrink", "x − tanh(x)", Shape.INCREASING),
    hardtanh=_entry(
        "Hardtanh",
        "min(max(min_val, x), max_val)",
        Shape.EXACTLY_INCREASING,
        rule=_MIN_BELOW_MAX,
        min_val=Parameter(-1.0),
        max_val=Parameter(1.0),
    ),
    softsign=_entry("Softsign", "x / (1 + |x|)", Shape.INCREASING),
    sigmoid=_entry("Sigmoid", "1 / (1 + exp(−x))", Shape.INCREASING),
    hardsigmoid=_entry("Hardsigmoid", "min(max(0, x + 3), 6) / 6", Shape.INCREASING),
    logsigmoid=_entry("LogSigmoid", "−log(1 + exp(−x))", Shape.INCREASING),
    hardshrink=_entry(
        "Hardshrink",
        "x if |x| > lambd, else 0",
        Shape.EXACTLY_INCREASING,
        lambd=Parameter(0.5, _NOT_NEGATIVE),
    ),
    softshrink=_entry(
        "Softshrink",
        "max(0, x − lambd) + min(0, x + lambd)",
        Shape.INCREASING,
        lambd=Parameter(0.5, _NOT_NEGATIVE),
    ),
    identity=_entry("Identity", "x", Shape.EXACTLY_INCREASING),
    aliases={"swish": "silu"},
    importable=True,
)
