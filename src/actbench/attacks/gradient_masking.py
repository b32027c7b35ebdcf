"""Signs that robust accuracy is high because attacks failed, not because the network is robust.

A gradient that vanishes, overflows or misleads leaves a gradient attack without a direction, and
the accuracy under it high. The checks are those of Athalye, Carlini and Wagner 2018
(arXiv:1802.00420, section 3.1) and Carlini et al. 2019 (arXiv:1902.06705).
"""

from __future__ import annotations

import math
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
from actbench.attacks.registry import resolve
from actbench.store.record import LARGE_EPSILON, MaskingChecks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from actbench.attacks.perturbations import Predict

ALLOWED_STANDARD_ERRORS = 3
SMALL_STEP = 1 / 255


def masking_checks(
    predict: Predict,
    images: Tensor,
    labels: Tensor,
    robust_masks: Mapping[tuple[str, float], Tensor],
    batch_size: int = BATCH_SIZE,
) -> MaskingChecks:
    """Return the checks for masked gradients of a trained network; draws no random numbers.

    A gradient misleads if one step of ``SMALL_STEP`` along its signs does not lower the label's
    margins over the other classes, weighted as the gradient weighs them: to first order it must.
    PGD at ``LARGE_EPSILON`` starts at the image: noise that large misleads a network without any
    gradient, and would hide a gradient that does not.

    Args:
        predict: maps images to logits.
        images: float32 (N, C, H, W) in [0, 1], those that were attacked.
        labels: int64 (N,).
        robust_masks: for each (attack spec, ε) that was run, ``Attacked.correct`` on these images.
            The excess needs a white-box and a black-box attack in the same norm at the same ε.
        batch_size: the number of images per call of ``predict``.

    Raises:
        UsageError: a key of ``robust_masks`` is not an attack.
    """
    zero, non_finite, misleading = [], [], []
    for some in batches(torch.ones_like(labels), batch_size):
        logits, gradient = input_gradient(predict, images[some], labels[some])
        zero.append((gradient == 0).flatten(1).all(1))
        non_finite.append(~gradient.isfinite().flatten(1).all(1))
        stepped = (images[some] + SMALL_STEP * ascent_direction(gradient, "linf")).clamp(0, 1)
        moved = (stepped != images[some]).flatten(1).any(1)
        change = logits_of(predict, stepped).double() - logits.double()
        rise = (logit_gradient(logits, labels[some]) * change).sum(1)
        misleading.append(is_correct(logits, labels[some]) & moved & ~(rise > 0))
    pgd = PGD(steps=10, random_start=False)
    large = pgd(predict, images, labels, LARGE_EPSILON, pgd.generator(LARGE_EPSILON), batch_size)
    return MaskingChecks(
        images=len(images),
        classes=logits_of(predict, images[:1]).shape[1],
        zero_gradient_share=float(torch.cat(zero).double().mean()),
        non_finite_gradient_share=float(torch.cat(non_finite).double().mean()),
        misleading_gradient_share=float(torch.cat(misleading).double().mean()),
        white_box_excess=_white_box_excess(robust_masks),
        large_epsilon_accuracy=large.accuracy,
    )


def _white_box_excess(
    robust_masks: Mapping[tuple[str, float], Tensor],
) -> tuple[tuple[float, float], ...]:
    """Return (ε, excess) where white-box attacks are weaker than black-box ones beyond chance.

    Attacks of equal strength are as likely to be the only one to break an image, so of the m
    images that only one kind breaks, the difference has standard deviation √m at most (McNemar
    1947). Three of these are allowed for: one false alarm in about 700 comparisons.
    """
    left: dict[tuple[str, float], dict[bool, Tensor]] = {}
    for (spec, epsilon), correct in robust_masks.items():
        attack = resolve(spec)
        kinds = left.setdefault((attack.norm, epsilon), {})
        kinds[attack.white_box] = kinds.get(attack.white_box, correct) & correct
    found = []
    for (_, epsilon), kinds in sorted(left.items()):
        if len(kinds) == 2:
            only_black_box_breaks = int((kinds[True] & ~kinds[False]).sum())
            only_white_box_breaks = int((kinds[False] & ~kinds[True]).sum())
            difference = only_black_box_breaks - only_white_box_breaks
            discordant = only_black_box_breaks + only_white_box_breaks
            if difference > ALLOWED_STANDARD_ERRORS * math.sqrt(discordant):
                found.append((epsilon, difference / len(kinds[True])))
    return tuple(found)
