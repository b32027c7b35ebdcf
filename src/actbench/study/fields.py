"""The ranges of a study's fields."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Holds = Callable[[object], bool]

LARGEST_COUNT = 10**9
LARGEST_SEED = 2**63 - 1
LARGEST_SEED_COUNT = 100_000
LARGEST_RATE = 1_000_000
LARGEST_EPSILON = 100


def check(holds: Callable[[Any], bool], wanted: str) -> dict[str, Any]:
    """Return a field's metadata: whether a value will do, and what would."""
    return {"holds": holds, "wanted": wanted}


def whole(low: int, note: str = "", high: int = LARGEST_COUNT) -> dict[str, Any]:
    """Return the metadata of a field for whole numbers; ``note`` explains ``low``."""
    return check(is_whole(low, high), f"a whole number from {low}{note} to {high}")


def is_whole(low: int, high: int = LARGEST_COUNT) -> Holds:
    """Return whether a value is a whole number from ``low`` to ``high``, and no true or false."""
    return lambda value: type(value) is int and low <= value <= high


def is_number(low: float, high: float, *, above: bool = False) -> Holds:
    """Return whether a value is a number from ``low``, or above it, to ``high``."""

    def holds(value: object) -> bool:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return False
        return (low < value if above else low <= value) and value <= high  # nan is neither

    return holds


def is_text(value: object) -> bool:
    """Return whether a value is a line of text."""
    return isinstance(value, str) and value.strip() != "" and value.isprintable()


def is_text_or_empty(value: object) -> bool:
    """Return whether a value is a line of text or empty."""
    return value == "" or is_text(value)


def are_texts(value: object) -> bool:
    """Return whether a value is a tuple of texts, at least one."""
    return isinstance(value, tuple) and len(value) > 0 and all(map(is_text, value))


def are_texts_or_none(value: object) -> bool:
    """Return whether a value is a tuple of texts, perhaps of none."""
    return value == () or are_texts(value)


def are_different(holds: Holds, least: int = 1) -> Holds:
    """Return whether a value is a tuple of ``least`` or more different values that will do."""
    return lambda value: (
        isinstance(value, tuple)
        and all(map(holds, value))
        and least <= len(value) == len(set(value))
    )


def are_rates(value: object) -> bool:
    """Return whether a value is a tuple of pairs of a text and a rate, each text once."""
    rate = is_number(0, LARGEST_RATE, above=True)
    return (
        isinstance(value, tuple)
        and all(
            isinstance(pair, tuple) and len(pair) == 2 and is_text(pair[0]) and rate(pair[1])
            for pair in value
        )
        and len(value) == len(dict(value))
    )


def are_pairs_of_texts(value: object) -> bool:
    """Return whether a value is a tuple of pairs of texts, each first text once."""
    return (
        isinstance(value, tuple)
        and all(
            isinstance(pair, tuple) and len(pair) == 2 and all(map(is_text, pair)) for pair in value
        )
        and len(value) == len(dict(value))
    )


def is_checksum(value: object) -> bool:
    """Return whether a value is empty or a SHA-256 with its name before it."""
    return isinstance(value, str) and re.fullmatch(r"|sha256:[0-9a-f]{64}", value) is not None
