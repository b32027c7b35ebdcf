"""What holds for every attack: its images, its draws, and networks without usable gradients."""

from __future__ import annotations

import copy
import math
from functools import cache
from typing import TYPE_CHECKING

import pytest
import torch

from actbench.attacks.gradient import PGD
from actbench.attacks.registry import ATTACKS
from actbench.errors import UsageError
from actbench.study.measurement_fields import DEFAULT_EPSILONS
from helpers.attacked_network import EPSILON, four_means, infinite_gradient, run, same, seeded

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from actbench.attacks.base import Attacked
    from helpers.attacked_network import SmallCNN

SPECS = (
    "fgsm",
    "fgsm:norm=l2",
    "pgd:steps=4",
    "pgd:steps=4,norm=l2",
    "apgd:steps=8",
    "apgd:loss=dlr,steps=8,norm=l2",
    "apgd:loss=dlr_targeted,steps=4,targets=2",
    "fab:steps=4",
    "fab:targets=2,steps=8,norm=l2",
    "square:queries=15",
    "square:queries=40,norm=l2",
)


COUNTS = [16, pytest.param(60, marks=pytest.mark.slow)]


def norm_of(spec: str) -> str:
    return ATTACKS.resolve(spec).norm


def factor(spec: str) -> float:
    """Return how much larger ε is for an attack: few queries find nothing in small balls."""
    return 8.0 if spec.startswith("square") else 1.0


def epsilon_of(spec: str) -> float:
    return factor(spec) * EPSILON[norm_of(spec)]


# The attacked images


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize(
    "epsilon", [1 / 255, pytest.param(8 / 255, marks=pytest.mark.slow), 0.3, 3.0]
)
@pytest.mark.parametrize("spec", SPECS)
def test_every_image_is_within_the_ball_and_in_range_to_the_last_bit(
    spec, epsilon, count, network, images, labels
):
    dim = images[:count] * 0.9 + 1e-3  # neither 8-bit levels nor the ends of the range
    attacked = run(spec, network, dim, labels[:count], epsilon).images
    offset = (attacked.double() - dim.double()).flatten(1)
    length = offset.abs().amax(1) if norm_of(spec) == "linf" else offset.norm(dim=1)
    assert float(length.max()) <= epsilon
    assert float(attacked.min()) >= 0
    assert float(attacked.max()) <= 1
    assert attacked.dtype == torch.float32


@pytest.fixture(scope="module", params=[40, pytest.param(100, marks=pytest.mark.slow)])
def few(images: Tensor, labels: Tensor, request: pytest.FixtureRequest) -> tuple[Tensor, Tensor]:
    return images[: request.param], labels[: request.param]


@pytest.fixture(scope="module")
def attacked(network: SmallCNN, few: tuple[Tensor, Tensor]) -> Callable[[str], Attacked]:
    """Return a function that runs an attack on a few images, once."""
    return cache(lambda spec: run(spec, network, *few, epsilon_of(spec)))


@pytest.mark.parametrize("spec", SPECS)
def test_correct_is_the_networks_result_on_the_returned_images(spec, network, few, attacked):
    outcome, (images, labels) = attacked(spec), few
    with torch.no_grad():
        unchanged = network(images).argmax(1) == labels
        found = network(outcome.images).argmax(1) == labels
    assert torch.equal(outcome.correct, found)
    assert 0 < outcome.accuracy < float(unchanged.double().mean())
    assert torch.equal(outcome.images[~unchanged], images[~unchanged])


@pytest.mark.parametrize("spec", SPECS)
def test_accuracy_falls_as_epsilon_grows(spec, network, few):
    scale = factor(spec) * (1.0 if norm_of(spec) == "linf" else 25.0)
    accuracies = [run(spec, network, *few, scale * e).accuracy for e in (0, 0.05, 0.2)]
    with torch.no_grad():
        clean = float((network(few[0]).argmax(1) == few[1]).double().mean())
    assert accuracies[0] == clean
    assert accuracies[0] > accuracies[1] > accuracies[2]


@pytest.mark.parametrize(
    "scales", [(1e4, 1e-4), pytest.param((10, 40), marks=pytest.mark.slow)], ids=str
)
@pytest.mark.parametrize("spec", SPECS)
def test_the_scale_of_the_logits_changes_no_attack(spec, scales, network, few, attacked):
    """With the plain cross-entropy, accuracy was up to 31 points higher at 40 times the logits.

    Auto-PGD's cross-entropy is exact at any scale, but small logits do make it a weaker loss.
    """
    for scale in scales[:1] if (spec, scales[-1]) == ("apgd:steps=8", 1e-4) else scales:

        def predict(batch: Tensor, scale: float = scale) -> Tensor:
            return scale * network(batch)

        scaled = run(spec, predict, *few, epsilon_of(spec))
        assert scaled.accuracy == pytest.approx(attacked(spec).accuracy, abs=0.01)


