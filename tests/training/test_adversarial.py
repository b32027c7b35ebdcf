"""Adversarial training, against plain loops in PyTorch on pixels in [0, 1]."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from actbench.training.adversarial import Objective, ascend

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

EPSILON = 8 / 255


def network() -> nn.Module:
    """Return a small network with batch norm, in training mode and in float64.

    In float32, rounding decides the signs of the faintest gradients.
    """
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Tanh(), nn.Flatten(), nn.Linear(216, 4))
    return nn.Sequential(*layers).double()


@pytest.fixture(scope="module")
def batch() -> tuple[Tensor, Tensor]:
    """Return pixels in [0, 1], some of them at its ends, and labels."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.rand(10, 3, 8, 8, generator=generator).double().mul(1.2).sub(0.1).clamp(0, 1)
    return pixels, torch.arange(10) % 4


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def drawn_noise() -> Tensor:
    noise = torch.empty(10, 8, 8, 3, dtype=torch.float64).normal_(generator=generator())
    return noise.permute(0, 3, 1, 2)


def plain_pgd(
    model: nn.Module,
    pixels: Tensor,
    start: Tensor,
    loss: Callable[[Tensor], Tensor],
    *,
    epsilon: float,
    step: float,
    steps: int,
) -> Tensor:
    x = torch.max(torch.min(start, pixels + epsilon), pixels - epsilon).clamp(0, 1)
    for _ in range(steps):
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(model(2 * x - 1)), x)
        x = x.detach() + step * gradient.sign()
        x = torch.max(torch.min(x, pixels + epsilon), pixels - epsilon).clamp(0, 1)
    return x.detach()


def gradients(model: nn.Module, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters())))


def ours(
    spec: str, batch: tuple[Tensor, Tensor], smoothing: float = 0.0
) -> tuple[float, list[Tensor], nn.Module]:
    model, (pixels, labels) = network(), batch
    loss = Objective(spec, smoothing)(model, 2 * pixels - 1, labels, generator())
    return loss.item(), gradients(model, loss), model


def check(found: tuple[float, list[Tensor], nn.Module], model: nn.Module, loss: Tensor) -> None:
    value, gradient, trained = found
    assert value == pytest.approx(loss.item(), rel=1e-6)
    for a, b in zip(gradient, gradients(model, loss), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)
    # the running averages of batch norm have seen the same passes
    for a, b in zip(trained.buffers(), model.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("steps", [1, 4])
def test_pgd_trains_on_what_madrys_attack_finds(
    steps: int, smoothing: float, batch: tuple[Tensor, Tensor]
) -> None:
    model, (pixels, labels) = network(), batch
    start = pixels + EPSILON * (2 * torch.rand(pixels.shape, generator=generator()) - 1)
    attacked = plain_pgd(
        model,
        pixels,
        start,
        lambda logits: F.cross_entropy(logits, labels, reduction="sum"),
        epsilon=EPSILON,
        step=2 / 255,
        steps=steps,
    )
    loss = F.cross_entropy(model(2 * attacked - 1), labels, label_smoothing=smoothing)
    check(ours(f"pgd:steps={steps}", batch, smoothing), model, loss)


def test_fgsm_is_one_long_step_from_a_random_start(batch: tuple[Tensor, Tensor]) -> None:
    model, (pixels, labels) = network(), batch
    start = pixels + EPSILON * (2 * torch.rand(pixels.shape, generator=generator()) - 1)
    attacked = plain_pgd(
        model,
        pixels,
        start,
        lambda logits: F.cross_entropy(logits, labels, reduction="sum"),
        epsilon=EPSILON,
        step=10 / 255,
        steps=1,
    )
    check(ours("fgsm", batch), model, F.cross_entropy(model(2 * attacked - 1), labels))


def test_fgsm_without_a_random_start_is_goodfellows(batch: tuple[Tensor, Tensor]) -> None:
    model, (pixels, labels) = network(), batch
    x = pixels.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(2 * x - 1), labels), x)
    attacked = (pixels + EPSILON * gradient.sign()).clamp(0, 1)
    loss = F.cross_entropy(model(2 * attacked - 1), labels)
    check(ours("fgsm:step=8/255,random_start=false", batch), model, loss)


