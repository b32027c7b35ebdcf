"""The stored records of a study's trials → their results in the study's measurements."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from actbench.errors import ResultsFolderError
from actbench.store.format1 import open_format1
from actbench.store.measured import AttackResult, CleanResult, CorruptionResult, GradientResult
from actbench.store.result import AttackScore, CorruptionScore, MaskingChecks, TrialResult
from actbench.store.values import unpack_counts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from actbench.store.measured import AnyResult
    from actbench.store.reading import Reading
    from actbench.store.record import TrialRecord
    from actbench.store.store import Store
    from actbench.study.study import Study

ALLOWED_STANDARD_ERRORS = 3
# AutoAttack's own check allows Square Attack to find this share after the gradient attacks.
ALLOWED_GAIN = 0.002


def stored_results(store: Store, study: Study) -> dict[str, TrialResult]:
    """Return the results of the study's trials by trial id, of one trial at least.

    A trial that is trained but not measured on the test images has none.

    Raises:
        ResultsFolderError: there are none, or a record cannot be read.
    """
    if store.is_format1():
        results = open_format1(store, study).records()
    else:
        results = results_in(store, study)
    if not results:
        raise ResultsFolderError(f"{str(store.folder)!r} holds no finished trial of its study")
    return results


def results_in(store: Store, study: Study) -> dict[str, TrialResult]:
    """Return the results of the study's trials by trial id; there may be none.

    Raises:
        ResultsFolderError: a record cannot be read.
    """
    records = store.open(study).records()
    found = {name: result_of(record, study) for name, record in records.items()}
    return {name: result for name, result in found.items() if result is not None}


def stored_files(store: Store, study: Study) -> Reading[TrialRecord] | Reading[TrialResult]:
    """Return the record files of the study, to ask which are damaged or unknown."""
    return open_format1(store, study) if store.is_format1() else store.open(study)


def result_of(record: TrialRecord, study: Study) -> TrialResult | None:
    """Return a trial's results in the measurements of a study, in the study's order.

    Its status is ``crashed`` if the test images or a corruption could not be measured; an attack
    that could not is a note.

    Returns:
        None if it is trained but not yet measured on the test images.
    """
    missing = record.missing(study)
    trained = TrialResult(
        trial_id=record.trial_id,
        activation=record.activation,
        seed=record.seed,
        status=record.status,
        reason=record.reason,
        trace=record.trace,
        activation_check=record.activation_check,
        history=record.history,
        kernels=record.kernels,
        environment=record.environment,
        notes=record.notes,
        missing=len(missing),
    )
    if record.status != "ok":
        return trained
    if record.clean is None:
        return None
    results = [record.results[m] for m in record.planned(study) if m not in set(missing)]
    crash = next((r for r in results if r.failure and _is_needed(r)), None)
    if crash is not None:
        return replace(trained, status="crashed", reason=crash.failure, trace=crash.trace)
    clean = record.clean
    measured = [r for r in results if not r.failure]
    corrupted = [r for r in measured if isinstance(r, CorruptionResult)]
    attacked = [r for r in measured if isinstance(r, AttackResult)]
    checks = next((r for r in measured if isinstance(r, GradientResult)), None)
    images = record.class_images
    return replace(
        trained,
        clean_accuracy=clean.accuracy,
        clean_loss=clean.loss,
        clean_ece=clean.ece,
        corruptions=tuple(
            CorruptionScore(r.corruption, s.severity, s.accuracy, s.loss, s.ece, s.class_correct)
            for r in corrupted
            for s in r.severities
        ),
        logit_margin=clean.logit_margin,
        input_gradient_norm=clean.input_gradient_norm,
        inactive=clean.inactive,
        inactive_fraction=clean.inactive_fraction,
        clean_correct=clean.correct,
        corrupted_correct=tuple(r.correct for r in corrupted),
        attacks=tuple(
            AttackScore(r.attack, r.epsilon, r.accuracy, r.class_correct, r.class_images)
            for r in attacked
            if r.accuracy is not None
        ),
        masking=None if checks is None else masking_of(checks, attacked, len(images)),
        notes=(*record.notes, *clean.notes, *_failure_notes(results)),
        output_warnings=clean.output_warnings,
        largest_class_share=max(images) / sum(images),
        measured_in=tuple(sorted({r.environment for r in results} - {record.environment, ""})),
        class_images=images,
        class_correct=clean.class_correct,
    )


def _is_needed(result: AnyResult) -> bool:
    return isinstance(result, CleanResult | CorruptionResult)


def _failure_notes(results: Iterable[AnyResult]) -> list[str]:
    """Return a sentence for each reason why attacks or their checks could not be measured."""
    reasons = dict.fromkeys(r.failure for r in results if r.failure and not _is_needed(r))
    return [f"accuracy under attack could not be measured ({reason})" for reason in reasons]


def masking_of(
    checks: GradientResult, attacked: Sequence[AttackResult], classes: int
) -> MaskingChecks:
    """Return the checks for masked gradients, with what the results of attacks add to them."""
    return MaskingChecks(
        images=checks.images,
        classes=classes,
        zero_gradient_share=checks.zero_gradient_share or 0.0,
        non_finite_gradient_share=checks.non_finite_gradient_share or 0.0,
        white_box_excess=white_box_excess(attacked),
        large_epsilon_accuracy=checks.large_epsilon_accuracy or 0.0,
        misleading_gradient_share=checks.misleading_gradient_share or 0.0,
    )


def white_box_excess(attacked: Iterable[AttackResult]) -> tuple[tuple[float, float], ...]:
    """Return (ε, excess) where white-box attacks are weaker than black-box ones beyond chance.

    The excess is the difference in accuracy under all white-box and under all black-box attacks in
    the same norm, which needs one of each.

    Attacks of equal strength are as likely to be the only one to break an image, so of the m
    images that only one kind breaks, the difference has standard deviation √m at most (McNemar
    1947). Three of these are allowed for: one false alarm in about 700 comparisons. An ensemble
    shows its black-box attack only what the white-box ones have left, so each image that it breaks
    counts, up to ``ALLOWED_GAIN``.
    """
    left: dict[tuple[str, float], dict[bool, NDArray[np.bool_]]] = {}
    found = []
    for result in attacked:
        if result.white_box and (result.black_box_gain or 0.0) > ALLOWED_GAIN:
            found.append((result.epsilon, result.black_box_gain or 0.0))
        kinds = left.setdefault((result.norm, result.epsilon), {})
        correct, kind = unpack_counts(result.correct) > 0, bool(result.white_box)
        kinds[kind] = kinds[kind] & correct if kind in kinds else correct
    for (_, epsilon), kinds in sorted(left.items(), key=lambda item: item[0]):
        if len(kinds) == 2:
            only_black_box_breaks = int((kinds[True] & ~kinds[False]).sum())
            only_white_box_breaks = int((kinds[False] & ~kinds[True]).sum())
            difference = only_black_box_breaks - only_white_box_breaks
            discordant = only_black_box_breaks + only_white_box_breaks
            if difference > ALLOWED_STANDARD_ERRORS * math.sqrt(discordant):
                found.append((epsilon, difference / len(kinds[True])))
    return tuple(sorted(found))
