"""AutoAttack: an ensemble of attacks without parameters to choose."""

from __future__ import annotations

from dataclasses import dataclass

from actbench.attacks.apgd import APGD
from actbench.attacks.base import Attack, Attacked, Cost, Target
from actbench.attacks.black_box import Square
from actbench.attacks.fab import FAB
from actbench.attacks.gradient import NORM
from actbench.study.registry import parameter

TARGETS = 9


@dataclass(frozen=True)
class AutoAttack(Attack):
    """The standard AutoAttack (Croce and Hein 2020, arXiv:2003.01690), each on what is left.

    Auto-PGD on the cross-entropy; Auto-PGD and FAB on nine target classes, or all there are; then
    Square Attack with 5,000 queries. They take the images that the attacks before them did not
    break. See ``APGD``, ``FAB`` and ``Square``.
    """

    name = "autoattack"
    white_box = True
    norm: str = parameter("linf", NORM)

    def members(self, classes: int) -> tuple[Attack, ...]:
        """Return the attacks in their order, for this number of classes."""
        targets = min(TARGETS, classes - 1)
        return (
            APGD(norm=self.norm),
            APGD(loss="dlr_targeted", targets=targets, norm=self.norm),
            FAB(targets=targets, norm=self.norm),
            Square(norm=self.norm),
        )

    @property
    def least_classes(self) -> int:
        """Four, for the targeted loss."""
        return APGD(loss="dlr_targeted", targets=1).least_classes

    def cost(self, classes: int) -> Cost:
        """Return the members' passes; an image that one of them breaks has fewer."""
        costs = [member.cost(classes) for member in self.members(classes)]
        return Cost(sum(c.forward for c in costs), sum(c.backward for c in costs))

    def _run(self, target: Target, attacked: Attacked) -> None:
        self._search(target, attacked)  # each of the members sets white_box_correct

    def _search(self, target: Target, attacked: Attacked) -> None:
        for member in self.members(target.logits.shape[1]):
            member._run(target, attacked)
