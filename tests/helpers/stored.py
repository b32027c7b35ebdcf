"""Synthetic results as the records that a folder stores."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from actbench.store.measured import (
    AttackResult,
    CleanResult,
    CorruptionResult,
    GradientResult,
    SeverityResult,
)
from actbench.store.record import TrialRecord
from actbench.store.values import pack_counts, unpack_counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actbench.store.result import TrialResult

CLASSES = 10


def stored_form(result: TrialResult, weights: str = "") -> TrialRecord:
    """Return the record of a trial with these results, the test images in ten classes.

    Under corruptions and attacks, the first images are the ones classified correctly.
    """
    trained = TrialRecord(
        trial_id=result.trial_id,
        activation=result.activation,
        seed=result.seed,
        status=result.status,
        reason=result.reason,
        trace=result.trace,
        activation_check=result.activation_check,
        history=result.history,
        kernels=result.kernels,
        environment=result.environment,
        weights=weights,
    )
    if result.status != "ok":
        return trained
    correct = unpack_counts(result.clean_correct)
    images, environment = len(correct), result.environment
    results = [
        CleanResult(
            accuracy=float(correct.mean()),
            loss=result.clean_loss,
            ece=result.clean_ece,
            correct=result.clean_correct,
            class_correct=by_class(correct),
            inactive=result.inactive,
            inactive_fraction=result.inactive_fraction,
            output_warnings=result.output_warnings,
            environment=environment,
        )
    ]
    for name in dict.fromkeys(score.corruption for score in result.corruptions):
        scores = [score for score in result.corruptions if score.corruption == name]
        masks = [first(score.accuracy, images) for score in scores]
        results.append(
            CorruptionResult(
                corruption=name,
                source="",
                severities=tuple(
                    SeverityResult(s.severity, float(m.mean()), s.loss, s.ece, by_class(m))
                    for s, m in zip(scores, masks, strict=True)
                ),
                correct=pack_counts(np.sum(masks, axis=0)),
                environment=environment,
            )
        )
    if result.masking is not None:
        checks, count = result.masking, result.masking.images
        results.append(
            GradientResult(
                images=count,
                zero_gradient_share=checks.zero_gradient_share,
                non_finite_gradient_share=checks.non_finite_gradient_share,
                misleading_gradient_share=checks.misleading_gradient_share,
                large_epsilon_accuracy=checks.large_epsilon_accuracy,
                environment=environment,
            )
        )
        results += [
            AttackResult(
                attack=score.attack,
                epsilon=score.epsilon,
                images=count,
                norm="linf",
                white_box=not score.attack.startswith("square"),
                accuracy=float(mask.mean()),
                correct=pack_counts(mask),
                black_box_gain=0.0,
                class_correct=by_class(mask),
                class_images=by_class(np.ones(count)),
                environment=environment,
            )
            for score in result.attacks
            for mask in [first(score.accuracy, count)]
        ]
    of_these = replace(trained, image_size=32, class_images=by_class(np.ones(images)))
    return of_these.with_results(results)


def first(accuracy: float, images: int) -> np.ndarray:
    """Return which images are classified correctly: the first ones, uint8 (images,)."""
    return (np.arange(images) < round(accuracy * images)).astype(np.uint8)


def by_class(correct: Sequence[int] | np.ndarray) -> tuple[int, ...]:
    """Return the number of correct images by class; image i is of class i modulo ten."""
    mask = np.asarray(correct)
    return tuple(int(mask[label::CLASSES].sum()) for label in range(CLASSES))
