"""The loss of a training step: on the images as they are, or as an adversary changes them.

Images are float32 (B, C, H, W) in [−1, 1], so a distance between pixels in [0, 1] counts twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from actbench.attacks.perturbations import ascent_direction, uniform_in_unit_ball
from actbench.study.recipe import (
    ADVERSARIES,
    FGSMAdversary,
    GaussianNoise,
    NoAdversary,
    PGDAdversary,
    Trades,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Predict = Callable[[Tensor], Tensor]

SCALE = 2  # of distances in [−1, 1] over those in [0, 1]
TRADES_START = 0.001  # standard deviation of the start's noise, as in the authors' code


class Objective:
    """The loss that a training step descends.

    The network stays in training mode throughout. So batch normalisation normalises attacked images
    by their own batch, also while they are searched for, and each of these passes counts in its
    running averages; dropout and the like draw anew in each pass.

    Args:
        spec: the adversarial training (``Study.train_against``).
        label_smoothing: that of the cross-entropy that is descended; attacks use plain labels.

    Attributes:
        draws: whether ``__call__`` needs a generator.
    """

    def __init__(self, spec: str, label_smoothing: float = 0.0) -> None:
        self._adversary = ADVERSARIES.resolve(spec)
        self._smoothing = label_smoothing
        self.draws = isinstance(self._adversary, (Trades, GaussianNoise)) or (
            isinstance(self._adversary, (PGDAdversary, FGSMAdversary))
            and self._adversary.random_start
        )

    def __call__(
        self, predict: Predict, images: Tensor, labels: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        """Return the mean loss of a batch, a scalar with its graph.

        Args:
            predict: maps images to float32 logits (B, classes).
            images: float32 (B, C, H, W) in [−1, 1].
            labels: int64 (B,).
            generator: the source of all random numbers, on the images' device.
        """
        match self._adversary:
            case NoAdversary():
                return self._cross_entropy(predict(images), labels)
            case GaussianNoise(sigma):
                noise = _noise_like(images, generator)
                return self._cross_entropy(predict(images + SCALE * sigma * noise), labels)
            case Trades() as trades:
                return self._trades(trades, predict, images, labels, generator)
            case PGDAdversary(epsilon, steps, step, norm, random_start):
                pass
            case FGSMAdversary(epsilon, step, random_start):
                steps, norm = 1, "linf"
        start = images
        if random_start and generator is not None:
            start = images + SCALE * epsilon * uniform_in_unit_ball(images, norm, generator)
        attacked = ascend(
            lambda x: F.cross_entropy(predict(x), labels, reduction="sum"),
            start,
            images,
            epsilon=epsilon,
            steps=steps,
            step=step,
            norm=norm,
        )
        return self._cross_entropy(predict(attacked), labels)

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=self._smoothing)

    def _trades(
        self,
        trades: Trades,
        predict: Predict,
        images: Tensor,
        labels: Tensor,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Return cross-entropy(f(x), y) + β · KL(f(x) ‖ f(x')), both as means over the batch.

        x' ascends the divergence from near x: equation 5 of Zhang et al. 2019 (arXiv:1901.08573),
        with β for 1 / λ.
        """
        with torch.no_grad():
            clean = predict(images).log_softmax(1)
        attacked = ascend(
            lambda x: _divergence(clean, predict(x)),
            images + SCALE * TRADES_START * _noise_like(images, generator),
            images,
            epsilon=trades.epsilon,
            steps=trades.steps,
            step=trades.step,
            norm="linf",
        )
        logits = predict(images)
        divergence = _divergence(logits.log_softmax(1), predict(attacked)) / len(images)
        return self._cross_entropy(logits, labels) + trades.beta * divergence


def _noise_like(images: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return standard normal noise shaped as images (B, C, H, W), in channels_last."""
    shape = images.permute(0, 2, 3, 1).shape
    noise = torch.empty(shape, dtype=images.dtype, device=images.device)
    return noise.normal_(generator=generator).permute(0, 3, 1, 2)


def ascend(
    loss: Callable[[Tensor], Tensor],
    start: Tensor,
    images: Tensor,
    *,
    epsilon: float,
    steps: int,
    step: float,
    norm: str,
) -> Tensor:
    """Return where projected steps up a loss end, for every image of a batch.

    Unlike the attacks that measure robustness (``attacks``), the loss is the plain one, no image
    stops early, and rounding may leave the ball by an ulp.

    Args:
        loss: maps images to the sum of the losses of all of them.
        start: the first points, shaped as ``images``; they are moved into the ball.
        images: the centres of the balls, float32 (B, C, H, W) in [−1, 1].
        epsilon: the radius, for pixels in [0, 1].
        steps: how many.
        step: the length of each in the norm, for pixels in [0, 1].
        norm: ``linf`` or ``l2``.
    """
    points = _projected(start, images, epsilon, norm)
    for _ in range(steps):
        points = points.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(
            loss(points), points, allow_unused=True, materialize_grads=True
        )
        points = points.detach() + SCALE * step * ascent_direction(gradient, norm)
        points = _projected(points, images, epsilon, norm)
    return points.detach()


def _projected(points: Tensor, images: Tensor, epsilon: float, norm: str) -> Tensor:
    """Return points moved into the ball around their image, then into [−1, 1]."""
    offset, radius = points - images, SCALE * epsilon
    if norm == "linf":
        offset = offset.clamp(-radius, radius)
    else:
        length = torch.linalg.vector_norm(offset, dim=(1, 2, 3), keepdim=True)
        offset = offset * (radius / length.clamp(min=radius))
    return (images + offset).clamp(-1, 1)


def _divergence(clean: Tensor, logits: Tensor) -> Tensor:
    """Return the sum over a batch of KL(clean ‖ softmax of logits), in nats.

    ``clean`` is log-probabilities: the gradient of probabilities that round to 0 is not finite.
    """
    return F.kl_div(logits.log_softmax(1), clean, reduction="sum", log_target=True)
