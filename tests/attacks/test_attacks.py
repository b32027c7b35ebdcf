"""Properties of the attacks and their guard, on a small CNN trained in seconds on real digits."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import pytest
import torch
import torch.nn.functional as F

from actbench.analysis.trial_results import masking_of, white_box_excess
from actbench.attacks.base import Attacked
from actbench.attacks.black_box import Square
from actbench.attacks.gradient import FGSM, PGD
from actbench.attacks.gradient_masking import masking_checks
from actbench.attacks.perturbations import ascent_direction, logit_gradient, uniform_in_unit_ball
from actbench.attacks.registry import ATTACKS, expand, resolve
from actbench.errors import UsageError
from actbench.store.result import MaskingChecks
from actbench.study.measurement_fields import DEFAULT_EPSILONS
from actbench.training.measurements import result_of_attack
from helpers.attacked_network import (
    TRAINED_ON,
    SmallCNN,
    enlarged_digits,
    foolbox_correct,
    foolbox_fgsm,
    foolbox_pgd,
    trained_network,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from torch import Tensor

    from actbench.store.measured import AttackResult

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
EPSILON = {"linf": 0.06, "l2": 1.5}


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    return enlarged_digits()


@pytest.fixture(scope="module")
def network(digits: tuple[Tensor, Tensor]) -> SmallCNN:
    return trained_network(*digits)


@pytest.fixture(scope="module")
def images(digits: tuple[Tensor, Tensor]) -> Tensor:
    return digits[0][TRAINED_ON : TRAINED_ON + 200]


@pytest.fixture(scope="module")
def labels(digits: tuple[Tensor, Tensor]) -> Tensor:
    return digits[1][TRAINED_ON : TRAINED_ON + 200]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def run(
    spec: str,
    predict: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    epsilon: float | None = None,
    batch_size: int = 100,
) -> Attacked:
    attack = resolve(spec)
    epsilon = EPSILON[attack.norm] if epsilon is None else epsilon
    return attack(predict, images, labels, epsilon, seeded(), batch_size)


def same(first: Attacked, second: Attacked) -> bool:
    return torch.equal(first.images, second.images) and torch.equal(first.correct, second.correct)


# The attacked images


@pytest.mark.parametrize("epsilon", [1 / 255, 8 / 255, 0.3, 3.0])
@pytest.mark.parametrize("spec", SPECS)
def test_every_image_is_within_the_ball_and_in_range_to_the_last_bit(
    spec, epsilon, network, images, labels
):
    dim = images[:60] * 0.9 + 1e-3  # neither 8-bit levels nor the ends of the range
    attacked = run(spec, network, dim, labels[:60], epsilon).images
    offset = (attacked.double() - dim.double()).flatten(1)
    length = offset.abs().amax(1) if resolve(spec).norm == "linf" else offset.norm(dim=1)
    assert float(length.max()) <= epsilon
    assert float(attacked.min()) >= 0
    assert float(attacked.max()) <= 1
    assert attacked.dtype == torch.float32


@pytest.mark.parametrize("spec", SPECS)
def test_correct_is_the_networks_result_on_the_returned_images(spec, network, images, labels):
    attacked = run(spec, network, images, labels)
    with torch.no_grad():
        unchanged = network(images).argmax(1) == labels
        found = network(attacked.images).argmax(1) == labels
    assert torch.equal(attacked.correct, found)
    assert 0 < attacked.accuracy < float(unchanged.double().mean())
    assert torch.equal(attacked.images[~unchanged], images[~unchanged])


@pytest.mark.parametrize("spec", SPECS)
def test_accuracy_falls_as_epsilon_grows(spec, network, images, labels):
    scale = 1.0 if resolve(spec).norm == "linf" else 25.0
    accuracies = [run(spec, network, images, labels, scale * e).accuracy for e in (0, 0.03, 0.2)]
    with torch.no_grad():
        clean = float((network(images).argmax(1) == labels).double().mean())
    assert accuracies[0] == clean
    assert accuracies[0] > accuracies[1] > accuracies[2]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd_leaves_no_more_than_fgsm(norm, network, images, labels):
    fgsm = run(f"fgsm:norm={norm}", network, images, labels)
    pgd = run(f"pgd:random_start=false,norm={norm}", network, images, labels)
    assert pgd.accuracy <= fgsm.accuracy


def test_a_restart_can_only_break_more_images(network, images, labels):
    one, three = (run(f"pgd:steps=2,restarts={n}", network, images, labels).correct for n in (1, 3))
    assert not (three & ~one).any()
    assert int(three.sum()) < int(one.sum())


def test_square_breaks_more_than_noise_of_its_strength(network, images, labels):
    square = run("square:queries=60", network, images, labels, 0.15)
    signs = torch.randint(2, images.shape, generator=seeded()) * 2 - 1
    with torch.no_grad():
        noisy = network((images + 0.15 * signs).clamp(0, 1)).argmax(1) == labels
    assert square.accuracy < float(noisy.double().mean()) - 0.1


def test_square_starts_with_stripes_and_then_tries_smaller_and_smaller_squares(images):
    """The paper's schedule: of 32×32 pixels, shares 0.8 / 4 after 1 %, … and 0.8 / 512 at last."""
    images = 0.2 + 0.6 * images[:80]
    shown: list[Tensor] = []

    def predict(batch: Tensor) -> Tensor:
        shown.append(batch.clone())
        return torch.tensor([1.0, 0.0]).repeat(len(batch), 1)  # so no square is ever kept

    run("square:queries=100", predict, images, torch.zeros(80, dtype=torch.int64), 0.1)
    stripes, squares = shown[1], shown[2:]
    signs = (stripes - images).sign()
    assert torch.equal(signs, signs[:, :, :1].expand_as(signs))
    assert -0.1 < float(signs.mean()) < 0.1
    torch.testing.assert_close((stripes - images).abs(), torch.full_like(images, 0.1))
    for query, side in ((1, 14), (3, 10), (15, 5), (50, 3), (90, 1)):
        changed = (squares[query - 1] != stripes).any(1)
        assert int(changed.any(1).sum(1).max()) == side
        assert int(changed.any(2).sum(1).max()) == side


