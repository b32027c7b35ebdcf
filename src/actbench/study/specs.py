"""Parse specs such as ``leaky_relu:0.1``: a name with parameters, or the user's own object."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from actbench.errors import UsageError, did_you_mean
from actbench.files.atomic import expanded

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Value = float | int | bool | str | tuple[float, ...]
_IMPORT_PATH = re.compile(
    r"(?P<module>(?:[A-Za-z]:[\\/])?[^:\0]*\.py|[^\W\d][\w.]*):(?P<name>[^\W\d][\w.]*)(?::(?P<rest>.*))?"
)
_FRACTION = re.compile(r"[0-9]{1,9}/0*[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class Spec:
    """A parsed spec: ``name``, or ``name:value``, or ``name:key=value,key=value``.

    For a user's own object, ``package.module:name`` or ``./file.py:name`` is the name; its
    parameters follow another colon.
    """

    kind: str
    name: str
    imported: bool
    value: Value | None = None
    parameters: dict[str, Value] = field(default_factory=dict)

    def bind(self, defaults: Mapping[str, Value]) -> dict[str, Value]:
        """Return the parameters that the text sets, by name, with the types of ``defaults``.

        Raises:
            UsageError: a parameter is unknown, of another type, or not finite.
        """
        given = dict(self.parameters)
        if self.value is not None:
            if not defaults:
                raise UsageError(
                    f"{self.kind} {self.name!r} takes no parameter, but was given {self.value!r}"
                )
            given = {next(iter(defaults)): self.value}
        for key, value in given.items():
            if key not in defaults:
                hint = did_you_mean(key, defaults) if defaults else "; it takes none"
                raise UsageError(f"{self.kind} {self.name!r} has no parameter {key!r}{hint}")
            given[key] = self._as_type_of(defaults[key], key, value)
        return given

    def _as_type_of(self, default: Value, key: str, value: Value) -> Value:
        if isinstance(default, tuple):
            numbers = _numbers(str(value))
            if not numbers:
                raise UsageError(
                    f"{self.kind} {self.name!r}: {key} is {value!r}; it must be numbers with a "
                    f"slash between them, for example {value_text(default or (0.01, 0.1))}"
                )
            return numbers
        if isinstance(default, float) and isinstance(value, str) and _FRACTION.fullmatch(value):
            above, below = map(int, value.split("/"))
            value = above / below
        if isinstance(default, float) and _is_number(value):
            try:
                number = float(value)
            except OverflowError:  # an integer of hundreds of digits
                number = math.inf
            if not math.isfinite(number):
                raise UsageError(f"{self.kind} {self.name!r}: {key} is {number}; it must be finite")
            return number
        if type(value) is not type(default):
            expected = {bool: "true or false", int: "an integer", float: "a number", str: "text"}
            raise UsageError(
                f"{self.kind} {self.name!r}: {key} is {value!r}; "
                f"it must be {expected[type(default)]}, for example {default!r}"
            )
        return value

    def canonical(self, bound: Mapping[str, Value], main: str | None = None) -> str:
        """Return the spec text of these parameters in one canonical form.

        ``main`` is the parameter that is written without its name if it is the only one.
        """
        if not bound:
            return self.name
        if main is not None and set(bound) == {main}:
            return f"{self.name}:{value_text(bound[main])}"
        settings = ",".join(f"{key}={value_text(bound[key])}" for key in sorted(bound))
        return f"{self.name}:{settings}"


def is_import_path(text: str) -> bool:
    """Return whether a canonical spec names the user's own object."""
    return _IMPORT_PATH.fullmatch(text) is not None


def parse_spec(text: str, kind: str, known: Iterable[str], *, importable: bool = True) -> Spec:
    """Return the parts of a spec text.

    Args:
        text: what the user wrote.
        kind: what it names, for messages: ``"activation"``, ``"model"``, ``"attack"``.
        known: the registered names; any other must be an import path.
        importable: whether an import path is accepted.

    Raises:
        UsageError: the text is not a spec, or its name is unknown.
    """
    text = text.strip()
    names = set(known)
    name, _, rest = text.partition(":")
    imported = _IMPORT_PATH.fullmatch(text)
    if name in names:
        return _with_parameters(text, kind, name, rest, imported=False)
    if imported is not None and importable:
        module = imported["module"]
        module = _plain_path(module) if module.endswith(".py") else module
        path = f"{module}:{imported['name']}"
        return _with_parameters(text, kind, path, imported["rest"] or "", imported=True)
    your_own = " (your own: package.module:Name or ./file.py:Name)" if importable else ""
    raise UsageError(f"unknown {kind} {name!r}{did_you_mean(name, names)}{your_own}")


def _plain_path(path: str) -> str:
    """Return a path relative to the current folder if it is inside it, else an absolute one."""
    full = os.path.abspath(expanded(path))  # noqa: PTH100 - does not resolve links
    relative = os.path.relpath(full)
    return full if relative.startswith("..") else f"./{Path(relative).as_posix()}"


def _with_parameters(text: str, kind: str, name: str, rest: str, *, imported: bool) -> Spec:
    if not rest:
        return Spec(kind, name, imported)
    if "=" not in rest:
        return Spec(kind, name, imported, value=parse_value(rest))
    parameters: dict[str, Value] = {}
    for setting in rest.split(","):
        key, equals, value = (part.strip() for part in setting.partition("="))
        if not (key.isidentifier() and equals and value):
            raise UsageError(f"{kind} {text!r}: {setting!r} is not of the form key=value")
        if key in parameters:
            raise UsageError(f"{kind} {text!r} sets {key!r} twice")
        parameters[key] = parse_value(value)
    return Spec(kind, name, imported, parameters=parameters)


def names_or_none(setting: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of a setting; only ``none`` means that there are none.

    Raises:
        UsageError: ``none`` is given with others.
    """
    given = tuple(names)
    if "none" not in given:
        return given
    if set(given) != {"none"}:
        raise UsageError(f"{setting} has 'none' beside other names; give one or the other")
    return ()


def parse_value(text: str) -> Value:
    """Return the boolean, integer or float that a text is, else the text."""
    text = text.strip()
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _is_number(value: Value) -> TypeGuard[int | float]:
    return type(value) in (int, float)


def _numbers(text: str) -> tuple[float, ...] | None:
    """Return the finite numbers of a text such as ``0.5/0.75``; None if it is not that."""
    try:
        numbers = tuple(map(float, text.split("/")))
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def shortest_text(value: Value) -> str:
    """Return a value as a spec shows it; a number of 255ths as a fraction if that is shorter."""
    text = value_text(value)
    if isinstance(value, float) and 0 < value < 1 and round(255 * value) / 255 == value:
        return min(text, f"{round(255 * value)}/255", key=len)
    return text


def value_text(value: Value) -> str:
    """Return a value as specs have it; ``parse_value`` reads it, up to the type of an integer."""
    if isinstance(value, tuple):
        return "/".join(map(value_text, value))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def setting_text(value: Any) -> str:
    """Return the value of a study's setting as reports show it; no value is "none"."""
    text = ", ".join(map(setting_text, value)) if isinstance(value, (list, tuple)) else value
    return value_text(text) or "none"
