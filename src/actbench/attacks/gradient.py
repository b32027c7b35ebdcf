"""Attacks that follow the gradient of the loss in the pixels: FGSM and PGD."""

from __future__ import annotations

from dataclasses import dataclass

from actbench.attacks.base import COUNT, Attack, Attacked, Cost, Target
from actbench.attacks.perturbations import ascend, batches, uniform_in_unit_ball
from actbench.study.fields import flag, number, one_of
from actbench.study.registry import parameter

NORM = one_of("linf", "l2")


@dataclass(frozen=True)
class PGD(Attack):
    """Projected gradient descent (Madry et al. 2018, arXiv:1706.06083).

    Repeats x ← projection of x + step · direction onto the ball and [0, 1], where the direction is
    that of the gradient: its signs for L∞, its unit vector for L2. The loss is the cross-entropy
    of rescaled logits (``perturbations.logit_gradient``). The step is ``step_size`` · ε, where 0
    means 2.5 / ``steps``, Madry's choice, with which the steps reach further than ε.
    ``random_start`` draws the start uniformly from the ball. An image is robust only if it is
    classified correctly at all points visited, in all of the ``restarts``.
    """

    name = "pgd"
    white_box = True
    steps: int = parameter(10, COUNT)
    step_size: float = parameter(0.0, number(0, 1000))
    norm: str = parameter("linf", NORM)
    random_start: bool = parameter(True, flag())
    restarts: int = parameter(1, COUNT)

    def cost(self, classes: int) -> Cost:
        """Return the passes of all steps of all restarts; the last points need no gradient."""
        return Cost(self.restarts * (self.steps + 1), self.restarts * self.steps)

    def _search(self, target: Target, attacked: Attacked) -> None:
        images, epsilon = target.images, target.epsilon
        for _ in range(self.restarts):
            start = images
            if self.random_start:
                start = images + epsilon * uniform_in_unit_ball(images, self.norm, target.generator)
            for some in batches(attacked.correct, target.batch_size):
                attacked.images[some], attacked.correct[some] = ascend(
                    target.predict,
                    start[some],
                    images[some],
                    target.labels[some],
                    epsilon=epsilon,
                    norm=self.norm,
                    steps=self.steps,
                    step_size=(self.step_size or 2.5 / self.steps) * epsilon,
                )


@dataclass(frozen=True)
class FGSM(Attack):
    """The fast gradient sign method (Goodfellow, Shlens and Szegedy 2015, arXiv:1412.6572).

    One step of length ε from the image, for L2 along the gradient. The loss is that of ``PGD``.
    """

    name = "fgsm"
    white_box = True
    norm: str = parameter("linf", NORM)

    def cost(self, classes: int) -> Cost:
        """Return the passes of one step."""
        return Cost(forward=2, backward=1)

    def _search(self, target: Target, attacked: Attacked) -> None:
        step = PGD(steps=1, step_size=1.0, norm=self.norm, random_start=False)
        step._search(target, attacked)