def test_square_shows_the_network_as_many_images_as_it_has_queries(images, labels):
    shown = []

    def predict(batch: Tensor) -> Tensor:
        shown.append(len(batch))
        return F.one_hot(labels[:10], 10).float()

    run("square:queries=7", predict, images[:10], labels[:10])
    assert shown == [10] * 8  # the unchanged images, then the queries


# Closed forms: for logits (w·x + b, 0) the worst case in a ball is known


@pytest.mark.parametrize("spec", ["fgsm", "pgd", "fgsm:norm=l2", "pgd:norm=l2,step_size=1"])
def test_attacks_find_the_known_optimum_of_a_linear_network(spec):
    weight = torch.randn(3 * 8 * 8, generator=seeded(1))
    images = 0.3 + 0.4 * torch.rand(200, 3, 8, 8, generator=seeded(2))
    labels = torch.zeros(200, dtype=torch.int64)
    norm = resolve(spec).norm
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


def test_a_gradient_whose_square_underflows_still_gives_a_direction_of_length_one():
    gradient = torch.randn(3, 3, 4, 4, generator=seeded())
    faint = ascent_direction(gradient * 1e-30, "l2")
    torch.testing.assert_close(faint, ascent_direction(gradient, "l2"))
    torch.testing.assert_close(faint.flatten(1).norm(dim=1), torch.ones(3))


def test_l2_starts_are_uniform_in_the_ball():
    points = uniform_in_unit_ball(torch.zeros(4000, 1, 1, 3), "l2", seeded())
    radius = points.flatten(1).norm(dim=1)
    assert float(radius.max()) <= 1
    assert float((radius < 0.5 ** (1 / 3)).double().mean()) == pytest.approx(0.5, abs=0.03)
    torch.testing.assert_close(points.mean(0), torch.zeros(1, 1, 3), atol=0.03, rtol=0)


# A result depends only on the network, the images and the generator


@pytest.mark.parametrize("spec", SPECS)
def test_a_seed_gives_the_same_bytes_and_another_seed_does_not(spec, network, images, labels):
    attack = resolve(spec)
    first, again, other = (
        attack(network, images[:60], labels[:60], 0.02, seeded(seed)) for seed in (3, 3, 4)
    )
    assert same(first, again)
    assert same(first, other) == (attack.name in ("fgsm", "fab"))


