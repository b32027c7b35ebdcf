"""Attacks that see only a network's outputs: Square."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from actbench.attacks.base import COUNT, Attack, Attacked, Target
from actbench.attacks.perturbations import (
    batches,
    is_correct,
    linf_bounds,
    logits_of,
    margin,
    random_squares,
    uniform,
)
from actbench.study.fields import number, one_of
from actbench.study.registry import parameter

# The shares of the queries after which the window is halved: 10, 50, 200, … of the paper's 10,000.
_HALVINGS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True)
class Square(Attack):
    """Square Attack in L∞ (Andriushchenko et al. 2020, arXiv:1912.00049, algorithms 1 and 2).

    A random search that uses logits only. Vertical stripes of ±ε come first; then each query sets
    a square at a random place to ±ε per channel, and keeps it if the margin, the label's logit
    minus the largest other, falls. The square covers the share ``p`` of the image, halved as in
    the paper's schedule, which is compressed to the number of ``queries``.

    ``queries`` counts the attacked images shown to the network. The paper allows 10,000; 200 break
    about half of what a plain CNN gets right at 8/255, enough to reveal masked gradients.
    """

    name = "square"
    white_box = False
    queries: int = parameter(200, COUNT)
    p: float = parameter(0.8, number(0, 1, above=True))
    norm: str = parameter("linf", one_of("linf"))

    def _search(self, target: Target, attacked: Attacked) -> None:
        count, channels, _, width = target.images.shape
        generator, device = target.generator, target.images.device
        lower, upper = linf_bounds(target.images, target.epsilon)
        least_margin = torch.full((count,), math.inf, device=device)
        for query in range(self.queries):
            raised = uniform((count, channels, 1, 1 if query else width), generator, device) < 0.5
            share = self.p / 2 ** sum(query / self.queries > end for end in _HALVINGS)
            window = random_squares(target.images, share, generator) | (query == 0)
            for some in batches(attacked.correct, target.batch_size):
                best, labels = attacked.images[some], target.labels[some]
                extreme = torch.where(raised[some], upper[some], lower[some])
                candidate = torch.where(window[some], extreme, best)
                logits = logits_of(target.predict, candidate)
                reached, correct = margin(logits, labels), is_correct(logits, labels)
                better = (reached < least_margin[some]) | ~correct
                attacked.images[some] = torch.where(better[:, None, None, None], candidate, best)
                least_margin[some] = torch.where(better, reached, least_margin[some])
                attacked.correct[some] = correct
