"""Signs that robust accuracy is high because attacks failed, not because the network is robust.

A gradient that vanishes, overflows or misleads leaves a gradient attack without a direction, and
the accuracy under it high. The checks are those of Athalye, Carlini and Wagner 2018
(arXiv:1802.00420, section 3.1) and Carlini et al. 2019 (arXiv:1902.06705).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from actbench.attacks.base import BATCH_SIZE
from actbench.attacks.gradient import PGD
from actbench.attacks.perturbations import (
    ascent_direction,
    batches,
    input_gradient,
    is_correct,
    logit_gradient,
    logits_of,
)
from actbench.store.measured import GradientResult
from actbench.store.result import LARGE_EPSILON

if TYPE_CHECKING:
    from torch import Tensor

    from actbench.attacks.perturbations import Predict

SMALL_STEP = 1 / 255


def masking_checks(predict: Predict, images: Tensor, labels: Tensor) -> GradientResult:
    """Return the checks for masked gradients of a trained network; draws no random numbers.

    A further sign, black-box attacks that break more than white-box ones, follows from the results
    of the attacks (``analysis.trial_results``).

    A gradient misleads if one step of ``SMALL_STEP`` along its signs does not lower the label's
    margins over the other classes, weighted as the gradient weighs them: to first order it must.
    PGD at ``LARGE_EPSILON`` starts at the image: noise that large misleads a network without any
    gradient, and would hide a gradient that does not.

    Args:
        predict: maps images to logits.
        images: float32 (N, C, H, W) in [0, 1], those that were attacked.
        labels: int64 (N,).
    """
    zero, non_finite, misleading = [], [], []
    for some in batches(torch.ones_like(labels), BATCH_SIZE):
        logits, gradient = input_gradient(predict, images[some], labels[some])
        zero.append((gradient == 0).flatten(1).all(1))
        non_finite.append(~gradient.isfinite().flatten(1).all(1))
        stepped = (images[some] + SMALL_STEP * ascent_direction(gradient, "linf")).clamp(0, 1)
        moved = (stepped != images[some]).flatten(1).any(1)
        change = logits_of(predict, stepped).double() - logits.double()
        rise = (logit_gradient(logits, labels[some]) * change).sum(1)
        misleading.append(is_correct(logits, labels[some]) & moved & ~(rise > 0))
    pgd = PGD(steps=10, random_start=False)
    large = pgd(predict, images, labels, LARGE_EPSILON, pgd.generator(LARGE_EPSILON))
    return GradientResult(
        images=len(images),
        zero_gradient_share=float(torch.cat(zero).double().mean()),
        non_finite_gradient_share=float(torch.cat(non_finite).double().mean()),
        misleading_gradient_share=float(torch.cat(misleading).double().mean()),
        large_epsilon_accuracy=large.accuracy,
    )