@pytest.mark.parametrize("spec", SPECS)
def test_the_batch_size_changes_results_only_by_the_networks_rounding(
    spec, network, images, labels
):
    precise = copy.deepcopy(network).double()
    whole, split = (
        run(spec, lambda batch: precise(batch.double()), images[:80], labels[:80], batch_size=size)
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
        resolve(spec).generator(epsilon).initial_seed()
        for spec in ("pgd", "pgd:steps=20", "square")
        for epsilon in DEFAULT_EPSILONS
    }
    assert len(seeds) == 12
    assert (
        PGD().generator(0.1).initial_seed() == resolve("pgd:steps=10").generator(0.1).initial_seed()
    )


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("training", [True, False])
def test_the_network_and_the_global_generator_are_not_changed(
    spec, training, network, images, labels
):
    network.train(training)
    before = torch.random.get_rng_state()
    weights = [p.clone() for p in network.parameters()]
    untouched = images[:20].clone()
    try:
        run(spec, network, images[:20], labels[:20])
        assert network.training == training
    finally:
        network.eval()
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(untouched, images[:20])
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


def four_means(images: Tensor) -> Tensor:
    return images.mean((2, 3))[:, [0, 1, 2, 2]]


def not_a_number(images: Tensor) -> Tensor:
    return four_means(images) * math.nan


def infinite(images: Tensor) -> Tensor:
    return four_means(images) * math.inf


def infinite_gradient(images: Tensor) -> Tensor:
    """The gradient of the root is infinite at 0, and 0 · ∞ is NaN."""
    return four_means(images) + four_means((images - images.detach()).abs().sqrt())


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


# The guard


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
    return result_of_attack(resolve(spec), epsilon, attacked, labels, 10)


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
    checks = guarded(network, images, labels)
    assert checks.warnings == ()
    assert checks.zero_gradient_share == checks.non_finite_gradient_share == 0
    assert checks.large_epsilon_accuracy < 0.01
    assert checks.images == 200
    assert checks.classes == 10


@pytest.mark.parametrize("spec", SPECS)
def test_the_scale_of_the_logits_changes_no_attack(spec, network, images, labels):
    """With the plain cross-entropy, accuracy was up to 31 points higher at 40 times the logits.

    Auto-PGD's cross-entropy is exact at any scale, but small logits do make it a weaker loss.
    """
    plain = run(spec, network, images, labels)
    for scale in (10, 40, 1e4) if spec == "apgd:steps=8" else (10, 40, 1e4, 1e-4):
        scaled = run(spec, lambda batch, scale=scale: scale * network(batch), images, labels)
        assert scaled.accuracy == pytest.approx(plain.accuracy, abs=0.01)


def test_the_scale_of_the_logits_raises_no_warning(network, images, labels):
    assert guarded(lambda batch: 1e4 * network(batch), images, labels).warnings == ()


@pytest.mark.parametrize("margin", [1e-30, 1.0, 17.0, 100.0, 1e30])
def test_the_gradient_in_the_logits_is_exact_at_any_margin(margin):
    """In float64 from the definition: a softmax with the two largest logits 8 apart."""
    logits = margin * torch.tensor([[5.0, 4.0, 1.0], [0.0, 4.0, 5.0]])
    gradient = logit_gradient(logits, torch.tensor([0, 2]))
    shares = torch.tensor([[0.0, -8.0, -32.0], [-40.0, -8.0, 0.0]]).double().softmax(1)
    expected = shares - torch.eye(3)[[0, 2]]
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-5, atol=0)


def test_the_gradient_in_the_logits_is_finite_if_the_largest_are_equal():
    logits = torch.tensor([[2.0, 2.0, 1.0], [3.0, 2.0, 2.0]])
    gradient = logit_gradient(logits, torch.tensor([0, 1]))
    expected = torch.tensor([[-0.5, 0.5, 0.0], [1.0, -1.0, 0.0]])
    torch.testing.assert_close(gradient, expected, atol=1e-3, rtol=0)


def test_the_guard_detects_a_gradient_along_which_the_margin_does_not_decrease(
    network, images, labels
):
    """A gradient of the wrong sign, as a rounding error may give."""

    def predict(batch: Tensor) -> Tensor:
        logits = network(batch)
        return 2 * logits.detach() - logits

    checks = guarded(predict, images, labels)
    assert checks.misleading_gradient_share > 0.8
    assert any("the label's margin does not fall" in warning for warning in checks.warnings)