# A result depends only on the network, the images and the generator


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("spec", SPECS)
def test_a_seed_gives_the_same_bytes_and_another_seed_does_not(
    spec, count, network, images, labels
):
    attack = ATTACKS.resolve(spec)
    first, again, other = (
        attack(network, images[:count], labels[:count], 0.02, seeded(seed)) for seed in (3, 3, 4)
    )
    assert same(first, again)
    assert same(first, other) == (attack.name in ("fgsm", "fab"))


@pytest.mark.parametrize("spec", SPECS)
def test_the_batch_size_changes_results_only_by_the_networks_rounding(spec, network, few):
    precise = copy.deepcopy(network).double()
    images, labels = (part[:20] for part in few)
    whole, split = (
        run(spec, lambda batch: precise(batch.double()), images, labels, batch_size=size)
        for size in (1000, 17)
    )
    assert torch.equal(whole.correct, split.correct)
    torch.testing.assert_close(whole.images, split.images, atol=1e-6, rtol=0)


@pytest.mark.parametrize("spec", ["pgd:steps=2,restarts=3", "square:queries=6"])
def test_an_images_draws_do_not_depend_on_which_other_images_are_correct(spec, images):
    """Every second image gets the same points whether or not the other images are attacked."""
    labels = torch.zeros(20, dtype=torch.int64)

    def points_shown(labels: Tensor) -> list[Tensor]:
        shown: list[Tensor] = []

        def predict(batch: Tensor) -> Tensor:
            shown.append(batch.detach().clone())
            return torch.tensor([1.0, 0.0]).repeat(len(batch), 1)

        run(spec, predict, images[:20], labels)
        return shown[1:]  # after the unchanged images

    every_second = labels.clone()
    every_second[1::2] = 1
    for both_halves, one_half in zip(points_shown(labels), points_shown(every_second), strict=True):
        assert torch.equal(both_halves[::2], one_half)


def test_a_study_seeds_an_attack_by_its_spec_and_epsilon():
    seeds = {
        ATTACKS.resolve(spec).generator(epsilon).initial_seed()
        for spec in ("pgd", "pgd:steps=20", "square")
        for epsilon in DEFAULT_EPSILONS
    }
    assert len(seeds) == 12
    assert (
        PGD().generator(0.1).initial_seed()
        == ATTACKS.resolve("pgd:steps=10").generator(0.1).initial_seed()
    )


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("training", [True, False])
def test_the_network_and_the_global_generator_are_not_changed(
    spec, training, network, images, labels
):
    network.train(training)
    before = torch.random.get_rng_state()
    weights = [p.clone() for p in network.parameters()]
    untouched = images[:8].clone()
    try:
        run(spec, network, images[:8], labels[:8])
        assert network.training == training
    finally:
        network.eval()
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(untouched, images[:8])
    assert all(p.grad is None for p in network.parameters())
    assert all(map(torch.equal, weights, network.parameters()))


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_gradients_are_computed_even_if_the_caller_has_disabled_them(
    context, network, images, labels
):
    outside = run("fgsm", network, images[:50], labels[:50])
    with context():
        inside = run("fgsm", network, images[:50].clone(), labels[:50])
    assert same(outside, inside)


# Networks without usable gradients


def constant(images: Tensor) -> Tensor:
    return torch.tensor([0.0, 1.0, 0.0, 0.0]).repeat(len(images), 1)


def not_a_number(images: Tensor) -> Tensor:
    return four_means(images) * math.nan


def infinite(images: Tensor) -> Tensor:
    return four_means(images) * math.inf


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("predict", [constant, not_a_number, infinite, infinite_gradient])
def test_a_network_without_usable_gradients_gives_no_exception_and_no_nan(spec, predict):
    images = torch.rand(12, 3, 8, 8, generator=seeded())
    images[:, 1] += 0.3
    images.clamp_(0, 1)
    labels = torch.full((12,), int(predict is constant))  # argmax takes NaN for the largest
    attacked = run(spec, predict, images, labels, 0.05)
    assert attacked.images.isfinite().all()
    assert float((attacked.images - images).abs().max()) <= 0.05 + 1e-6
    if predict is constant:
        assert attacked.accuracy == 1
    if predict is not_a_number:
        assert attacked.accuracy == 0


@pytest.mark.parametrize("epsilon", [-0.1, math.nan, math.inf])
def test_an_invalid_epsilon_is_refused(epsilon, images, labels):
    with pytest.raises(UsageError, match="must be a finite number from 0"):
        run("fgsm", constant, images, labels, epsilon)
