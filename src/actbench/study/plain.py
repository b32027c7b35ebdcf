"""Plain values, as JSON gives them → dataclasses, checked by the annotations of their fields."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
Reader = Callable[[Any], Any]
MAX_DEPTH = 20


@dataclass(frozen=True)
class Must:
    """What a value must be beyond its type: ``Annotated[float, Must(is_share, "in [0, 1]")]``."""

    holds: Callable[[Any], bool]
    wanted: str


def parse_json(text: str) -> Any:
    """Return what a JSON text holds, so that it can be compared, shown and written again.

    Raises:
        ValueError: it is not JSON, is nested more than ``MAX_DEPTH`` deep, or holds text that has
            no UTF-8.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    level = [value]
    for _ in range(MAX_DEPTH):
        texts = [part for part in level if isinstance(part, str)]
        "".join(
            [*texts, *(key for part in level if isinstance(part, dict) for key in part)]
        ).encode()
        level = [
            item
            for part in level
            if isinstance(part, (list, dict))
            for item in (part.values() if isinstance(part, dict) else part)
        ]
        if not level:
            return value
    raise ValueError("it is nested too deep")


def from_plain(kind: type[T], value: object) -> T:
    """Return the dataclass that ``dataclasses.asdict``, through JSON, made this value of.

    A field's annotation decides what is accepted: a dataclass, a tuple, a dict with text keys, a
    union, ``float``, ``int``, ``bool``, ``str``, ``None`` or ``Any``, perhaps with a ``Must``. A
    whole number is accepted for a float; ``null`` is NaN there, since JSON has no NaN.

    Raises:
        ValueError: a field is missing or unknown, or a value is of another type; it names the
            field.
    """
    read: Reader = _reader(kind)  # type: ignore[arg-type]
    return read(value)  # type: ignore[no-any-return]


@functools.cache
def _reader(kind: Any) -> Reader:
    """Return a function that takes a plain value to ``kind``, or raises a ValueError."""
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


def _wrong(value: object, wanted: str) -> ValueError:
    text = repr(value) if isinstance(value, (str, int, float, NoneType)) else type(value).__name__
    return ValueError(f"is {text[:40]}; it must be {wanted}")


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


def _checking_reader(read: Reader, must: Must) -> Reader:
    holds = must.holds

    def checked(value: object) -> object:
        result = read(value)
        if holds(result):
            return result
        raise _wrong(value, must.wanted)

    return checked


def _union_reader(kinds: tuple[Any, ...]) -> Reader:
    # the error of the last one is shown, and None says least
    readers = [_reader(kind) for kind in sorted(kinds, key=lambda kind: kind is not NoneType)]

    def union(value: object) -> object:
        if type(value) in kinds:  # None, and a whole number where both kinds of number will do
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
            raise ValueError(f"has not the fields of {kind.__name__}: {odd[0][:40]!r}")
        read = {}
        for name, item in value.items():
            try:
                read[name] = readers[name](item)
            except ValueError as error:
                raise ValueError(f"{name} {error}") from None
        return kind(**read)

    return instance
