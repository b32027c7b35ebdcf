"""The losses that Auto-PGD maximises, and their gradients in the logits.

Auto-PGD uses the order of a loss's values and the direction of its gradient, nothing else.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Function = Callable[[Tensor, Tensor, Tensor], Tensor]


class Loss(NamedTuple):
    """A loss: float64 (N,) of logits (N, classes), labels and target classes, int64 (N,).

    ``classes`` is the smallest number of classes for which it is defined. ``targeted`` is whether
    it depends on the target classes.
    """

    function: Function
    classes: int
    targeted: bool


def cross_entropy(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return an increasing function of the cross-entropy: log Σ exp(other logits) − label's logit.

    The cross-entropy is log(1 + exp(·)) of it, which rounds to 0 for a confident network.
    """
    label = labels[:, None]
    others = logits.scatter(1, label, -math.inf).logsumexp(1)
    return others - logits.gather(1, label)[:, 0]


def dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return the difference of logits ratio: (largest other − label's) / (largest − third largest).

    Croce and Hein 2020 (arXiv:2003.01690), equation 6. It does not depend on the logits' scale.
    """
    label = labels[:, None]
    others = logits.scatter(1, label, -math.inf).amax(1)
    largest = logits.topk(3, dim=1).values
    return _ratio(others - logits.gather(1, label)[:, 0], largest[:, 0] - largest[:, 2])


def dlr_targeted(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return (target's logit − label's) / (largest − mean of the third and the fourth largest).

    Croce and Hein 2020 (arXiv:2003.01690), equation 7.
    """
    label, target = labels[:, None], targets[:, None]
    largest = logits.topk(4, dim=1).values
    return _ratio(
        (logits.gather(1, target) - logits.gather(1, label))[:, 0],
        largest[:, 0] - largest[:, 2:].mean(1),
    )


LOSSES = {
    "ce": Loss(cross_entropy, classes=2, targeted=False),
    "dlr": Loss(dlr, classes=3, targeted=False),
    "dlr_targeted": Loss(dlr_targeted, classes=4, targeted=True),
}


def value(loss: Loss, logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return the loss, float64 (N,)."""
    return loss.function(logits.double(), labels, targets)


def gradient(loss: Loss, logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return the gradient in the logits, float32 (1, N, classes), divided by its largest element.

    So it neither vanishes nor overflows in float32, whatever the scale of the logits.
    """
    with torch.enable_grad():
        inputs = logits.double().requires_grad_()
        (found,) = torch.autograd.grad(value(loss, inputs, labels, targets).sum(), inputs)
    return (found / found.abs().amax(1, keepdim=True).clamp(min=_TINY)).float()[None]


_TINY = torch.finfo(torch.float64).tiny


def _ratio(difference: Tensor, spread: Tensor) -> Tensor:
    return difference / spread.clamp(min=_TINY)
