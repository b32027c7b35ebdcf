"""Stored records → data frames of what was measured, without any statistics.

In every table the rows follow the order of the records.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from actbench.analysis.paired import ROUNDING
from actbench.store.record_files import gc_paused
from actbench.store.values import unpack_counts
from actbench.study.levels import level_labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from actbench.store.result import TrialResult

    Records = Sequence[TrialResult]

TRIAL_COLUMNS = (
    "activation",
    "seed",
    "status",
    "epochs",
    "train_loss",
    "clean_accuracy",
    "clean_loss",
    "clean_ece",
    "corrupted_accuracy",
    "accuracy_drop",
    "grad_norm_first",
    "grad_norm_last",
    "grad_norm_ratio",
    "inactive_fraction",
    "logit_margin",
    "input_gradient_norm",
    "reason",
    "flag",
)
_NOT_FLOATS = {
    "activation",
    "seed",
    "status",
    "epochs",
    "reason",
    "flag",
    "corruption",
    "severity",
    "level",
    "epoch",
    "layer",
    "attack",
    "warning",
}


def trial_key(record: TrialResult) -> tuple[str, int]:
    """Return the record's activation and seed."""
    return record.activation, record.seed


def masking_signs(record: TrialResult) -> tuple[str, ...]:
    """Return the signs that the trial's gradients are masked; empty if it was not attacked."""
    return (*record.masking.warnings, *record.output_warnings) if record.masking else ()


def correct_images(record: TrialResult) -> NDArray[np.uint8]:
    """Return 1 for each test image classified correctly, else 0; empty if not stored."""
    packed = record.clean_correct
    return unpack_counts(packed) if packed else np.zeros(0, dtype=np.uint8)


def correct_versions(result: TrialResult, metric: str, versions: int) -> NDArray[np.int64] | None:
    """Return under how many versions each test image was classified correctly.

    None if the trial has not a result in each of the ``versions``.
    """
    if metric == "clean_accuracy":
        parts: tuple[str, ...] = (result.clean_correct,) if result.clean_correct else ()
    else:
        parts = result.corrupted_correct if len(result.corruptions) == versions else ()
    counts = [unpack_counts(part).astype(np.int64) for part in parts]
    return np.sum(counts, axis=0) if counts else None


def scores_by_trial(
    records: Records, metric: str, versions: int
) -> dict[tuple[str, int], NDArray[np.int64]]:
    """Return ``correct_versions`` by (activation, seed), of the trials that have them."""
    found = {trial_key(r): correct_versions(r, metric, versions) for r in records}
    return {trial: counts for trial, counts in found.items() if counts is not None}


def identical_activations(records: Records, baseline: str) -> dict[str, int]:
    """Return the activations whose results are the baseline's to the last bit, with their pairs.

    A pair is a seed with which both trials have a result; in all of them all results are equal.
    """
    ok = [record for record in records if record.status == "ok"]
    theirs = {record.seed: record for record in ok if record.activation == baseline}
    equal: dict[str, list[bool]] = {}
    for record in ok:
        if record.activation != baseline and record.seed in theirs:
            same = _without_names(record) == _without_names(theirs[record.seed])
            equal.setdefault(record.activation, []).append(same)
    return {activation: len(pairs) for activation, pairs in equal.items() if all(pairs)}


def _without_names(record: TrialResult) -> TrialResult:
    """Return the record without what differs between activations that compute the same."""
    return dataclasses.replace(
        record, trial_id="", activation="", activation_check={}, kernels="", notes=()
    )


def trials_table(records: Records, scores: int) -> pd.DataFrame:
    """Return a row per trial with ``TRIAL_COLUMNS``, ``flag`` empty.

    ``corrupted_accuracy`` is NaN unless the record has all ``scores`` corruptions × severities.
    """
    return _table(TRIAL_COLUMNS, (_trial_row(record, scores) for record in records))


