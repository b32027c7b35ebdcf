"""Numbers as they are printed: their value, and all values that round to them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

# The relative error of recomputing a printed number in float64, with room to spare: a number
# printed with all its digits must not fail for its last bit.
_FLOAT_ERROR = 1e-9
MAX_RUNS = 10**9
"""The largest number of runs, or of test images, that a table can have."""
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_PRINTED = re.compile(rf"(?P<sign><=|>=|<|>|=)?\s*(?P<number>{_NUMBER})")
_PAIR = re.compile(
    rf"[\[({{]?\s*(?P<low>{_NUMBER})\s*(?:,|;|\.\.+|…|\bto\b|[–—-])\s*(?P<high>{_NUMBER})\s*[\])}}]?"
)
_PLUS_MINUS = re.compile(
    rf"(?P<value>{_NUMBER})\s*(?:±|\+/-|\+-|\(\s*±?)\s*(?P<spread>{_NUMBER})\s*\)?"
)
_MISSING = frozenset(("", "-", "–", "—", "n/a", "na", "nan", "none", "?"))
# marks around a number: emphasis, code, mathematics, percent, units, footnotes
_MARKS = re.compile(r"\*+|__|`|\$|\\?%|\\,|\\(?:textbf|mathbf|bm)\b|[{}†‡§¶]|\bpp\b|\bpoints?\b")
# typed instead of a minus: at the start, or after what cannot end a number
_DASH_AS_MINUS = re.compile(r"(^|[\[(,;<>=±]\s*|\bto\s+)[–—](?=[\d.])")

Sign = Literal["=", "<", ">"]


@dataclass(frozen=True)
class Range:
    """A closed interval of numbers."""

    low: float
    high: float

    def meets(self, other: Range) -> bool:
        """Return whether the two have a number in common, up to float64 rounding."""
        ends = (self.low, self.high, other.low, other.high)
        slack = _FLOAT_ERROR * max([abs(end) for end in ends if math.isfinite(end)], default=0)
        return self.low <= other.high + slack and other.low <= self.high + slack

    def scaled(self, factor: float) -> Range:
        """Return the range of the products with ``factor``."""
        ends = sorted((factor * self.low, factor * self.high))
        return Range(ends[0], ends[1])

    def minus(self, other: Range) -> Range:
        """Return the range of the differences."""
        return Range(self.low - other.high, self.high - other.low)

    def magnitude(self) -> Range:
        """Return the range of the absolute values."""
        if self.low <= 0 <= self.high:
            return Range(0, max(-self.low, self.high))
        ends = sorted((abs(self.low), abs(self.high)))
        return Range(ends[0], ends[1])


@dataclass(frozen=True)
class Printed:
    """A number as printed.

    Attributes:
        value: the number.
        step: the value of one step of its last printed digit: 0.01 for ``86.66``.
        sign: "<" or ">" if it is printed as a bound, else "=".
        text: as it is printed.
    """

    value: float
    step: float
    sign: Sign = "="
    text: str = ""

    def values(self, *, cut_off: bool = False) -> Range:
        """Return all values that are printed like this.

        Args:
            cut_off: whether the digits may have been cut off or rounded away from zero, so that the
                value is up to one unit of the last digit away; else it was rounded to the nearest.
        """
        reach = self.step if cut_off else self.step / 2
        return Range(self.value - reach, self.value + reach)

    def scaled(self, factor: float) -> Printed:
        """Return the number in another unit."""
        return Printed(self.value * factor, self.step * factor, self.sign, self.text)


def clean(text: str) -> str:
    """Return a cell's text without marks of emphasis, units and footnotes, with ASCII signs."""
    text = text.replace("\\pm", "±").replace("&nbsp;", " ").replace("\u00a0", " ")
    text = _MARKS.sub("", text)
    for old, new in (("−", "-"), ("≤", "<="), ("≥", ">="), ("&lt;", "<"), ("&gt;", ">")):
        text = text.replace(old, new)
    text = _DASH_AS_MINUS.sub(r"\1-", text.strip())
    return " ".join(text.split())


def is_missing(text: str) -> bool:
    """Return whether a cell's text means that there is no value."""
    return clean(text).lower() in _MISSING


_LARGEST, _FINEST = 1e15, 1e-60


def parse_number(text: str) -> Printed | None:
    """Return the number that a cell prints, or None if it prints something else.

    ``86.66 %``, ``**86.66**``, ``−0.4``, ``< 0.0001``, ``P = 0.0475`` are numbers. Of
    ``P < 5e-2 (0.0475)`` it is the one in parentheses, of ``23 (2)`` the first.
    """
    text = re.sub(r"^[pPd]\s*(?=[<>=])", "", clean(text))
    both = re.fullmatch(rf"([<>=]*\s*{_NUMBER})\s*\(\s*({_NUMBER})\s*\)", text)
    found = _PRINTED.fullmatch(text if both is None else both[2] if both[1][0] in "<>" else both[1])
    if found is None:
        return None
    sign = (found["sign"] or "=")[0]
    printed = _printed(found["number"])
    if printed is None:
        return None
    return Printed(printed.value, printed.step, sign, text)  # type: ignore[arg-type]


def parse_pair(text: str) -> tuple[Printed, Printed] | None:
    """Return the two ends that a cell prints, such as ``[-0.4, 0.1]`` or ``-0.4 to 0.1``."""
    found = _PAIR.fullmatch(clean(text))
    return None if found is None else _two(found["low"], found["high"])


def parse_plus_minus(text: str) -> tuple[Printed, Printed] | None:
    """Return the value and its spread that a cell prints: ``86.7 ± 0.6`` or ``86.7 (0.6)``."""
    found = _PLUS_MINUS.fullmatch(clean(text))
    return None if found is None else _two(found["value"], found["spread"])


def _two(first: str, second: str) -> tuple[Printed, Printed] | None:
    one, other = _printed(first), _printed(second)
    return None if one is None or other is None else (one, other)


def _printed(number: str) -> Printed | None:
    mantissa, _, exponent = number.lower().partition("e")
    decimals = len(mantissa.partition(".")[2])
    try:
        power = int(exponent or 0) - decimals
        value, step = float(number), float(f"1e{power}")
    except (ValueError, OverflowError):
        return None
    usual = abs(value) <= _LARGEST and step >= _FINEST  # their fourth powers are finite and not 0
    return Printed(value, step, "=", number) if usual else None
