"""FGSM and PGD: closed forms, and foolbox on the same network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from actbench.attacks.perturbations import uniform_in_unit_ball
from actbench.attacks.registry import ATTACKS
from actbench.study.measurement_fields import DEFAULT_EPSILONS
from helpers.attacked_network import foolbox_correct, foolbox_fgsm, foolbox_pgd, run, seeded

if TYPE_CHECKING:
    from types import ModuleType

    from torch import Tensor

foolbox_test = pytest.mark.filterwarnings(
    # foolbox 3.3.4 imports SciPy's filter from where it used to be.
    "ignore:Please import `gaussian_filter`:DeprecationWarning"
)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd_leaves_no_more_than_fgsm(norm, network, images, labels):
    fgsm = run(f"fgsm:norm={norm}", network, images, labels)
    pgd = run(f"pgd:random_start=false,norm={norm}", network, images, labels)
    assert pgd.accuracy <= fgsm.accuracy


def test_a_restart_can_only_break_more_images(network, images, labels):
    one, three = (run(f"pgd:steps=2,restarts={n}", network, images, labels).correct for n in (1, 3))
    assert not (three & ~one).any()
    assert int(three.sum()) < int(one.sum())


# Closed forms: for logits (w·x + b, 0) the worst case in a ball is known


@pytest.mark.parametrize("spec", ["fgsm", "pgd", "fgsm:norm=l2", "pgd:norm=l2,step_size=1"])
def test_attacks_find_the_known_optimum_of_a_linear_network(spec):
    weight = torch.randn(3 * 8 * 8, generator=seeded(1))
    images = 0.3 + 0.4 * torch.rand(200, 3, 8, 8, generator=seeded(2))
    labels = torch.zeros(200, dtype=torch.int64)
    norm = ATTACKS.resolve(spec).norm
    epsilon = 0.02 if norm == "linf" else 0.25
    dual = weight.abs().sum() if norm == "linf" else weight.norm()
    bias = epsilon * dual - (images.flatten(1) @ weight).median()

    def predict(batch: Tensor) -> Tensor:
        score = batch.flatten(1) @ weight + bias
        return torch.stack([score, torch.zeros_like(score)], dim=1)

    margin = predict(images)[:, 0]
    attacked = run(spec, predict, images, labels, epsilon)
    decided = (margin - epsilon * dual).abs() > 1e-3  # the others are on the edge
    assert torch.equal(attacked.correct[decided], (margin > epsilon * dual)[decided])
    assert 0.3 < attacked.accuracy < 0.7
    reached = predict(attacked.images)[:, 0][attacked.correct]
    torch.testing.assert_close(
        reached, (margin - epsilon * dual)[attacked.correct], atol=1e-3, rtol=0
    )


# The same attacks as foolbox has, on the same network


@pytest.fixture
def foolbox() -> ModuleType:
    return pytest.importorskip("foolbox")


@foolbox_test
@pytest.mark.parametrize("epsilon", DEFAULT_EPSILONS)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_fgsm_agrees_with_foolbox_on_every_image(norm, epsilon, foolbox, network, images, labels):
    epsilon = epsilon if norm == "linf" else 30 * epsilon
    attack = foolbox_fgsm(foolbox, norm)
    theirs = foolbox_correct(foolbox, attack, network, images, labels, epsilon)
    ours = run(f"fgsm:norm={norm}", network, images, labels, epsilon).correct
    assert torch.equal(ours, theirs)


@foolbox_test
@pytest.mark.parametrize("random_start", [False, True])
@pytest.mark.parametrize("epsilon", DEFAULT_EPSILONS[::3])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd_agrees_with_foolbox_from_the_same_points(
    norm, epsilon, random_start, foolbox, network, images, labels
):
    epsilon = epsilon if norm == "linf" else 30 * epsilon
    start = uniform_in_unit_ball(images, norm, seeded()) if random_start else False
    attack = foolbox_pgd(foolbox, norm, start)
    theirs = foolbox_correct(foolbox, attack, network, images, labels, epsilon)
    spec = f"pgd:steps=10,step_size=0.25,random_start={random_start},norm={norm}"
    ours = run(spec, network, images, labels, epsilon)
    assert ours.accuracy == pytest.approx(float(theirs.double().mean()), abs=0.01)


@foolbox_test
@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 8 / 255), ("l2", 60 / 255)])
def test_pgd_agrees_with_foolbox_from_other_points(norm, epsilon, foolbox, network, images, labels):
    """In larger L2 balls ten steps are so few that the result depends on the starting points."""
    attack = foolbox_pgd(foolbox, norm, start=True)
    theirs = foolbox_correct(foolbox, attack, network, images, labels, epsilon)
    ours = run(f"pgd:steps=10,step_size=0.25,norm={norm}", network, images, labels, epsilon)
    assert ours.accuracy == pytest.approx(float(theirs.double().mean()), abs=0.01)
