"""Parts of attacks: input gradients, ε-balls cut to [0, 1], gradient ascent.

Images are float32 (N, C, H, W) in [0, 1], labels int64 (N,); a norm is ``"linf"`` or ``"l2"``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Predict = Callable[[Tensor], Tensor]

# T in MIFPE. The paper uses 1. Larger values, closer to the margin loss, make FGSM and PGD stronger
# on the networks of docs/robustness.md; above 5 the gain is small.
LOGIT_GAP = 8.0


def batches(mask: Tensor, batch_size: int) -> tuple[Tensor, ...]:
    """Return the indices of the true elements of a mask (N,) in batches, none of them empty."""
    indices = mask.nonzero().flatten()
    return torch.split(indices, batch_size) if len(indices) else ()


def logits_of(predict: Predict, images: Tensor) -> Tensor:
    """Return the logits, float32 (N, classes), outside any graph."""
    with torch.no_grad():
        return predict(images).float()


def is_correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Return bool (N,): the label has the largest logit, and no logit is NaN."""
    return (logits.argmax(1) == labels) & ~logits.isnan().any(1)


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return float32 (N,): the label's logit minus the largest of the others."""
    label = labels[:, None]
    return logits.gather(1, label)[:, 0] - logits.scatter(1, label, -math.inf).amax(1)


