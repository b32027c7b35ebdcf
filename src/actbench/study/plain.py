"""Read dataclasses from plain values, such as JSON's, checked by their fields' annotations."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

if TYPE_CHECKING:
    from actbench.study.fields import Rule

T = TypeVar("T")
Reader = Callable[[Any], Any]
MAX_DEPTH = 20


def parse_json(text: str) -> Any:
    """Return the value of a JSON text, checked so that it can be shown and written again.

    Raises:
        ValueError: it is not JSON, is nested deeper than ``MAX_DEPTH``, or has text that UTF-8
            cannot encode.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    level = [value]
    for _ in range(MAX_DEPTH):
        "".join(part for part in level if isinstance(part, str)).encode()
        level = [item for part in level for item in _items(part)]
        if not level:
            return value
    raise ValueError("it is nested too deep")


def _items(value: object) -> list[Any]:
    """Return what a list or a dict holds, keys too; nothing for other values."""
    if isinstance(value, dict):
        return [*value, *value.values()]
    return value if isinstance(value, list) else []


def from_plain(kind: type[T], value: object) -> T:
    """Return the instance of ``kind`` whose ``dataclasses.asdict``, through JSON, is this value.

    A field's annotation decides what is accepted: a dataclass, a tuple, a dict with text keys, a
    union, ``float``, ``int``, ``bool``, ``str``, ``None`` or ``Any``, optionally with a ``Rule`` as
    in ``Annotated[float, Rule(is_share, "in [0, 1]")]``.
    An integer is accepted for a float; ``null`` is read as NaN there, since JSON has no NaN.

    Raises:
        ValueError: a field is missing or unknown, or a value has a wrong type; the message names
            the field.
    """
    read: Reader = _reader(kind)  # type: ignore[arg-type]
    return read(value)  # type: ignore[no-any-return]


@functools.cache
def _reader(kind: Any) -> Reader:
    """Return a function that converts a plain value to ``kind``, or raises a ValueError."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return lambda value: value
    if kind is float:
        return _float
    if kind in (int, bool, str, NoneType):
        return functools.partial(_exactly, kind)
    if is_dataclass(kind):
        return _dataclass_reader(kind)
    if origin is Annotated:
        return _checking_reader(_reader(arguments[0]), arguments[1])
    if origin in (Union, UnionType):
        return _union_reader(arguments)
    if origin is dict:
        return _dict_reader(*map(_reader, arguments))
    if origin is list or (origin is tuple and arguments[1:] == (...,)):
        return _sequence_reader(origin, _reader(arguments[0]))
    if origin is tuple:
        return _tuple_reader([_reader(argument) for argument in arguments])
    raise TypeError(f"no plain value is read as {kind}")


def _wrong(value: object, expected: str) -> ValueError:
    text = repr(value) if isinstance(value, (str, int, float, NoneType)) else type(value).__name__
    return ValueError(f"is {text[:40]}; it must be {expected}")


def _float(value: object) -> float:
    if type(value) is float:
        return value
    if value is None:
        return math.nan
    if type(value) is int and abs(value) < 2**53:
        return float(value)
    raise _wrong(value, "a number")


def _exactly(kind: type, value: object) -> object:
    if type(value) is kind:
        return value
    raise _wrong(value, f"of type {kind.__name__}")


def _checking_reader(read: Reader, rule: Rule) -> Reader:
    is_valid = rule.is_valid

    def checked(value: object) -> object:
        result = read(value)
        if is_valid(result):
            return result
        raise _wrong(value, rule.expected)

    return checked


def _union_reader(kinds: tuple[Any, ...]) -> Reader:
    # the error of the last one is shown; None's is the least useful
    readers = [_reader(kind) for kind in sorted(kinds, key=lambda kind: kind is not NoneType)]

    def union(value: object) -> object:
        if type(value) in kinds:  # None, and an integer if both int and float are accepted
            return value
        for read in readers[:-1]:
            try:
                return read(value)
            except ValueError:
                continue
        return readers[-1](value)

    return union


def _dict_reader(read_key: Reader, read: Reader) -> Reader:
    def mapping(value: object) -> dict[str, object]:
        if type(value) is not dict:
            raise _wrong(value, "an object")
        return {read_key(name): read(item) for name, item in value.items()}

    return mapping


def _sequence_reader(make: Callable[[Any], Any], read: Reader) -> Reader:
    def sequence(value: object) -> object:
        if not isinstance(value, (list, tuple)):
            raise _wrong(value, "a list")
        return make(map(read, value))

    return sequence


def _tuple_reader(readers: list[Reader]) -> Reader:
    def items(value: object) -> tuple[object, ...]:
        if not isinstance(value, (list, tuple)) or len(value) != len(readers):
            raise _wrong(value, f"a list of {len(readers)}")
        return tuple(read(item) for read, item in zip(readers, value, strict=True))

    return items


def _dataclass_reader(kind: Any) -> Reader:
    hints = get_type_hints(kind, include_extras=True)
    readers = {item.name: _reader(hints[item.name]) for item in fields(kind)}
    required = {
        item.name
        for item in fields(kind)
        if item.default is MISSING and item.default_factory is MISSING
    }

    def instance(value: object) -> object:
        if type(value) is not dict:
            raise _wrong(value, "an object")
        if not required <= value.keys() <= readers.keys():
            odd = sorted((required - value.keys()) | (value.keys() - readers.keys()))
            raise ValueError(f"does not have the fields of {kind.__name__}: {odd[0][:40]!r}")
        read = {}
        for name, item in value.items():
            try:
                read[name] = readers[name](item)
            except ValueError as error:
                raise ValueError(f"{name} {error}") from None
        return kind(**read)

    return instance
