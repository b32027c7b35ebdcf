"""The same attacks as AutoAttack's own code has, on the same network and images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from actbench.attacks.registry import ATTACKS
from helpers.attacked_network import (
    TRAINED_ON,
    autoattack_correct,
)

if TYPE_CHECKING:
    from types import ModuleType


@pytest.fixture(scope="module")
def pyautoattack() -> ModuleType:
    return pytest.importorskip("pyautoattack")


@pytest.mark.parametrize(
    ("spec", "count", "allowed"),
    [
        ("apgd", 60, 0.02),
        ("apgd:loss=dlr", 60, 0.02),
        ("apgd:loss=dlr_targeted", 6, 0.0),
        ("fab", 6, 0.0),
        ("fab:targets=9", 6, 0.0),
        ("square:queries=150", 60, 0.05),
        ("autoattack", 5, 0.0),
    ],
)
@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 20 / 255), ("l2", 600 / 255)])
def test_robust_accuracy_is_that_under_autoattacks_own_code(
    spec, count, allowed, norm, epsilon, pyautoattack, network, digits
):
    """Each side with draws of its own, so the accuracies may differ by a few images."""
    images, labels = (part[TRAINED_ON : TRAINED_ON + count] for part in digits)
    attack = ATTACKS.resolve(f"{spec}{',' if ':' in spec else ':'}norm={norm}")
    theirs = autoattack_correct(pyautoattack, attack, network, images, labels, epsilon)
    ours = attack(network, images, labels, epsilon, attack.generator(epsilon))
    assert ours.accuracy == pytest.approx(float(theirs.double().mean()), abs=allowed + 1e-9)
