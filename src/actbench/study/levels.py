"""The levels of a corruption spec, as plain values: the published severities, or the user's own.

A spec without constants, such as ``fog``, has the severities 1 to 5. One with constants, such as
``gaussian_noise:sigma=0.1/0.2/0.4``, has a level for each value; its severities are 1, 2 and 3.
"""

from __future__ import annotations

import re

SEVERITIES = (1, 2, 3, 4, 5)
MAX_LEVELS = 100
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_SETTING = r"[A-Za-z_]\w*\s*=[^,=]+"
_GIVEN = re.compile(
    rf"\w+:\s*(?:(?P<main>{_NUMBER}(?:/{_NUMBER})*)|(?P<named>{_SETTING}(?:,\s*{_SETTING})*))\s*"
)
_SYMBOLS = {"sigma": "σ", "alpha": "α", "rate": "λ"}


def is_name(spec: str) -> bool:
    """Return whether a corruption spec is only a name: no constants and no import path."""
    return ":" not in spec


def has_levels(spec: str) -> bool:
    """Return whether a corruption spec gives levels; it has the severities 1 to 5 otherwise."""
    return bool(_given(spec))


def severities(spec: str) -> tuple[int, ...]:
    """Return the severities, from 1, at which a corruption spec is measured."""
    given = _given(spec)
    return tuple(range(1, 1 + max(map(len, given.values())))) if given else SEVERITIES


def level_labels(spec: str) -> tuple[str, ...]:
    """Return a text for each severity of a spec: ``severity 1``, or ``σ = 0.1`` for constants."""
    given = _given(spec)
    if not given:
        return tuple(f"severity {severity}" for severity in severities(spec))
    count = len(severities(spec))
    each = [
        [f"{symbol(name)} = {value}" for value in (values if len(values) > 1 else values * count)]
        for name, values in given.items()
    ]
    return tuple(map(", ".join, zip(*each, strict=True)))


def level_axis(spec: str) -> tuple[str, tuple[str, ...]]:
    """Return what differs between the levels of a spec, such as ``σ``, and its value at each."""
    given = _given(spec)
    varied = {name: values for name, values in given.items() if len(values) > 1} or given
    if not varied:
        return "severity", tuple(map(str, severities(spec)))
    values = zip(*varied.values(), strict=True)
    return ", ".join(map(symbol, varied)), tuple(map(", ".join, values))


def corruption_label(spec: str) -> str:
    """Return a spec as tables and figures show it: ``gaussian noise (σ = 0.1/0.2/0.4)``."""
    given = _given(spec)
    if given:
        constants = ", ".join(f"{symbol(name)} = {'/'.join(v)}" for name, v in given.items())
        return f"{corruption_label(spec.partition(':')[0])} ({constants})"
    return spec.replace("_", " ") if is_name(spec) else spec


def name_label(spec: str) -> str:
    """Return the label without the constants, which ``level_labels`` has: ``gaussian noise``."""
    return corruption_label(spec.partition(":")[0] if has_levels(spec) else spec)


def panel_label(spec: str) -> str:
    """Return the label without what ``level_axis`` shows, such as ``fog (decay = 3)``."""
    given = _given(spec)
    fixed = {name: values[0] for name, values in given.items() if len(values) == 1}
    label = name_label(spec)
    if not fixed or fixed.keys() == given.keys():
        return label
    return f"{label} ({', '.join(f'{symbol(name)} = {value}' for name, value in fixed.items())})"


def symbol(parameter: str) -> str:
    """Return a parameter's symbol in formulas, else its name in words."""
    return _SYMBOLS.get(parameter) or parameter.replace("_", " ")


def _given(spec: str) -> dict[str, list[str]]:
    """Return the texts of the values that a spec gives, by parameter; empty for other specs."""
    found = _GIVEN.fullmatch(spec.strip())
    if found is None:
        return {}
    if found["main"]:
        return {"level": found["main"].split("/")}
    pairs = (setting.partition("=") for setting in found["named"].split(","))
    return {name.strip(): [v.strip() for v in values.split("/")] for name, _, values in pairs}
