"""Attacks that see only a network's outputs: Square."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from actbench.attacks.base import COUNT, Attack, Attacked, Cost, Target
from actbench.attacks.gradient import NORM
from actbench.attacks.perturbations import is_correct, logits_of, margin, uniform
from actbench.attacks.squares import L2Squares, LinfSquares
from actbench.study.fields import number
from actbench.study.registry import parameter

if TYPE_CHECKING:
    from actbench.attacks.squares import Squares

# The shares of the queries after which the area is halved: 10, 50, 200, … of the paper's 10,000.
_HALVINGS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True)
class Square(Attack):
    """Square Attack (Andriushchenko et al. 2020, arXiv:1912.00049, algorithms 1 to 3).

    A random search that uses logits only. Each query changes a square at a random place, and the
    change is kept if the margin, the label's logit minus the largest other, falls. In L∞ it starts
    with vertical stripes of ±ε and sets squares to ±ε per channel. In L2 it starts with 5 × 5 tiles
    and moves length from one square to another. The square covers the share ``p`` of the image,
    halved as in the paper's schedule, which is compressed to the number of ``queries``.

    ``queries`` counts the attacked images shown to the network. 5,000 are AutoAttack's; 200 break
    about half of what a plain CNN gets right at 8/255, enough to reveal masked gradients.
    """

    name = "square"
    white_box = False
    queries: int = parameter(5000, COUNT)
    p: float = parameter(0.8, number(0, 1, above=True))
    norm: str = parameter("linf", NORM)

    def cost(self, classes: int) -> Cost:
        """Return the queries."""
        return Cost(self.queries, 0)

    def _search(self, target: Target, attacked: Attacked) -> None:
        kind: type[Squares] = LinfSquares if self.norm == "linf" else L2Squares
        squares = kind(target.images, target.epsilon)
        count, generator, device = len(target.images), target.generator, target.images.device
        left = attacked.correct.nonzero().flatten()  # the images that are still correct
        points, least_margin = target.images[left], torch.full(left.shape, math.inf, device=device)
        for query in range(self.queries):
            if len(left) == 0:
                return
            # drawn for all images, so that an image's draws do not depend on the others
            shape = squares.draws if query > 0 else squares.first_draws
            draws = uniform((count, *shape), generator, device)[left]
            area = self.p / 2 ** sum(query / self.queries > end for end in _HALVINGS)
            correct = torch.ones_like(left, dtype=torch.bool)
            for start in range(0, len(left), target.batch_size):
                rows = slice(start, start + target.batch_size)
                some, part = left[rows], points[rows]
                if query > 0:
                    undo = squares.change(part, some, draws[rows], area)
                else:
                    part.copy_(squares.first(some, draws[rows]))
                logits, labels = logits_of(target.predict, part), target.labels[some]
                reached, correct[rows] = margin(logits, labels), is_correct(logits, labels)
                better = (reached < least_margin[rows]) | ~correct[rows] | (query == 0)
                if query > 0:
                    undo(~better)
                least_margin[rows] = torch.where(better, reached, least_margin[rows])
            if not correct.all():
                attacked.images[left[~correct]] = points[~correct]
                attacked.correct[left[~correct]] = False
                left, points, least_margin = (x[correct] for x in (left, points, least_margin))
        attacked.images[left] = points
