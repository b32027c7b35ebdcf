"""Auto-PGD: the paper's algorithm step by step, its losses, and its targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from actbench.attacks.apgd import APGD, checkpoint_periods
from actbench.attacks.losses import LOSSES, gradient, value
from actbench.attacks.perturbations import uniform_in_unit_ball
from actbench.attacks.registry import ATTACKS
from actbench.errors import UsageError
from helpers.attacks_reference import reference_apgd, reference_loss

if TYPE_CHECKING:
    from torch import Tensor

EPSILON = {"linf": 0.04, "l2": 0.25}
CLASSES = 5


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """A smooth network in float64, so that rounding does not decide where an ascent goes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = nn.Sequential(
            nn.Conv2d(2, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 16, CLASSES)
        )
    return layers.double().requires_grad_(requires_grad=False)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(12, 2, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_points_are_those_of_the_papers_algorithm(loss, norm, network, images):
    """Images on their own, at a radius at which some withstand: the same points, to rounding."""
    labels = network(images.double()).argmax(1)
    wrong = network(images.double()).scatter(1, labels[:, None], -torch.inf).argmax(1)
    targets = {"targets": 1} if LOSSES[loss].targeted else {}
    attack, epsilon = APGD(loss=loss, steps=25, norm=norm, **targets), EPSILON[norm]
    lengths = set()
    for one in range(len(images)):
        shown: list[Tensor] = []

        def predict(batch: Tensor, shown: list[Tensor] = shown) -> Tensor:
            shown.append(batch[0].detach().double())
            return network(batch.double())

        image, seeded = images[one : one + 1], torch.Generator().manual_seed(one)
        attack(predict, image, labels[one : one + 1], epsilon, seeded)
        start = image + epsilon * uniform_in_unit_ball(
            image, norm, torch.Generator().manual_seed(one)
        )
        expected = reference_apgd(
            network,
            image[0].double(),
            int(labels[one]),
            int(wrong[one]),
            start[0].double(),
            loss=loss,
            norm=norm,
            epsilon=epsilon,
            steps=25,
        )
        # steps along unit vectors enlarge the rounding of float32 points
        tolerance = {"linf": 2e-6, "l2": 1e-3}[norm]
        torch.testing.assert_close(shown[1:], expected, atol=tolerance, rtol=0)
        lengths.add(len(expected))
    assert 26 in lengths  # one that withstands all steps
    assert len(lengths) > 1


@pytest.mark.parametrize("name", LOSSES)
def test_the_losses_order_logits_as_their_definitions_do(name):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 6, generator=generator)
    labels, targets = torch.zeros(50, dtype=torch.int64), torch.full((50,), 2)
    ours = value(LOSSES[name], logits, labels, targets)
    theirs = torch.stack([reference_loss(name, z.double(), 0, 2) for z in logits])
    if name == "ce":
        theirs = theirs.expm1().log()  # the same order; see ``cross_entropy``
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e30])
@pytest.mark.parametrize("name", LOSSES)
def test_the_gradients_in_the_logits_have_the_direction_of_the_definitions(name, scale):
    """At any scale; for the cross-entropy at scale 1, where autograd's is exact."""
    logits = scale * torch.randn(20, 6, generator=torch.Generator().manual_seed(3))
    labels, targets = torch.zeros(20, dtype=torch.int64), torch.full((20,), 2)
    (found,) = gradient(LOSSES[name], logits, labels, targets).double()
    if name == "ce" and scale != 1:
        assert found.abs().amax(1).tolist() == [1.0] * 20
        return
    inputs = (logits.double() / scale).requires_grad_()
    loss = torch.stack([reference_loss(name, z, 0, 2) for z in inputs]).sum()
    (expected,) = torch.autograd.grad(loss, inputs)
    expected /= expected.abs().amax(1, keepdim=True).clamp(min=1e-30)
    assert (expected != 0).any(1).sum() > 15  # 0 if the label has the third largest logit
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_the_checkpoints_are_the_papers():
    """For 100 steps: 22, 41, 57, 70, 80, 87, 93 and 99."""
    periods = checkpoint_periods(100)
    assert list(periods) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert list(periods.values()) == [22, 19, 16, 13, 10, 7, 6, 6]
    assert checkpoint_periods(1) == {1: 1}
    assert sum(checkpoint_periods(37).values()) <= 37


def test_the_targets_are_the_likeliest_wrong_classes_of_the_unchanged_image():
    """Of a network with logits that no attack changes enough: one ascent for each target."""
    order = [2, 0, 3, 1, 4]  # the label is 2
    logits = torch.zeros(5).scatter(0, torch.tensor(order), torch.arange(50.0, 0, -10))
    weights = torch.eye(5)
    towards: list[int] = []

    def predict(batch: Tensor) -> Tensor:
        if batch.requires_grad:
            batch.register_hook(lambda g: towards.append(int(g[0, :, 0, 0].argmax())))
        return logits + batch[:, :, 0, 0] @ weights

    attack = ATTACKS.resolve("apgd:loss=dlr_targeted,steps=3,targets=4")
    images = torch.full((1, 5, 1, 1), 0.5)
    attacked = attack(predict, images, torch.tensor([2]), 0.1, torch.Generator().manual_seed(0))
    assert attacked.accuracy == 1
    assert towards == [0] * 3 + [3] * 3 + [1] * 3 + [4] * 3


@pytest.mark.parametrize(
    ("spec", "classes", "instead"),
    [
        ("apgd:loss=dlr", 2, "needs 3 classes or more, and there are 2; give loss=ce"),
        ("apgd:loss=dlr_targeted", 5, "needs 10 classes or more, and there are 5; give targets=4"),
        ("apgd:loss=dlr_targeted,targets=2", 3, "needs 4 classes or more, and there are 3; give"),
        ("fab:targets=9", 3, "needs 10 classes or more, and there are 3; give targets=2"),
        ("autoattack", 3, "needs 4 classes or more, and there are 3; give another attack"),
    ],
)
def test_too_few_classes_are_refused_with_what_to_give_instead(spec, classes, instead):
    attack = ATTACKS.resolve(spec)
    with pytest.raises(UsageError) as error:
        attack(
            lambda batch: torch.zeros(len(batch), classes),
            torch.zeros(2, 3, 4, 4),
            torch.zeros(2, dtype=torch.int64),
            0.1,
            torch.Generator(),
        )
    assert str(error.value).startswith(f"attack {attack.spec!r} {instead}")
    attack.check_classes(attack.least_classes)
