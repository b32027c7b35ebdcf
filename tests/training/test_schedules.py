"""Learning rates at every step, against those of torch.optim.lr_scheduler."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import pytest
import torch
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    SequentialLR,
)

from actbench.study.recipe import SCHEDULES
from actbench.training.schedules import rate_factor

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.optim.lr_scheduler import LRScheduler

RATE = 0.3


def after_warmup(share: float, make: Callable[..., LRScheduler]) -> Callable[..., LRScheduler]:
    """Return a scheduler that first rises for a share of the steps, and then is ``make``'s."""

    def made(optimizer: torch.optim.Optimizer, total: int) -> LRScheduler:
        steps = round(share * total)
        if not steps:
            return make(optimizer, 0, total)
        rise = LinearLR(optimizer, start_factor=1 / (steps + 1), total_iters=steps)
        return SequentialLR(optimizer, [rise, make(optimizer, steps, total)], milestones=[steps])

    return made


def constant(optimizer: torch.optim.Optimizer, _: int, __: int) -> LRScheduler:
    return LambdaLR(optimizer, lambda _: 1.0)


def cosine(optimizer: torch.optim.Optimizer, before: int, total: int) -> LRScheduler:
    return CosineAnnealingLR(optimizer, T_max=total - before)


def step(*shares: float, factor: float) -> Callable[..., LRScheduler]:
    def made(optimizer: torch.optim.Optimizer, before: int, total: int) -> LRScheduler:
        milestones = [round(share * total) - before for share in shares]
        return MultiStepLR(optimizer, milestones, gamma=factor)

    return made


def one_cycle(**options: float) -> Callable[..., LRScheduler]:
    def made(optimizer: torch.optim.Optimizer, total: int) -> LRScheduler:
        return OneCycleLR(optimizer, RATE, total_steps=total, cycle_momentum=False, **options)

    return made


REFERENCES: dict[str, Callable[..., LRScheduler]] = {
    "constant": after_warmup(0, constant),
    "constant:warmup=0.1": after_warmup(0.1, constant),
    "cosine": after_warmup(0, cosine),
    "cosine:warmup=0.05": after_warmup(0.05, cosine),
    "step": after_warmup(0, step(0.5, 0.75, factor=0.1)),
    "step:at=0.3,factor=0.5,warmup=0.2": after_warmup(0.2, step(0.3, factor=0.5)),
    "step:at=0.07/0.1/0.9,factor=0": after_warmup(0, step(0.07, 0.1, 0.9, factor=0)),
    "onecycle": one_cycle(),
    "onecycle:warmup=0.5,div_factor=10,final_div_factor=100": one_cycle(
        pct_start=0.5, div_factor=10, final_div_factor=100
    ),
}


@pytest.mark.parametrize("total", [10, 157, 400])
@pytest.mark.parametrize("spec", REFERENCES)
def test_every_rate_is_that_of_torchs_scheduler(spec: str, total: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=RATE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR's own use of a deprecated argument
        scheduler = REFERENCES[spec](optimizer, total)
        expected = []
        for _ in range(total):
            expected.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
    schedule = SCHEDULES.resolve(spec)
    ours = [RATE * rate_factor(schedule, number, total) for number in range(total)]
    assert ours == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("spec", [*REFERENCES, "cosine:warmup=0.99", "onecycle:warmup=0"])
@pytest.mark.parametrize("total", [1, 2, 3])
def test_a_training_of_few_steps_has_rates_from_0_to_1(spec: str, total: int) -> None:
    schedule = SCHEDULES.resolve(spec)
    factors = [rate_factor(schedule, number, total) for number in range(total)]
    assert all(0 <= factor <= 1 for factor in factors)


def test_a_published_recipe_divides_the_rate_at_its_steps() -> None:
    schedule = SCHEDULES.resolve("step:at=0.5/0.75")
    rates = [rate_factor(schedule, at, 64_000) for at in (31_999, 32_000, 47_999, 48_000)]
    assert rates == pytest.approx([1, 0.1, 0.1, 0.01])
