"""Registries of names: activations, networks, data sets, corruptions, attacks and figures."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from actbench.errors import UsageError, did_you_mean
from actbench.study.fields import shown
from actbench.study.specs import parse_spec, shortest_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from actbench.study.fields import Rule
    from actbench.study.specs import Spec, Value

T = TypeVar("T")
S = TypeVar("S")


@dataclass(frozen=True)
class Parameter:
    """A parameter of a spec: its default, the rule for values of its type, if any, and a help."""

    default: Value
    rule: Rule | None = None
    help: str = ""

    def check(self, owner: str, name: str, value: object) -> None:
        """Raise a UsageError if the rule refuses a value; ``owner`` is whose parameter it is."""
        if self.rule and not self.rule.is_valid(value):
            raise UsageError(f"{owner}: {name} is {shown(value)}; it must be {self.rule.expected}")


@dataclass(frozen=True)
class Entry(Generic[T]):
    """What a name refers to.

    Attributes:
        target: what is registered, such as a class or a function.
        help: a line for ``actbench list``, or a figure's caption.
        parameters: the parameters that a spec may set, the main one first.
        rule: the rule for a dict of all parameters; its ``expected`` is a sentence.
    """

    target: T
    help: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    rule: Rule | None = None

    @property
    def defaults(self) -> dict[str, Value]:
        """The default of each parameter."""
        return {name: parameter.default for name, parameter in self.parameters.items()}


class Registry(dict[str, Entry[T]]):
    """Entries by name; looking up an unknown name raises a UsageError that names the nearest one.

    ``kind`` names the entries in messages. ``importable`` is whether a spec may also be an import
    path of the user's own object. ``aliases`` are other names of entries, which only ``parse``
    knows: the spec that it returns has the entry's name.
    """

    def __init__(
        self,
        kind: str,
        *,
        importable: bool = False,
        aliases: Mapping[str, str] | None = None,
        **entries: Entry[T],
    ) -> None:
        super().__init__(entries)
        self.kind, self.importable, self.aliases = kind, importable, aliases or {}

    def __missing__(self, name: str) -> NoReturn:
        raise self.unknown(name)

    def unknown(self, name: str, others: Iterable[str] = ()) -> UsageError:
        """Return the error for an unknown name; ``others`` are names known beside the entries."""
        return UsageError(f"unknown {self.kind} {name!r}{did_you_mean(name, [*self, *others])}")

    def parse(self, text: str) -> Spec:
        """Return the parts of a spec text; see ``parse_spec``."""
        name, colon, rest = text.strip().partition(":")
        text = f"{self.aliases.get(name, name)}{colon}{rest}"
        return parse_spec(text, self.kind, [*self, *self.aliases], importable=self.importable)

    def bind(self, spec: Spec) -> dict[str, Any]:
        """Return the parameters that a spec of a registered name sets, in their defaults' types.

        Raises:
            UsageError: a parameter is unknown, of another type, or refused by a rule.
        """
        entry, owner = self[spec.name], f"{self.kind} {spec.name!r}"
        bound = spec.bind(entry.defaults)
        for name, value in bound.items():
            entry.parameters[name].check(owner, name, value)
        if entry.rule and not entry.rule.is_valid({**entry.defaults, **bound}):
            raise UsageError(f"{owner}: {entry.rule.expected}")
        return bound

    def resolve(self: Registry[type[S]], text: str) -> S:
        """Return the instance that a spec names, such as ``Crop(padding=4)`` for ``crop:4``.

        A value without a name, as in ``square:500``, sets the first parameter.

        Raises:
            UsageError: an unknown name or parameter, or a value of the wrong type or range.
        """
        spec = self.parse(text)
        return self[spec.name].target(**self.bind(spec))

    def canonical(self: Registry[type[S]], text: str) -> str:
        """Return the one text of a spec: see ``spec_text``.

        Raises:
            UsageError: as ``resolve``.
        """
        return spec_text(self.parse(text).name, self.resolve(text))


def spec_text(name: str, target: Any, text_of: Callable[[Value], str] = shortest_text) -> str:
    """Return the spec of a dataclass: its name, and the parameters that are not its defaults."""
    changed = ",".join(
        f"{item.name}={text_of(getattr(target, item.name))}"
        for item in fields(target)
        if getattr(target, item.name) != item.default
    )
    return f"{name}:{changed}" if changed else name


def parameter(default: Value, rule: Rule) -> Any:
    """Return a dataclass field that is a parameter of a spec."""
    return field(default=default, metadata={"rule": rule})


def parameters_of(cls: Any) -> dict[str, Parameter]:
    """Return the parameters that a dataclass declares with ``parameter``, in their order."""
    defaults: dict[str, Any] = {item.name: item.default for item in fields(cls)}
    rules = {item.name: item.metadata["rule"] for item in fields(cls)}
    return {name: Parameter(default, rules[name]) for name, default in defaults.items()}


def documented(
    target: T, parameters: Mapping[str, Parameter] | None = None, rule: Rule | None = None
) -> Entry[T]:
    """Return an entry whose help is the first line of the target's docstring, without "Return"."""
    help_line = (target.__doc__ or "").partition("\n")[0].removeprefix("Return ")
    return Entry(target, help_line, parameters or {}, rule)


def dataclass_entry(cls: type[S], rule: Rule | None = None) -> Entry[type[S]]:
    """Return the entry of a documented dataclass with the parameters that it declares."""
    return documented(cls, parameters_of(cls), rule)
