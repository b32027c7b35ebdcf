"""Auto-PGD and its losses as the paper defines them, one image at a time: clear and slow.

Croce and Hein 2020, arXiv:2003.01690, equations 6 and 7 and algorithm 1.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def reference_loss(name: str, logits: Tensor, label: int, target: int) -> Tensor:
    """Return the loss of one image's logits (classes,)."""
    descending = sorted(logits, reverse=True)
    other = max(z for k, z in enumerate(logits) if k != label)
    if name == "ce":
        return -torch.log_softmax(logits, 0)[label]
    if name == "dlr":
        return -(logits[label] - other) / (descending[0] - descending[2])
    spread = descending[0] - (descending[2] + descending[3]) / 2
    return -(logits[label] - logits[target]) / spread


def reference_checkpoints(steps: int) -> list[int]:
    shares = [0.0, 0.22]
    while shares[-1] <= 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    return [math.ceil(round(share * steps, 6)) for share in shares]


def reference_apgd(
    predict: Callable[[Tensor], Tensor],
    image: Tensor,
    label: int,
    target: int,
    start: Tensor,
    *,
    loss: str,
    norm: str,
    epsilon: float,
    steps: int,
) -> list[Tensor]:
    """Return the points that Auto-PGD visits, each (C, H, W), up to the first misclassified one."""

    def project(point: Tensor) -> Tensor:
        offset = point - image
        if norm == "linf":
            offset = offset.clamp(-epsilon, epsilon)
        elif offset.norm() > epsilon:
            offset = offset * epsilon / offset.norm()
        return (image + offset).clamp(0, 1)

    def direction(gradient: Tensor) -> Tensor:
        return gradient.sign() if norm == "linf" else gradient / gradient.norm()

    def evaluate(point: Tensor) -> tuple[float, Tensor, bool]:
        point = point.clone().requires_grad_()
        logits = predict(point[None])[0]
        value = reference_loss(loss, logits, label, target)
        (gradient,) = torch.autograd.grad(value, point)
        return float(value.detach()), gradient, int(logits.argmax()) == label

    checkpoints = reference_checkpoints(steps)
    size, halved = 2 * epsilon, False
    points = [project(start)]
    value, gradient, correct = evaluate(points[0])
    best = checked = value
    best_point, best_gradient = points[0], gradient
    point, last_point, rises = points[0], points[0], 0
    for step in range(steps):
        if not correct:
            break
        ahead = project(point + size * direction(gradient))
        if step > 0:
            ahead = project(point + 0.75 * (ahead - point) + 0.25 * (point - last_point))
        point, last_point = ahead, point
        points.append(point)
        last_value = value
        value, gradient, correct = evaluate(point)
        rises += value > last_value
        if value > best:
            best, best_point, best_gradient = value, point, gradient
        if step + 1 in checkpoints:
            period = step + 1 - checkpoints[checkpoints.index(step + 1) - 1]
            too_few_rises = rises < 0.75 * period
            nothing_changed = not halved and best == checked
            halved = too_few_rises or nothing_changed
            if halved:
                size /= 2
                point, gradient, value = best_point, best_gradient, best
            rises, checked = 0, best
    return points
