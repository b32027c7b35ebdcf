"""Spec → attack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actbench.attacks.apgd import APGD
from actbench.attacks.black_box import Square
from actbench.attacks.ensemble import AutoAttack
from actbench.attacks.fab import FAB
from actbench.attacks.gradient import FGSM, PGD
from actbench.errors import UsageError
from actbench.study.registry import Registry, dataclass_entry
from actbench.study.specs import names_or_none

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from actbench.attacks.base import Attack


ATTACKS: Registry[type[Attack]] = Registry(
    "attack",
    fgsm=dataclass_entry(FGSM),
    pgd=dataclass_entry(PGD),
    apgd=dataclass_entry(APGD),
    fab=dataclass_entry(FAB),
    square=dataclass_entry(Square),
    autoattack=dataclass_entry(AutoAttack),
)


def expand(
    names: Iterable[str], epsilons: Collection[float] = (), classes: int | None = None
) -> tuple[str, ...]:
    """Return the canonical specs of attacks, each once; only ``none`` means no attack.

    Raises:
        UsageError: a spec is wrong, or ``none`` is given with others, or an attack cannot be used
            with this number of ``classes``, or all are in the L∞ norm and an ε is above 1.
    """
    attacks = [ATTACKS.resolve(spec) for spec in names_or_none("attacks", names)]
    if classes is not None:
        for attack in attacks:
            attack.check_classes(classes)
    if max(epsilons, default=0) > 1 and {attack.norm for attack in attacks} == {"linf"}:
        raise UsageError(
            f"epsilons has {max(epsilons):g}, but pixels are in [0, 1], so an ε in the L∞ norm is "
            "at most 1; give fractions such as 8/255"
        )
    return tuple(dict.fromkeys(attack.spec for attack in attacks))