def logit_gradient(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the gradient in the logits, float32 (N, classes), of the loss that attacks ascend.

    The loss is the cross-entropy after the logits are scaled so that the two largest differ by
    ``LOGIT_GAP``, without a gradient through the factor: MIFPE (Yu and Xu, CVPR 2023). It does not
    depend on the scale of the logits. The plain cross-entropy weighs the classes by exp(logit);
    above a margin of about 17 its gradient is rounding error in float32, as p − 1 rounds to 0.

    The values are the softmax p_i of the other classes, and minus their sum for the label. They are
    not multiplied by the factor: attacks use the direction of a gradient only.
    """
    largest = logits.topk(2, dim=1).values
    gap = (largest[:, :1] - largest[:, 1:]).clamp(min=torch.finfo(logits.dtype).tiny)
    label = labels[:, None]
    scaled = (logits - largest[:, :1]) / gap * LOGIT_GAP
    others = scaled.softmax(1).scatter(1, label, 0.0)
    return others.scatter(1, label, -others.sum(1, keepdim=True))


def input_gradients(
    predict: Predict, images: Tensor, weights_of: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Return the logits, and gradients in the images of weighted sums of each image's logits.

    They are zero if ``predict`` does not depend differentiably on its input. Only the gradients at
    the images are computed; the ``grad`` of parameters does not change.

    Args:
        predict: maps images to logits.
        images: float32 (N, C, H, W).
        weights_of: maps the logits (N, classes) to K weights of each, float32 (K, N, classes).

    Returns:
        The logits, float32 (N, classes), and the gradients, float32 (K, N, C, H, W).
    """
    with torch.inference_mode(False), torch.enable_grad():
        inputs = images.clone().requires_grad_()
        logits = predict(inputs).float()
        weights = weights_of(logits.detach())
        if not logits.requires_grad:
            return logits, images.new_zeros((len(weights), *images.shape))
        last = len(weights) - 1
        gradients = [
            torch.autograd.grad(
                logits,
                inputs,
                each,
                retain_graph=number < last,
                allow_unused=True,
                materialize_grads=True,
            )[0]
            for number, each in enumerate(weights)
        ]
    return logits.detach(), torch.stack(gradients)


def input_gradient(predict: Predict, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits and, shaped as ``images``, each image's own gradient of PGD's loss.

    See ``logit_gradient`` and ``input_gradients``.
    """
    logits, gradients = input_gradients(
        predict, images, lambda logits: logit_gradient(logits, labels)[None]
    )
    return logits, gradients[0]


def ascent_direction(gradient: Tensor, norm: str) -> Tensor:
    """Return the step of length 1 in the norm along which a loss with this gradient rises fastest.

    That is the gradient's signs for L∞ and its unit vector for L2; a NaN counts as 0, and where
    the gradient is 0, the step is 0.
    """
    gradient = gradient.nan_to_num()
    if norm == "linf":
        return gradient.sign()
    # Dividing by the largest element first keeps the squares of a faint gradient above 0.
    for order in (math.inf, 2):
        length = torch.linalg.vector_norm(gradient, order, dim=(1, 2, 3), keepdim=True)
        gradient = gradient / length.where(length > 0, 1.0)
    return gradient


def uniform(shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> Tensor:
    """Return float32 uniform in [0, 1), on ``device`` but drawn on the generator's device."""
    return torch.rand(shape, generator=generator, device=generator.device).to(device)


def uniform_in_unit_ball(images: Tensor, norm: str, generator: torch.Generator) -> Tensor:
    """Return points shaped as ``images``, uniform in the norm's ball of radius 1 around 0."""
    shape, device = tuple(images.shape), images.device
    if norm == "linf":
        return 2 * uniform(shape, generator, device) - 1
    normal = torch.randn(shape, generator=generator, device=generator.device).to(device)
    radius = uniform((len(images), 1, 1, 1), generator, device) ** (1 / math.prod(shape[1:]))
    return radius * ascent_direction(normal, norm)


def _displaced(images: Tensor, offset: Tensor) -> Tensor:
    """Return ``images + offset`` in float32 and [0, 1], rounded towards ``images``.

    Rounding to the nearest float32 would end outside the ball for about every second pixel.
    """
    moved = (images.double() + offset).float()
    too_far = (moved.double() - images.double()).abs() > offset.abs()
    return torch.where(too_far, torch.nextafter(moved, images), moved).clamp(0, 1)


def linf_bounds(images: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Return the least and the greatest float32 pixels within ε of the images' and in [0, 1]."""
    offset = torch.full((), epsilon, dtype=torch.float64, device=images.device)
    return _displaced(images, -offset), _displaced(images, offset)


def projection(images: Tensor, epsilon: float, norm: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a function of (points, indices) that moves points into the balls and into [0, 1].

    Each point goes to the nearest point of the ball around the image with its index, then to the
    nearest in [0, 1]; the ball's radius is never exceeded, not even by rounding.
    """
    if norm == "linf":
        lower, upper = linf_bounds(images, epsilon)
        return lambda points, of: points.clamp(lower[of], upper[of])

    radius = epsilon * (1 - 1e-12)  # a margin for rounding the length in float64

    def project(points: Tensor, of: Tensor) -> Tensor:
        offset = points.double() - images[of].double()
        length = torch.linalg.vector_norm(offset, dim=(1, 2, 3), keepdim=True)
        return _displaced(images[of], offset * (radius / length.clamp(min=max(radius, 1e-300))))

    return project


def ascend(
    predict: Predict,
    start: Tensor,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    norm: str,
    steps: int,
    step_size: float,
) -> tuple[Tensor, Tensor]:
    """Return where ``steps`` projected steps up the loss end, and which images were always correct.

    The loss is that of ``logit_gradient``. An image stops at the first point where it is
    misclassified; the start, moved into the ball, is the first point. ``step_size`` is in units of
    the norm; the second value is bool (N,).
    """
    project = projection(images, epsilon, norm)
    correct = torch.ones_like(labels, dtype=torch.bool)
    left = correct.nonzero().flatten()
    points = project(start, left)
    for _ in range(steps):
        logits, gradient = input_gradient(predict, points[left], labels[left])
        withstood = is_correct(logits, labels[left])
        correct[left] = withstood
        left, direction = left[withstood], ascent_direction(gradient[withstood], norm)
        if len(left) == 0:
            return points, correct
        points[left] = project(points[left] + step_size * direction, left)
    correct[left] = is_correct(logits_of(predict, points[left]), labels[left])
    return points, correct
