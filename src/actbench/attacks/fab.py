"""FAB: a search for the nearest point on the other side of the decision boundary."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from actbench.attacks.base import COUNT, Attack, Attacked, Cost, Target
from actbench.attacks.gradient import NORM
from actbench.attacks.perturbations import (
    batches,
    input_gradients,
    is_correct,
    logits_of,
    uniform_in_unit_ball,
)
from actbench.study.fields import integer
from actbench.study.registry import parameter

if TYPE_CHECKING:
    from torch import Tensor

# The paper's α_max, η and β, of its section 2.
MAX_BIAS = 0.1
OVERSHOOT = 1.05
BACKWARD = 0.9


@dataclass(frozen=True)
class FAB(Attack):
    """Fast Adaptive Boundary attack (Croce and Hein 2020, arXiv:1907.02044, algorithm 1).

    A step linearises the difference between a wrong class's logit and the label's, and goes beyond
    the hyperplane on which they are equal: from the present point and, with a weight of at most
    0.1, from the unchanged image. From a misclassified point it goes back towards the image by a
    tenth of the distance. An image is broken at the first misclassified point within ε.

    ``targets=0`` takes the nearest of the hyperplanes of all wrong classes, at the cost of a
    backward pass for each. Otherwise the ``targets`` likeliest wrong classes of the unchanged image
    are tried one after another. The first of the ``restarts`` starts at the image, the others at a
    random point within ε / 2.
    """

    name = "fab"
    white_box = True
    targets: int = parameter(0, integer(0, high=10**6))
    steps: int = parameter(100, COUNT)
    restarts: int = parameter(1, COUNT)
    norm: str = parameter("linf", NORM)

    @property
    def least_classes(self) -> int:
        """Two, or one more than ``targets``."""
        return max(self.targets + 1, 2)

    def _usable_with(self, classes: int) -> str:
        return f"targets={classes - 1}"

    def cost(self, classes: int) -> Cost:
        """Return two forward passes and the gradients for each step of each search."""
        runs = self.restarts * max(self.targets, 1)
        gradients = 1 if self.targets else classes - 1
        return Cost(runs * 2 * self.steps, runs * gradients * self.steps)

    def _search(self, target: Target, attacked: Attacked) -> None:
        images, wrong = target.images, target.wrong_classes()
        separate = [wrong[:, rank, None] for rank in range(self.targets)]
        for classes in separate or [wrong]:
            for restart in range(self.restarts):
                start = images
                if restart > 0:
                    offset = uniform_in_unit_ball(images, self.norm, target.generator)
                    start = (images + target.epsilon / 2 * offset).clamp(0, 1)
                # as much memory, whatever the number of gradients
                size = max(target.batch_size // classes.shape[1], 1)
                for some in batches(attacked.correct, size):
                    self._approach(target, attacked, some, start[some], classes)

    def _approach(
        self, target: Target, attacked: Attacked, index: Tensor, points: Tensor, classes: Tensor
    ) -> None:
        """Search from ``points`` for the images with these indices; ``classes`` is int64 (N, K)."""
        for _ in range(self.steps):
            images, labels = target.images[index], target.labels[index]
            distances, normals = self._hyperplanes(target, points, labels, classes[index])
            step = shortest_step(points, normals, distances, self.norm)
            from_image = distances + (normals * (points - images)).flatten(1).sum(1)
            image_step = shortest_step(images, normals, from_image, self.norm)
            near, far = _length(step, self.norm), _length(image_step, self.norm)
            bias = (near / (near + far).clamp(min=_TINY)).clamp(max=MAX_BIAS)[:, None, None, None]
            ahead, image_ahead = points + OVERSHOOT * step, images + OVERSHOOT * image_step
            points = ((1 - bias) * ahead + bias * image_ahead).clamp(0, 1)
            crossed = ~is_correct(logits_of(target.predict, points), labels)
            broken = crossed & is_within(points, images, target.epsilon, self.norm)
            attacked.images[index[broken]] = points[broken]
            attacked.correct[index[broken]] = False
            back = images + BACKWARD * (points - images)
            points = torch.where(crossed[:, None, None, None], back, points)
            index, points = index[~broken], points[~broken]
            if len(index) == 0:
                return

    def _hyperplanes(
        self, target: Target, points: Tensor, labels: Tensor, classes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the logit difference to go, float32 (n,), and its gradient, for the nearest class.

        The difference is the label's logit minus the class's; the gradient, (n, C, H, W), is that
        of the class's minus the label's. ``classes`` is int64 (n, K).
        """
        label = labels[:, None]

        def weights_of(logits: Tensor) -> Tensor:
            chosen, own = (F.one_hot(each, logits.shape[1]) for each in (classes, label))
            return (chosen - own).float().transpose(0, 1)

        logits, gradients = input_gradients(target.predict, points, weights_of)
        gradients = gradients.nan_to_num()
        to_go = (logits.gather(1, label) - logits.gather(1, classes)).nan_to_num()
        steepness = torch.stack([_length(each, _DUAL[self.norm]) for each in gradients], 1)
        nearest = (to_go.abs() / steepness.clamp(min=_TINY)).argmin(1)
        rows = torch.arange(len(points), device=points.device)
        return to_go[rows, nearest], gradients[nearest, rows]


