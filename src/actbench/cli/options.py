"""The options of ``actbench run``, made from the settings, and their types."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from actbench.files.atomic import expanded
from actbench.study.fields import GROUPS, OUTPUT, Setting, settings_of

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")


class Seeds(click.ParamType[Any]):
    """A count of seeds, or a list of them; a comma may end the list, so ``2,`` is seed 2 only."""

    name = "N|LIST"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return an integer, or a list of integers."""
        text = str(value).strip()
        try:
            numbers = [int(part) for part in text.removesuffix(",").split(",")]
        except ValueError:
            self.fail(
                f"{value!r} is neither a count such as 5 nor a list such as 3,7,11 or 3,",
                param,
                ctx,
            )
        return numbers if "," in text else numbers[0]


class Folder(click.Path):
    """A folder, which need not exist."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the path with ``~`` expanded."""
        if value == "":
            self.fail("it is empty; give a folder", param, ctx)
        # the shell does not expand --out=~/x
        return super().convert(expanded(value), param, ctx)


class Names(click.ParamType[Any]):
    """Names or specs, separated by commas."""

    name = "NAME,…"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the list of texts."""
        # in rrelu:lower=0.1,upper=0.3,relu the first comma is part of a spec
        return [part.strip() for part in re.split(r",(?!\s*\w+\s*=)", value)]


class Numbers(click.ParamType[Any]):
    """Numbers or fractions, separated by commas; ``example`` is for error messages."""

    def __init__(self, name: str, example: str) -> None:
        self.name, self._example = name, example

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the list of floats."""
        try:
            parts = [part.partition("/") for part in value.split(",")]
            return [float(above) / float(below if bar else 1) for above, bar, below in parts]
        except (ValueError, ZeroDivisionError):
            self.fail(f"{value!r} is not a list of numbers such as {self._example}", param, ctx)


class GroupedCommand(click.Command):
    """A command whose ``--help`` shows its options in groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each group, in the order of ``GROUPS``."""
        sections: dict[str, list[tuple[str, str]]] = {group: [] for group in GROUPS}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                sections[getattr(parameter, "group", OUTPUT)].append(record)
        for group, records in sections.items():
            with formatter.section(group):
                formatter.write_dl(records)


class GroupedOption(click.Option):
    """An option that belongs to a group of ``--help``."""

    def __init__(self, *args: Any, group: str = OUTPUT, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


def options_of(cls: Any) -> Callable[[F], F]:
    """Return a decorator that adds an option for each setting of a dataclass that has a flag."""

    def decorate(command: F) -> F:
        for item in reversed(settings_of(cls)):
            if item.flag is not None:
                command = _option(item)(command)
        return command

    return decorate


def _option(item: Setting) -> Callable[[F], F]:
    given: dict[str, Any] = {"group": item.group, "metavar": item.metavar, "default": None}
    default = default_text(item)
    given["help"] = item.help + (f"  [default: {default}]" if default else "")
    if item.type == "bool":
        given |= {"is_flag": True, "metavar": None}
    elif item.name == "activations":
        given |= {"multiple": True, "type": Names(), "callback": _in_one_tuple}
    elif item.rule.choices:
        given["type"] = click.Choice(item.rule.choices)
    else:
        given["type"] = _TYPES.get(item.name) or _TYPES[item.type.removesuffix(" | None")]
    return click.option(str(item.flag), item.name, cls=GroupedOption, **given)


def _in_one_tuple(_: object, __: object, lists: tuple[list[str], ...]) -> tuple[str, ...]:
    return tuple(itertools.chain.from_iterable(lists))


def default_text(item: Setting) -> str:
    """Return a setting's default as command-line text; empty if there is none to show."""
    value = item.default
    if item.name == "seeds":
        return str(len(value))
    if value is None or value is False:
        return ""
    if isinstance(value, tuple):
        return ",".join(_fraction(v) if isinstance(v, float) else str(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _fraction(value: float) -> str:
    steps = round(255 * value)
    return f"{steps}/255" if value == steps / 255 else f"{value:g}"


_TYPES: dict[str, Any] = {
    "int": int,
    "float": float,
    "str": str,
    "tuple[str, ...]": Names(),
    "seeds": Seeds(),
    "tune_lr": Numbers("RATE,…", "0.003,0.01,0.03"),
    "epsilons": Numbers("ε,…", "2/255,8/255 or 0.1"),
}
