"""Spec → attack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actbench.attacks.apgd import APGD
from actbench.attacks.black_box import Square
from actbench.attacks.ensemble import AutoAttack
from actbench.attacks.fab import FAB
from actbench.attacks.gradient import FGSM, PGD
from actbench.errors import UsageError
from actbench.study.registry import Entry, Registry, documented, parameters_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from actbench.attacks.base import Attack


def _entry(attack: type[Attack]) -> Entry[type[Attack]]:
    return documented(attack, parameters_of(attack))


ATTACKS = Registry(
    "attack",
    fgsm=_entry(FGSM),
    pgd=_entry(PGD),
    apgd=_entry(APGD),
    fab=_entry(FAB),
    square=_entry(Square),
    autoattack=_entry(AutoAttack),
)


def resolve(text: str) -> Attack:
    """Return the attack that a spec names, such as ``pgd:steps=20,norm=l2``.

    A value without a name, as in ``square:500``, sets the first parameter.

    Raises:
        UsageError: an unknown name or parameter, or a value of the wrong type or range.
    """
    spec = ATTACKS.parse(text)
    return ATTACKS[spec.name].target(**ATTACKS.bind(spec))


def expand(
    names: Iterable[str], epsilons: Collection[float] = (), classes: int | None = None
) -> tuple[str, ...]:
    """Return the canonical specs of attacks, each once; only ``none`` means no attack.

    Raises:
        UsageError: as ``resolve``, or ``none`` is given with others, or an attack cannot be used
            with this number of ``classes``, or all are in the L∞ norm and an ε is above 1.
    """
    specs = tuple(names)
    if specs == ("none",):
        return ()
    if "none" in specs:
        raise UsageError("attacks has 'none' beside other names; give one or the other")
    attacks = [resolve(spec) for spec in specs]
    if classes is not None:
        for attack in attacks:
            attack.check_classes(classes)
    if max(epsilons, default=0) > 1 and {attack.norm for attack in attacks} == {"linf"}:
        raise UsageError(
            f"epsilons has {max(epsilons):g}, but pixels are in [0, 1], so an ε in the L∞ norm is "
            "at most 1; give fractions such as 8/255"
        )
    return tuple(dict.fromkeys(attack.spec for attack in attacks))
