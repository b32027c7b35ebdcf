"""Spec → attack."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from actbench.attacks.black_box import Square
from actbench.attacks.gradient import FGSM, PGD
from actbench.errors import UsageError
from actbench.study.specs import parse_spec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actbench.attacks.base import Attack

ATTACKS: dict[str, type[Attack]] = {"fgsm": FGSM, "pgd": PGD, "square": Square}


def resolve(spec: str) -> Attack:
    """Return the attack that a spec names, such as ``pgd:steps=20,norm=l2``.

    A value alone, as in ``square:500``, sets the first parameter.

    Raises:
        UsageError: an unknown name or parameter, or a value of the wrong type or range.
    """
    parsed = parse_spec(spec, "attack", ATTACKS, importable=False)
    attack = ATTACKS[parsed.name]
    defaults: dict[str, Any] = {item.name: item.default for item in fields(attack)}
    values: dict[str, Any] = parsed.bind(defaults)
    return attack(**values)


def expand(names: Iterable[str]) -> tuple[str, ...]:
    """Return the canonical specs of attacks, each once; ``none`` alone stands for no attack.

    Raises:
        UsageError: as ``resolve``, or ``none`` stands beside others.
    """
    specs = tuple(names)
    if specs == ("none",):
        return ()
    if "none" in specs:
        raise UsageError("attacks has 'none' beside other names; give one or the other")
    return tuple(dict.fromkeys(resolve(spec).spec for spec in specs))
