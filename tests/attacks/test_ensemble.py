"""AutoAttack's order, what its members are shown, its warnings, and the cost of every attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import torch

from actbench.analysis.trial_results import white_box_excess
from actbench.attacks.apgd import APGD
from actbench.attacks.base import Attack, Attacked, Cost, Target
from actbench.attacks.black_box import Square
from actbench.attacks.ensemble import AutoAttack
from actbench.attacks.fab import FAB
from actbench.attacks.registry import ATTACKS, expand
from actbench.errors import UsageError
from actbench.training.measurements import result_of_attack
from helpers.attacked_network import TRAINED_ON

if TYPE_CHECKING:
    from torch import Tensor


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


class Quick(AutoAttack):
    """The ensemble with few steps."""

    def members(self, classes: int) -> tuple[Attack, ...]:
        """Return the same kinds of attack."""
        ce, targeted, fab, square = super().members(classes)
        assert isinstance(targeted, APGD)
        assert isinstance(fab, FAB)
        return (
            APGD(steps=2, norm=ce.norm),
            APGD(loss="dlr_targeted", targets=2, steps=3, norm=targeted.norm),
            FAB(targets=2, steps=3, norm=fab.norm),
            Square(queries=20, norm=square.norm),
        )


def test_the_members_are_those_of_the_standard():
    for norm in ("linf", "l2"):
        specs = [member.spec for member in AutoAttack(norm=norm).members(10)]
        end = "" if norm == "linf" else f"norm={norm}"
        assert specs == [
            f"apgd:{end}".rstrip(":"),
            f"apgd:loss=dlr_targeted,{end}".rstrip(","),
            f"fab:targets=9,{end}".rstrip(","),
            f"square:{end}".rstrip(":"),
        ]
    assert Square().queries == 5000
    assert APGD().steps == FAB().steps == 100


def test_with_fewer_classes_all_wrong_ones_are_targets():
    _, targeted, fab, _ = AutoAttack().members(6)
    assert isinstance(targeted, APGD)
    assert isinstance(fab, FAB)
    assert targeted.targets == fab.targets == 5
    assert expand(["autoattack"], classes=4) == ("autoattack",)
    with pytest.raises(UsageError, match="'autoattack' needs 4 classes or more, and there are 3"):
        expand(["autoattack"], classes=3)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_each_member_is_shown_only_what_the_others_have_left(norm, network, digits):
    images, labels = (part[TRAINED_ON : TRAINED_ON + 80] for part in digits)
    epsilon = 0.04 if norm == "linf" else 1.0
    ensemble = Quick(norm=norm)
    attacked = ensemble(network, images, labels, epsilon, seeded())
    left = []
    correct = torch.ones(80, dtype=torch.bool)
    generator = seeded()
    for member in ensemble.members(10):
        found = member(network, images, labels, epsilon, generator)
        correct &= found.correct
        left.append(int(correct.sum()))
        if member.name == "fab":
            assert torch.equal(attacked.white_box_correct, correct)
    assert torch.equal(attacked.correct, correct)
    assert left[0] > left[1] >= left[2] >= left[3] > 0
    with torch.no_grad():
        assert torch.equal(network(attacked.images).argmax(1) == labels, correct)


def test_a_broken_image_is_not_shown_again(network, digits):
    images, labels = (part[TRAINED_ON : TRAINED_ON + 80] for part in digits)
    shown = []

    def predict(batch: Tensor) -> Tensor:
        shown.append(len(batch))
        return network(batch)

    attacked = Quick()(predict, images, labels, 0.04, seeded())
    broken = 80 - int(attacked.correct.sum())
    assert broken > 10
    most = 80 * (1 + Quick().cost(10).forward)
    assert sum(shown) < most - 25 * broken
    assert set(shown[-20:]) <= set(range(int(attacked.white_box_correct.sum()) + 1))


@pytest.mark.parametrize(
    "spec",
    [
        "fgsm",
        "pgd:steps=3,restarts=2",
        "apgd:steps=4",
        "apgd:loss=dlr_targeted,steps=3,restarts=2,targets=2",
        "fab:steps=2",
        "fab:steps=3,targets=2,restarts=2",
        "square:queries=6",
        "square:queries=6,norm=l2",
    ],
)
def test_an_image_that_withstands_costs_what_the_attack_says(spec):
    passes = {"forward": -1, "backward": 0}  # without that of the unchanged image

    def predict(batch: Tensor) -> Tensor:
        passes["forward"] += 1
        if batch.requires_grad:
            batch.register_hook(lambda _: passes.update(backward=passes["backward"] + 1))
        ramp = torch.arange(5.0, 0, -1)
        return 100 * ramp + ramp * batch.flatten(1).sum(1, keepdim=True)

    attack = ATTACKS.resolve(spec)
    attack(predict, torch.rand(1, 3, 6, 6), torch.tensor([0]), 0.01, seeded())
    assert attack.cost(classes=5) == Cost(**passes)


def test_the_ensembles_cost_is_its_members():
    costs = [member.cost(10) for member in AutoAttack().members(10)]
    assert AutoAttack().cost(10) == tuple(map(sum, zip(*costs, strict=True)))
    assert AutoAttack().cost(10) == (101 + 909 + 1800 + 5000, 100 + 900 + 900)
    assert {name for name in ATTACKS if ATTACKS.resolve(name).cost(10).backward == 0} == {"square"}


@dataclass(frozen=True)
class Breaks(Attack):
    """Breaks images with these indices."""

    name = "breaks"
    white_box = True
    indices: tuple[int, ...]
    norm = "linf"

    def __post_init__(self) -> None: ...

    def cost(self, classes: int) -> Cost:
        """Return no passes."""
        return Cost(0, 0)

    def _search(self, target: Target, attacked: Attacked) -> None:
        attacked.correct[list(self.indices)] = False


class BlackBoxBreaks(Breaks):
    """The same without gradients."""

    white_box = False


@pytest.mark.parametrize(("broken", "warned"), [((), False), ((7,), False), ((7, 8), True)])
def test_what_square_finds_after_the_white_box_attacks_is_a_sign_of_masking(
    broken, warned, network, digits
):
    """AutoAttack's own rule: more than 0.2 % of the images, here one in 500."""

    class Ensemble(AutoAttack):
        def members(self, classes: int) -> tuple[Attack, ...]:
            return Breaks((0, 1)), BlackBoxBreaks((1, *broken))

    images, labels = digits[0][:500], network(digits[0][:500]).argmax(1)
    attacked = Ensemble()(network, images, labels, 0.1, seeded())
    result = result_of_attack(Ensemble(), 0.1, attacked, labels, 10)
    assert white_box_excess([result]) == (((0.1, len(broken) / 500),) if warned else ())


def test_a_network_without_usable_gradients_is_noticed_by_the_ensemble(network, digits):
    """Quantised pixels: no gradient at all, and only Square breaks images."""
    images, labels = (part[TRAINED_ON : TRAINED_ON + 60] for part in digits)

    def predict(batch: Tensor) -> Tensor:
        return network((batch * 16).round() / 16)

    attacked = Quick()(predict, images, labels, 0.25, seeded())
    assert attacked.black_box_gain > 0.1