def corruptions_table(records: Records) -> pd.DataFrame:
    """Return a row per trial × corruption × severity: accuracy, loss, calibration error.

    ``level`` says what the severity is, such as ``severity 1`` or ``σ = 0.1``.
    """
    labels = functools.cache(level_labels)
    return _table(
        ("activation", "seed", "corruption", "severity", "accuracy", "loss", "ece", "level"),
        (
            (
                *trial_key(r),
                s.corruption,
                s.severity,
                s.accuracy,
                s.loss,
                s.ece,
                labels(s.corruption)[s.severity - 1],
            )
            for r in records
            for s in r.corruptions
        ),
    )


def epochs_table(records: Records) -> pd.DataFrame:
    """Return a row per trial × epoch: training loss, and the scores on test or held-out images."""
    scores = ("train_loss", "test_loss", "test_accuracy", "validation_loss", "validation_accuracy")
    return _table(
        ("activation", "seed", "epoch", *scores),
        (
            (*trial_key(r), e.epoch, *(_number(getattr(e, name)) for name in scores))
            for r in records
            for e in r.history
        ),
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def gradients_table(records: Records) -> pd.DataFrame:
    """Return a row per trial × epoch × layer: the mean gradient norm."""
    return _table(
        ("activation", "seed", "epoch", "layer", "grad_norm"),
        (
            (*trial_key(r), e.epoch, layer, norm)
            for r in records
            for e in r.history
            for layer, norm in e.grad_norms.items()
        ),
    )


def inactive_table(records: Records) -> pd.DataFrame:
    """Return a row per trial × activation layer: the share of inactive units."""
    return _table(
        ("activation", "seed", "layer", "inactive_fraction"),
        ((*trial_key(r), layer, share) for r in records for layer, share in r.inactive.items()),
    )


def attacks_table(records: Records) -> pd.DataFrame:
    """Return a row per trial × attack × ε: accuracy, and the signs of masked gradients."""
    return _table(
        ("activation", "seed", "attack", "epsilon", "accuracy", "warning"),
        (
            (*trial_key(r), s.attack, s.epsilon, s.accuracy, "; ".join(masking_signs(r)))
            for r in records
            for s in r.attacks
        ),
    )


def unattacked_table(records: Records, count: int | None) -> pd.DataFrame:
    """Return a row per attacked trial: its accuracy on the first ``count`` images, unchanged."""
    return _table(
        ("activation", "seed", "accuracy"),
        (
            (*trial_key(r), correct_images(r)[:count].mean())
            for r in records
            if r.attacks and r.clean_correct
        ),
    )


@gc_paused()
def _table(columns: tuple[str, ...], rows: Iterable[object]) -> pd.DataFrame:
    frame = pd.DataFrame(list(rows), columns=list(columns))
    # a column with None among its numbers, or without rows, would have the dtype object
    return frame.astype({name: "float64" for name in columns if name not in _NOT_FLOATS})


def _trial_row(record: TrialResult, scores: int) -> dict[str, object]:
    row: dict[str, object] = {
        "activation": record.activation,
        "seed": record.seed,
        "status": record.status,
        "epochs": len(record.history),
        "clean_accuracy": record.clean_accuracy,
        "clean_loss": record.clean_loss,
        "clean_ece": record.clean_ece,
        "inactive_fraction": record.inactive_fraction,
        "logit_margin": record.logit_margin,
        "input_gradient_norm": record.input_gradient_norm,
        "reason": record.reason,
        "flag": "",
    }
    if record.status == "ok" and record.history:
        last = record.history[-1]
        norms = list(last.grad_norms.values())
        row["train_loss"] = last.train_loss
        if norms:
            row["grad_norm_first"], row["grad_norm_last"] = norms[0], norms[-1]
            row["grad_norm_ratio"] = norms[0] / norms[-1] if norms[-1] else math.nan
    complete = record.status == "ok" and len(record.corruptions) == scores > 0
    if complete and record.clean_accuracy is not None:
        corrupted = math.fsum(s.accuracy for s in record.corruptions) / scores
        row["corrupted_accuracy"] = corrupted
        drop = record.clean_accuracy - corrupted
        row["accuracy_drop"] = drop if abs(drop) > ROUNDING else 0.0
    return row
