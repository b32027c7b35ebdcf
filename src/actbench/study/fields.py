"""Declarations of settings: type, range, default and help, each in one place.

The command line's options, the comments in ``study.toml`` and the options page of the
documentation are made from these declarations.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from actbench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_COUNT = 10**9
MAX_SEED = 2**63 - 1
MAX_SEED_COUNT = 100_000
MAX_RATE = 1_000_000
MAX_EPSILON = 100
MIN_IMAGE_SIZE, MAX_IMAGE_SIZE = 28, 256

# the groups of `actbench run --help`, in its order
TRAINED = "What is trained"
MEASURED = "What is measured"
COMPARED = "How activations are compared"
RUN = "How it runs"
OUTPUT = "Output"
GROUPS = (TRAINED, MEASURED, COMPARED, RUN, OUTPUT)


@dataclass(frozen=True)
class Rule:
    """The valid values of a field, and their description; ``choices`` lists them if few."""

    is_valid: Callable[[Any], bool]
    expected: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Setting:
    """A field's declaration; ``flag`` is its command-line option, or ``None``."""

    name: str
    type: str
    default: Any
    rule: Rule
    help: str
    group: str
    flag: str | None
    metavar: str | None


def setting(
    default: Any,
    rule: Rule,
    group: str,
    help: str,  # noqa: A002 - click's name for it
    *,
    flag: str | None = "",
    metavar: str | None = None,
) -> Any:
    """Return a dataclass field with its declaration; an empty ``flag`` means its name."""
    declared = {"rule": rule, "help": help, "group": group, "flag": flag, "metavar": metavar}
    return field(default=default, metadata=declared)


def settings_of(cls: Any) -> list[Setting]:
    """Return the declarations of a dataclass's fields, in their order."""
    found = []
    for item in fields(cls):
        declared = dict(item.metadata)
        if declared["flag"] == "":
            declared["flag"] = "--" + item.name.replace("_", "-")
        found.append(Setting(item.name, str(item.type), item.default, **declared))
    return found


def check_settings(instance: Any) -> None:
    """Check every field of a dataclass; convert integers to floats in fields of type float.

    Raises:
        UsageError: a value has a wrong type or is out of range.
    """
    for item in fields(instance):
        value, rule = getattr(instance, item.name), item.metadata["rule"]
        if not rule.is_valid(value):
            text = shown(list(value) if isinstance(value, tuple) else value)
            raise UsageError(f"{item.name} is {text}; it must be {rule.expected}")
        if item.type == "float":
            object.__setattr__(instance, item.name, float(value))


def shown(value: object) -> str:
    """Return a value as an error message shows it, at most 80 characters."""
    try:
        text = " ".join(repr(value).splitlines())
    except ValueError:  # an integer with more digits than Python prints
        return "too large a number"
    except RecursionError:
        return "a table of too many levels"
    return text if len(text) <= 80 else text[:77] + "..."


def one_of(*choices: str) -> Rule:
    """Return the rule for one of the given words."""
    return Rule(lambda value: value in choices, f"one of {', '.join(choices)}", choices)


def integer(low: int, note: str = "", high: int = MAX_COUNT) -> Rule:
    """Return the rule for an integer; ``note`` explains ``low``."""
    return Rule(is_integer(low, high), f"an integer from {low}{note} to {high}")


def image_size() -> Rule:
    """Return the rule for a side of square images in pixels, or 0."""
    is_side = is_integer(MIN_IMAGE_SIZE, MAX_IMAGE_SIZE)
    return Rule(
        lambda value: (type(value) is int and value == 0) or is_side(value),
        f"0 (the data's own), or an integer from {MIN_IMAGE_SIZE} to {MAX_IMAGE_SIZE}",
    )


def number(low: float, high: float, *, above: bool = False) -> Rule:
    """Return the rule for a number from ``low``, or above it, to ``high``."""
    limits = f"above {low}, up to {high}" if above else f"from {low} to {high}"
    return Rule(is_number(low, high, above=above), f"a number {limits}")


def text(expected: str, *, empty: bool = False) -> Rule:
    """Return the rule for a line of text, which may be empty."""
    return Rule(lambda value: (empty and value == "") or is_text(value), expected)


def texts(expected: str, *, empty: bool = False) -> Rule:
    """Return the rule for a tuple of lines of text, which may be empty."""

    def is_valid(value: object) -> bool:
        return isinstance(value, tuple) and (empty or value != ()) and all(map(is_text, value))

    return Rule(is_valid, expected)


def flag() -> Rule:
    """Return the rule for true or false."""
    return Rule(lambda value: isinstance(value, bool), "true or false")


def optional(rule: Rule) -> Rule:
    """Return the rule for a value that may also be ``None``."""
    return Rule(
        lambda value: value is None or rule.is_valid(value),
        f"None or {rule.expected}",
        rule.choices,
    )


def is_integer(low: int, high: int = MAX_COUNT) -> Callable[[object], bool]:
    """Return a test for integers from ``low`` to ``high``, without ``bool``."""
    return lambda value: type(value) is int and low <= value <= high


def is_number(low: float, high: float, *, above: bool = False) -> Callable[[object], bool]:
    """Return a test for numbers from ``low``, or above it, to ``high``."""

    def is_valid(value: object) -> bool:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return False
        return (low < value if above else low <= value) and value <= high  # nan is neither

    return is_valid


def is_text(value: object) -> bool:
    """Return whether a value is a line of text."""
    return isinstance(value, str) and value.strip() != "" and value.isprintable()


def are_different(
    is_valid: Callable[[object], bool], at_least: int = 1
) -> Callable[[object], bool]:
    """Return a test for tuples of ``at_least`` or more different valid values."""
    return lambda value: (
        isinstance(value, tuple)
        and all(map(is_valid, value))
        and at_least <= len(value) == len(set(value))
    )


def are_rates(value: object) -> bool:
    """Return whether a value is a tuple of (text, rate) pairs with different texts."""
    is_rate = is_number(0, MAX_RATE, above=True)
    return (
        isinstance(value, tuple)
        and all(
            isinstance(pair, tuple) and len(pair) == 2 and is_text(pair[0]) and is_rate(pair[1])
            for pair in value
        )
        and len(value) == len(dict(value))
    )


def are_settings(value: object) -> bool:
    """Return whether a value is a tuple of (text, learning rate, weight decay)."""
    is_rate, is_decay = is_number(0, MAX_RATE, above=True), is_number(0, MAX_RATE)
    return isinstance(value, tuple) and all(
        isinstance(part, tuple)
        and len(part) == 3
        and is_text(part[0])
        and is_rate(part[1])
        and is_decay(part[2])
        for part in value
    )


def are_pairs_of_texts(value: object) -> bool:
    """Return whether a value is a tuple of pairs of texts with different first texts."""
    return (
        isinstance(value, tuple)
        and all(
            isinstance(pair, tuple) and len(pair) == 2 and all(map(is_text, pair)) for pair in value
        )
        and len(value) == len(dict(value))
    )


def checksum() -> Rule:
    """Return the rule for ``sha256:`` and a SHA-256, or an empty text."""
    pattern = re.compile(r"|sha256:[0-9a-f]{64}")
    return Rule(
        lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None,
        "empty, or sha256: and 64 hexadecimal digits",
    )