def test_the_guard_detects_a_softmax_in_the_network(network, images, labels):
    checks = guarded(lambda batch: (1e3 * network(batch)).softmax(1), images, labels)
    assert checks.zero_gradient_share + checks.misleading_gradient_share > 0.5
    assert checks.large_epsilon_accuracy > 0.5
    assert any("input gradient" in warning for warning in checks.warnings)
    assert any("ε = 0.5" in warning for warning in checks.warnings)
    assert all("\n" not in warning and "200" in warning for warning in checks.warnings)


def test_results_that_depend_on_the_scale_of_the_logits_give_a_warning():
    earlier = MaskingChecks(200, 10, 0.0, 0.0, (), 0.0)
    assert "scale of the logits" in earlier.warnings[0]


def test_the_guard_detects_a_quantised_input(network, images, labels):
    checks = guarded(lambda batch: network((batch * 16).round() / 16), images, labels)
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


# Specs


@pytest.mark.parametrize(
    ("text", "attack"),
    [
        ("fgsm", FGSM()),
        ("fgsm:l2", FGSM(norm="l2")),
        ("pgd:steps=10,step_size=0", PGD()),
        (
            "pgd:norm=l2, random_start=False, restarts=2, step_size=0.25, steps=20",
            PGD(steps=20, step_size=0.25, norm="l2", random_start=False, restarts=2),
        ),
        (" square:queries=500 ", Square(queries=500)),
        ("square:500", Square(queries=500)),
    ],
)
def test_a_spec_gives_its_attack_and_the_canonical_spec_gives_it_again(text, attack):
    assert resolve(text) == attack
    assert resolve(attack.spec) == attack


def test_canonical_specs_name_only_what_differs_from_the_defaults():
    specs = expand(["pgd:steps=10", "square", "pgd:step_size=1,steps=20", "pgd"])
    assert specs == ("pgd", "square", "pgd:steps=20,step_size=1")
    assert expand(["none"]) == ()


def test_attacks_declare_their_access_and_norm():
    assert [name for name in ATTACKS if not resolve(name).white_box] == ["square"]
    for name in ATTACKS:
        assert resolve(name).norm == "linf"
        assert resolve(f"{name}:norm=l2").norm == "l2"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("pdg", "unknown attack 'pdg'; did you mean 'pgd'?"),
        ("", "unknown attack ''; known are apgd, autoattack, fab, fgsm, pgd, square"),
        ("none", "attacks has 'none' beside other names"),
        ("pgd:step=2", "attack 'pgd' has no parameter 'step'; did you mean 'steps'?"),
        ("pgd:steps=0", "steps is 0; it must be an integer from 1"),
        ("pgd:steps=1.5", "steps is 1.5; it must be an integer"),
        ("pgd:step_size=nan", "step_size is nan; it must be finite"),
        ("pgd:step_size=-1", "step_size is -1.0; it must be a number from 0"),
        ("pgd:random_start=maybe", "random_start is 'maybe'; it must be true or false"),
        ("fgsm:norm=l1", "norm is 'l1'; it must be one of linf, l2"),
        ("square:norm=l1", "norm is 'l1'; it must be one of linf, l2"),
        ("apgd:loss=hinge", "loss is 'hinge'; it must be one of ce, dlr, dlr_targeted"),
        ("apgd:targets=5", "targets is 5, and loss=ce has no targets"),
        ("fab:targets=-1", "targets is -1; it must be an integer from 0"),
        ("autoattack:steps=5", "attack 'autoattack' has no parameter 'steps'"),
        ("square:p=0", "p is 0.0; it must be a number above 0, up to 1"),
        ("pgd:steps=1,", "'' is not of the form key=value"),
        ("pgd:steps=1,steps=2", "sets 'steps' twice"),
        ("my_package:Attack", "unknown attack 'my_package'"),
    ],
)
def test_a_bad_spec_is_refused_in_one_line(spec, message):
    with pytest.raises(UsageError) as error:
        expand(["fgsm", spec])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("epsilon", [-0.1, math.nan, math.inf])
def test_an_invalid_epsilon_is_refused(epsilon, images, labels):
    with pytest.raises(UsageError, match="must be a finite number from 0"):
        run("fgsm", constant, images, labels, epsilon)


# The same attacks as foolbox has, on the same network


@pytest.fixture
def foolbox() -> ModuleType:
    return pytest.importorskip("foolbox")


foolbox_test = pytest.mark.filterwarnings(
    # foolbox 3.3.4 imports SciPy's filter from where it used to be.
    "ignore:Please import `gaussian_filter`:DeprecationWarning"
)


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