def shortest_step(points: Tensor, normals: Tensor, rises: Tensor, norm: str) -> Tensor:
    """Return the shortest δ in the norm with normal · δ = rise and point + δ in [0, 1].

    Where there is none, δ is the one with the nearest value of normal · δ. The shortest δ moves
    every pixel by min(λ · speed, room), where the speed is 1 for L∞ and |normal| for L2, and the
    room is the distance to 0 or 1. The rise is concave in λ, so Newton's method from below finds λ
    in a finite number of steps.

    Args:
        points: float32 (n, C, H, W) in [0, 1].
        normals: float32 (n, C, H, W).
        rises: float32 (n,).
        norm: ``"linf"`` or ``"l2"``.
    """
    shape, points, normals = points.shape, points.flatten(1), normals.flatten(1)
    rise = rises[:, None]
    directions = (normals * rise.sign()).sign()
    room = torch.where(directions > 0, 1 - points, points)
    largest = normals.abs().amax(1, keepdim=True).clamp(min=_TINY)
    slopes, rise = normals.abs() / largest, (rise.abs() / largest).nan_to_num()
    speeds = slopes if norm == "l2" else directions.abs()
    gains, ends = slopes * speeds, slopes * room
    at_end = torch.zeros_like(gains, dtype=torch.bool)
    while True:
        reached = torch.where(at_end, ends, 0).sum(1, keepdim=True)
        gain = torch.where(at_end, 0, gains).sum(1, keepdim=True)
        multiplier = ((rise - reached) / gain.clamp(min=_TINY)).clamp(0, _HUGE)
        more = (multiplier * speeds > room) & ~at_end
        if not more.any():
            break
        at_end |= more
    moved = torch.where(at_end, room, multiplier * speeds)
    return (directions * moved).view(shape)


def is_within(points: Tensor, images: Tensor, epsilon: float, norm: str) -> Tensor:
    """Return bool (n,): the distance in the norm, computed in float64, is at most ε."""
    radius = epsilon if norm == "linf" else epsilon * (1 - 1e-12)  # for the rounding of the length
    return _length(points.double() - images.double(), norm) <= radius


def _length(offsets: Tensor, norm: str) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(offsets, _ORDER[norm], dim=(1, 2, 3))
    return length


_ORDER = {"linf": math.inf, "l2": 2, "l1": 1}
_DUAL = {"linf": "l1", "l2": "l2"}
_TINY = torch.finfo(torch.float32).tiny
_HUGE = torch.finfo(torch.float32).max
