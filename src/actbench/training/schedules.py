"""Schedules of the learning rate, with the values of torch.optim.lr_scheduler."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from actbench.study.recipe import ConstantRate, Cosine, OneCycle, Step

if TYPE_CHECKING:
    from actbench.study.recipe import Schedule


def rate_factor(schedule: Schedule, step: int, total: int) -> float:
    """Return what the learning rate is multiplied by at a step, in [0, 1].

    The warm-up of all but ``onecycle`` rises in equal steps to 1, which is reached at the first
    step after it: LinearLR with start factor 1 / (n + 1) over n steps. What follows is, over the
    rest of the steps, CosineAnnealingLR for ``cosine``; over all of them, MultiStepLR for ``step``
    and OneCycleLR, without its momentum, for ``onecycle``. Shares of the steps are rounded.

    Args:
        schedule: the schedule.
        step: which step, from 0 to ``total`` − 1.
        total: the number of steps of the training.
    """
    if isinstance(schedule, OneCycle):
        return _one_cycle(schedule, step, total)
    warmup = round(schedule.warmup * total)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    match schedule:
        case ConstantRate():
            return 1.0
        case Cosine():
            return (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2
        case Step():
            passed = sum(step >= round(share * total) for share in schedule.at)
            return schedule.factor**passed


def _one_cycle(schedule: OneCycle, step: int, total: int) -> float:
    lowest = 1 / schedule.div_factor
    top = max(0.0, schedule.warmup * total - 1)  # the step with the largest rate
    if step < top:
        return _annealed(lowest, 1, step / top)
    return _annealed(1, lowest / schedule.final_div_factor, (step - top) / (total - 1 - top or 1))


def _annealed(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