def test_trades_adds_beta_times_the_divergence(batch: tuple[Tensor, Tensor]) -> None:
    model, (pixels, labels) = network(), batch
    noise = drawn_noise()
    with torch.no_grad():
        clean = model(2 * pixels - 1).softmax(1)
    attacked = plain_pgd(
        model,
        pixels,
        pixels + 0.001 * noise,
        lambda logits: F.kl_div(logits.log_softmax(1), clean, reduction="sum"),
        epsilon=EPSILON,
        step=2 / 255,
        steps=10,
    )
    logits = model(2 * pixels - 1)
    divergence = F.kl_div(
        model(2 * attacked - 1).log_softmax(1), logits.softmax(1), reduction="batchmean"
    )
    loss = F.cross_entropy(logits, labels) + 3 * divergence
    check(ours("trades:beta=3", batch), model, loss)


def test_the_gradient_of_trades_is_finite_where_probabilities_round_to_0(
    batch: tuple[Tensor, Tensor],
) -> None:
    model, (pixels, labels) = network(), batch
    with torch.no_grad():
        model[-1].weight *= 1000
    loss = Objective("trades")(model, 2 * pixels - 1, labels, generator())
    assert all(gradient.isfinite().all() for gradient in gradients(model, loss))


def test_gaussian_noise_is_added_without_clipping(batch: tuple[Tensor, Tensor]) -> None:
    model, (pixels, labels) = network(), batch
    noise = drawn_noise()
    loss = F.cross_entropy(model(2 * (pixels + 0.25 * noise) - 1), labels)
    check(ours("gaussian_noise", batch), model, loss)


def test_none_is_the_plain_loss_to_the_last_bit(batch: tuple[Tensor, Tensor]) -> None:
    model, (pixels, labels) = network(), batch
    loss = F.cross_entropy(model(2 * pixels - 1), labels)
    assert ours("none", batch)[0] == loss.item()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_attacked_images_stay_in_the_ball_and_in_range(
    norm: str, batch: tuple[Tensor, Tensor]
) -> None:
    pixels, labels = batch
    model, images, epsilon = network().eval(), 2 * pixels - 1, 0.2

    def loss(x: Tensor) -> Tensor:
        return F.cross_entropy(model(x), labels, reduction="sum")

    attacked = ascend(
        loss, images + torch.rand(images.shape), images, epsilon=epsilon, steps=5, step=0.1,
        norm=norm,
    )  # fmt: skip
    distance = (attacked - images).flatten(1) / 2
    order = math.inf if norm == "linf" else 2
    assert torch.linalg.vector_norm(distance, order, dim=1).max() <= epsilon * (1 + 1e-5)
    assert attacked.abs().max() <= 1
    assert loss(attacked) > loss(images)


@pytest.mark.parametrize("spec", ["pgd", "pgd:norm=l2,epsilon=0.5,step=0.1", "trades", "fgsm"])
def test_the_search_leaves_no_gradient_in_the_weights(
    spec: str, batch: tuple[Tensor, Tensor]
) -> None:
    pixels, labels = batch
    model = network()
    before = copy.deepcopy(model.state_dict())
    loss = Objective(spec)(model, 2 * pixels - 1, labels, generator())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert loss.requires_grad


@pytest.mark.parametrize(
    ("spec", "draws"),
    [
        ("none", False),
        ("pgd", True),
        ("pgd:random_start=false", False),
        ("fgsm:random_start=false", False),
        ("trades", True),
        ("gaussian_noise", True),
    ],
)
def test_only_what_draws_needs_a_generator(
    spec: str, draws: bool, batch: tuple[Tensor, Tensor]
) -> None:
    pixels, labels = batch
    objective = Objective(spec)
    assert objective.draws is draws
    state = torch.get_rng_state()
    losses = {
        objective(network(), 2 * pixels - 1, labels, torch.Generator().manual_seed(seed)).item()
        for seed in (1, 2)
    }
    assert len(losses) == 1 + draws
    torch.set_rng_state(state)
