"""The guard against masked gradients: what it detects, and what it leaves alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
import torch.nn.functional as F

from actbench.analysis.trial_results import masking_of, white_box_excess
from actbench.attacks.base import Attacked
from actbench.attacks.gradient_masking import masking_checks
from actbench.attacks.registry import ATTACKS
from actbench.store.result import MaskingChecks
from actbench.training.measurements import result_of_attack
from helpers.attacked_network import infinite_gradient, run, seeded

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from actbench.store.measured import AttackResult


def guarded(predict: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> MaskingChecks:
    survived = {
        (spec, 0.15): run(spec, predict, images, labels, 0.15).correct
        for spec in ("fgsm", "pgd:steps=5", "square:queries=60")
    }
    return checks_of(predict, images, labels, survived)


def result_with(spec: str, epsilon: float, correct: Tensor) -> AttackResult:
    """Return the results of an attack that these images withstand."""
    labels = torch.zeros(len(correct), dtype=torch.int64)
    attacked = Attacked(torch.zeros(0), correct, correct)
    return result_of_attack(ATTACKS.resolve(spec), epsilon, attacked, labels, 10)


def checks_of(
    predict: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    survived: dict[tuple[str, float], Tensor],
) -> MaskingChecks:
    """Return the checks of a network of which these images withstand each attack at each ε."""
    attacked = [result_with(*key, mask) for key, mask in survived.items()]
    return masking_of(masking_checks(predict, images, labels), attacked, 10)


def test_the_guard_gives_no_warning_on_an_ordinary_network(network, images, labels):
    checks = guarded(network, images[:100], labels[:100])
    assert checks.warnings == ()
    assert checks.zero_gradient_share == checks.non_finite_gradient_share == 0
    assert checks.large_epsilon_accuracy < 0.01
    assert checks.images == 100
    assert checks.classes == 10


def test_the_scale_of_the_logits_raises_no_warning(network, images, labels):
    checks = guarded(lambda batch: 1e4 * network(batch), images[:100], labels[:100])
    assert checks.warnings == ()


def test_the_guard_detects_a_gradient_along_which_the_margin_does_not_decrease(
    network, images, labels
):
    """A gradient of the wrong sign, as a rounding error may give."""

    def predict(batch: Tensor) -> Tensor:
        logits = network(batch)
        return 2 * logits.detach() - logits

    checks = checks_of(predict, images, labels, {})
    assert checks.misleading_gradient_share > 0.8
    assert any("the label's margin does not fall" in warning for warning in checks.warnings)


def test_the_guard_detects_a_softmax_in_the_network(network, images, labels):
    checks = checks_of(lambda batch: (1e3 * network(batch)).softmax(1), images, labels, {})
    assert checks.zero_gradient_share + checks.misleading_gradient_share > 0.5
    assert checks.large_epsilon_accuracy > 0.5
    assert any("input gradient" in warning for warning in checks.warnings)
    assert any("ε = 0.5" in warning for warning in checks.warnings)
    assert all("\n" not in warning and "200" in warning for warning in checks.warnings)


def test_results_that_depend_on_the_scale_of_the_logits_give_a_warning():
    earlier = MaskingChecks(200, 10, 0.0, 0.0, (), 0.0)
    assert "scale of the logits" in earlier.warnings[0]


def test_the_guard_detects_a_quantised_input(network, images, labels):
    def quantised(batch: Tensor) -> Tensor:
        return network((batch * 16).round() / 16)

    checks = guarded(quantised, images[:100], labels[:100])
    assert checks.zero_gradient_share == 1
    ((epsilon, excess),) = checks.white_box_excess
    assert epsilon == 0.15
    assert excess > 0.1
    assert checks.large_epsilon_accuracy > 0.5
    assert len(checks.warnings) == 3


def test_the_guard_detects_gradients_that_are_not_finite():
    images = torch.rand(12, 3, 8, 8, generator=seeded())
    checks = checks_of(infinite_gradient, images, torch.zeros(12, dtype=torch.int64), {})
    assert checks.non_finite_gradient_share == 1
    assert checks.white_box_excess == ()
    assert "not finite" in checks.warnings[0]


def test_the_guard_detects_a_network_that_only_noise_breaks(images, labels):
    """Right on 8-bit images, wrong on all others, and flat everywhere."""
    bytes_, labels = (images[:20] * 255).round() / 255, labels[:20]

    def predict(batch: Tensor) -> Tensor:
        is_8_bit = ((batch * 255).round() / 255 == batch).flatten(1).all(1)
        return F.one_hot(torch.where(is_8_bit, labels[: len(batch)], 0), 10).float()

    assert masking_checks(predict, bytes_, labels).large_epsilon_accuracy == 1


def test_the_guard_compares_all_white_box_attacks_with_all_black_box_ones_in_a_norm():
    holds, falls = (torch.full((200,), value) for value in (True, False))

    def excess(survived: dict[tuple[str, float], Tensor]) -> tuple[tuple[float, float], ...]:
        return white_box_excess([result_with(*key, mask) for key, mask in survived.items()])

    assert excess({("fgsm", 0.1): holds, ("square", 0.1): falls}) == ((0.1, 1.0),)
    assert excess({("fgsm", 0.1): holds, ("pgd", 0.1): falls, ("square", 0.1): falls}) == ()
    assert excess({("pgd", 0.1): falls, ("fgsm", 0.1): holds, ("square", 0.1): falls}) == ()
    assert excess({("fgsm", 0.1): holds, ("square", 0.2): falls}) == ()
    assert excess({("fgsm:norm=l2", 0.1): holds, ("square", 0.1): falls}) == ()


@pytest.mark.parametrize(("only_square_breaks", "only_pgd_breaks"), [(9, 0), (58, 30)])
def test_the_guard_allows_for_three_standard_errors(only_square_breaks, only_pgd_breaks):
    def survivors(broken: range) -> Tensor:
        correct = torch.ones(200, dtype=torch.bool)
        correct[broken.start : broken.stop] = False
        return correct

    for extra, found in ((0, False), (3, True)):
        square = survivors(range(only_square_breaks + extra))
        pgd = survivors(range(200 - only_pgd_breaks, 200))
        attacked = [result_with("square", 0.1, square), result_with("pgd", 0.1, pgd)]
        assert bool(white_box_excess(attacked)) == found
