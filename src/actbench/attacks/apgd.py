"""Auto-PGD: projected gradient ascent with momentum that chooses its step sizes itself."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING

import torch

from actbench.attacks.base import COUNT, Attack, Attacked, Cost, Target
from actbench.attacks.gradient import NORM
from actbench.attacks.losses import LOSSES, gradient, value
from actbench.attacks.perturbations import (
    ascent_direction,
    batches,
    input_gradients,
    is_correct,
    logits_of,
    projection,
    uniform_in_unit_ball,
)
from actbench.errors import UsageError
from actbench.study.fields import one_of
from actbench.study.registry import parameter

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Projection = Callable[[Tensor, Tensor], Tensor]

# The constants of the paper's section 3.
FIRST_STEP = 2.0
MOMENTUM = 0.75
MIN_INCREASES = 0.75
# In hundredths of the steps: as binary fractions, 0.22 + 0.19 would be above 0.41.
FIRST_PERIOD, SHORTENING, SHORTEST_PERIOD = 22, 3, 6


@dataclass(frozen=True)
class APGD(Attack):
    """Auto-PGD (Croce and Hein 2020, arXiv:2003.01690, algorithm 1).

    Gradient ascent with momentum, at first with steps of 2 ε. At each checkpoint an image's step is
    halved, and the ascent goes on from its point of highest loss, if the loss rose in fewer than
    75 % of the steps since the last checkpoint, or if neither the step nor the highest loss changed
    there and since. Each of the ``restarts`` starts at a random point of the ball. An image is
    robust only if it is classified correctly at all points visited.

    ``loss`` is ``ce``, the cross-entropy; ``dlr``, the difference of logits ratio, which does not
    depend on the scale of the logits; or ``dlr_targeted``, which is maximised for one class after
    another: the ``targets`` likeliest wrong classes of the unchanged image.
    """

    name = "apgd"
    white_box = True
    loss: str = parameter("ce", one_of(*LOSSES))
    steps: int = parameter(100, COUNT)
    restarts: int = parameter(1, COUNT)
    targets: int = parameter(9, COUNT)
    norm: str = parameter("linf", NORM)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.targets != type(self).targets and not LOSSES[self.loss].targeted:
            raise UsageError(
                f"attack 'apgd': targets is {self.targets}, and loss={self.loss} has no targets; "
                "give loss=dlr_targeted or leave targets out"
            )

    @property
    def least_classes(self) -> int:
        """Two for ce, three for dlr, and for dlr_targeted four, or one more than ``targets``."""
        loss = LOSSES[self.loss]
        return max(loss.classes, self.targets + 1) if loss.targeted else loss.classes

    def _usable_with(self, classes: int) -> str:
        return f"targets={classes - 1}" if classes >= LOSSES[self.loss].classes else "loss=ce"

    def cost(self, classes: int) -> Cost:
        """Return the passes of all steps of all ascents; the last points need no gradient."""
        runs = self.restarts * (self.targets if LOSSES[self.loss].targeted else 1)
        return Cost(runs * (self.steps + 1), runs * self.steps)

    def _search(self, target: Target, attacked: Attacked) -> None:
        images, wrong = target.images, target.wrong_classes()
        project = projection(images, target.epsilon, self.norm)
        for rank in range(self.targets if LOSSES[self.loss].targeted else 1):
            for _ in range(self.restarts):
                offset = uniform_in_unit_ball(images, self.norm, target.generator)
                for some in batches(attacked.correct, target.batch_size):
                    start = project(images[some] + target.epsilon * offset[some], some)
                    ascent = _Ascent.starting(some, start, FIRST_STEP * target.epsilon)
                    self._ascend(target, attacked, ascent, project, wrong[:, rank])

    def _ascend(
        self,
        target: Target,
        attacked: Attacked,
        ascent: _Ascent,
        project: Projection,
        wrong: Tensor,
    ) -> None:
        loss, periods = LOSSES[self.loss], checkpoint_periods(self.steps)
        for step in range(self.steps):
            labels, targets = target.labels[ascent.index], wrong[ascent.index]
            logits, (gradients,) = input_gradients(
                target.predict,
                ascent.points,
                partial(gradient, loss, labels=labels, targets=targets),
            )
            ascent.observe(value(loss, logits, labels, targets), gradients)
            ascent = ascent.of_correct(is_correct(logits, labels), attacked)
            if len(ascent.index) == 0:
                return
            if step == 0:
                ascent.begin_period()
            elif step in periods:
                ascent.check(periods[step])
            ascent.move(project, self.norm, MOMENTUM if step > 0 else 1.0)
        logits = logits_of(target.predict, ascent.points)
        ascent.of_correct(is_correct(logits, target.labels[ascent.index]), attacked)


@dataclass
class _Ascent:
    """The ascents of the images that have been correct so far, a row for each.

    Attributes:
        index: the image's index.
        points: the present point; ``last_points`` is the one before it, ``best_points`` that of the
            highest loss.
        gradients: the loss gradient at ``points``; ``best_gradients`` is that at ``best_points``.
        values: the loss at ``points``; ``best_values`` is that at ``best_points``,
            ``checked_values`` was that at the last checkpoint.
        increases: how often the loss has risen since the last checkpoint.
        sizes: the step size, in units of the norm.
        halved: whether it was halved at the last checkpoint.
    """

    index: Tensor
    points: Tensor
    last_points: Tensor
    best_points: Tensor
    gradients: Tensor
    best_gradients: Tensor
    values: Tensor
    best_values: Tensor
    checked_values: Tensor
    increases: Tensor
    sizes: Tensor
    halved: Tensor

    @classmethod
    def starting(cls, index: Tensor, points: Tensor, size: float) -> _Ascent:
        """Return ascents from ``points``, before anything is known of the loss."""
        nothing = torch.full(index.shape, -torch.inf, dtype=torch.float64, device=index.device)
        flat = torch.zeros_like(points)
        return cls(
            index=index,
            points=points,
            last_points=points,
            best_points=points,
            gradients=flat,
            best_gradients=flat,
            values=nothing,
            best_values=nothing,
            checked_values=nothing,
            increases=torch.zeros_like(index),
            sizes=torch.full_like(points[:, :1, :1, :1], size),
            halved=torch.zeros_like(index, dtype=torch.bool),
        )

    def of_correct(self, correct: Tensor, attacked: Attacked) -> _Ascent:
        """Return the rows that are correct; write the images of all to ``attacked``."""
        attacked.images[self.index] = self.points
        attacked.correct[self.index] = correct
        if correct.all():
            return self
        return _Ascent(*(getattr(self, item.name)[correct] for item in fields(self)))

    def observe(self, values: Tensor, gradients: Tensor) -> None:
        """Take in the loss and its gradient at ``points``."""
        self.increases = self.increases + (values > self.values)
        best = values > self.best_values
        self.values, self.gradients = values, gradients
        self.best_values = torch.where(best, values, self.best_values)
        self.best_points = _where(best, self.points, self.best_points)
        self.best_gradients = _where(best, gradients, self.best_gradients)

    def begin_period(self) -> None:
        """Begin to count, at a checkpoint."""
        self.increases = torch.zeros_like(self.increases)
        self.checked_values = self.best_values

    def check(self, period: int) -> None:
        """Halve the steps that did not do, and go back to the best points; see ``APGD``."""
        few = self.increases < MIN_INCREASES * period
        unchanged = ~self.halved & (self.best_values == self.checked_values)
        self.halved = few | unchanged
        self.sizes = _where(self.halved, self.sizes / 2, self.sizes)
        self.points = _where(self.halved, self.best_points, self.points)
        self.gradients = _where(self.halved, self.best_gradients, self.gradients)
        self.values = torch.where(self.halved, self.best_values, self.values)
        self.begin_period()

    def move(self, project: Projection, norm: str, share: float) -> None:
        """Go ``share`` of the step up the gradient, and the rest in the direction of the last."""
        ahead = self.points + self.sizes * ascent_direction(self.gradients, norm)
        points = project(ahead, self.index)
        if share < 1:
            last_step = self.points - self.last_points
            mixed = self.points + share * (points - self.points) + (1 - share) * last_step
            points = project(mixed, self.index)
        self.points, self.last_points = points, self.points


def checkpoint_periods(steps: int) -> dict[int, int]:
    """Return the checkpoints of this number of steps, with the number of steps since the last."""
    periods, last, share, period = {}, 0, FIRST_PERIOD, FIRST_PERIOD
    while share <= 100:
        checkpoint = -(-share * steps // 100)
        if checkpoint > last:
            periods[checkpoint] = checkpoint - last
        last, period = checkpoint, max(period - SHORTENING, SHORTEST_PERIOD)
        share += period
    return periods


def _where(rows: Tensor, chosen: Tensor, others: Tensor) -> Tensor:
    return torch.where(rows[:, None, None, None], chosen, others)
