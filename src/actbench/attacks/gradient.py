"""Attacks that follow the gradient of the loss in the pixels: FGSM and PGD."""

from __future__ import annotations

from dataclasses import dataclass

from actbench.attacks.base import Attack, Attacked, _count, _norm, _parameter, _Target
from actbench.attacks.perturbations import (
    ascend,
    batches,
    uniform_in_unit_ball,
)


@dataclass(frozen=True)
class PGD(Attack):
    """Projected gradient descent (Madry et al. 2018, arXiv:1706.06083).

    Repeats x ← projection of x + step · direction onto the ball and [0, 1], where the direction is
    that of the gradient: its signs for L∞, its unit vector for L2. The loss is the cross-entropy
    of logits whose scale is taken out (``perturbations.logit_gradient``). The step
    is ``step_size`` · ε, where 0 stands for 2.5 / ``steps``, Madry's choice: it crosses the ball
    with some to spare. ``random_start`` draws the start uniformly from the ball. An image is
    robust only if it withstands all points visited, in all of the ``restarts``.
    """

    name = "pgd"
    white_box = True
    steps: int = _count(10)
    step_size: float = _parameter(0.0, "a number from 0 to 1000", lambda v: 0 <= v <= 1000)
    norm: str = _norm("linf", "l2")
    random_start: bool = _parameter(True, "true or false", lambda _: True)
    restarts: int = _count(1)

    def _search(self, target: _Target, attacked: Attacked) -> None:
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

    One step of length ε from the image itself, which for L2 is along the gradient. The loss is
    that of ``PGD``.
    """

    name = "fgsm"
    white_box = True
    norm: str = _norm("linf", "l2")

    def _search(self, target: _Target, attacked: Attacked) -> None:
        step = PGD(steps=1, step_size=1.0, norm=self.norm, random_start=False)
        step._search(target, attacked)
