"""Studies with synthetic values, as frames or as results folders, without training."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from actbench.analysis.frames import Frames
from actbench.store.record import EpochRecord
from actbench.store.result import CorruptionScore, TrialResult
from actbench.store.store import Store
from actbench.store.values import pack_counts
from actbench.study.levels import SEVERITIES
from actbench.study.study import Study, trial_id
from helpers.stored import stored_form

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

IMAGES = 10_000  # in the records of a folder
UNDER_CORRUPTION = 0.1  # how much lower accuracy is then


def made_study(accuracies: Mapping[str, Sequence[float]], **changes: object) -> Study:
    """Return a study of these activations, with one seed per accuracy."""
    (seeds,) = {len(values) for values in accuracies.values()}
    study = {"activations": tuple(accuracies), "seeds": seeds, "epochs": 1}
    study |= {"corruptions": ("gaussian_noise",)}
    return Study(**{**study, **changes})


def made_records(
    accuracies: Mapping[str, Sequence[float]], study: Study, first_norm: float = 1.0
) -> dict[str, TrialResult]:
    """Return a result per trial; ``first_norm`` is the baseline's gradient norm, others' is twice.

    Seeds shift all gradient norms alike, so their paired differences have little spread.
    """
    records = {}
    for trial in study.trials():
        accuracy = accuracies[trial.activation][study.seeds.index(trial.seed)]
        norm = first_norm * (1 if trial.activation == study.baseline else 2) + trial.seed / 1000
        norms = {"first": norm + accuracy / 1000, "last": 2.0}
        name = trial_id(study, trial)
        records[name] = TrialResult(
            trial_id=name,
            activation=trial.activation,
            seed=trial.seed,
            status="ok",
            history=tuple(
                EpochRecord(epoch, 0.5, 0.6, accuracy, norms)
                for epoch in range(1, study.epochs + 1)
            ),
            clean_accuracy=accuracy,
            clean_loss=0.6,
            clean_ece=0.05,
            corruptions=tuple(
                CorruptionScore(corruption, severity, accuracy - UNDER_CORRUPTION, 1.0, 0.1)
                for corruption in study.corruptions
                for severity in SEVERITIES
            ),
            inactive={"act1": 0.25},
            inactive_fraction=0.25,
            clean_correct=pack_counts(np.ones(10, dtype=np.uint8)),
            corrupted_correct=(pack_counts(np.full(10, 5, dtype=np.uint8)),),
        )
    return records


def diverged(record: TrialResult) -> TrialResult:
    """Return the result that the trial would have if its loss had been infinite in epoch 2."""
    return TrialResult(
        trial_id=record.trial_id,
        activation=record.activation,
        seed=record.seed,
        status="diverged",
        reason="loss inf at epoch 2, step 1",
        history=record.history[:1],
    )


def made_frames(
    accuracies: Mapping[str, Sequence[float]], first_norm: float = 1.0, **changes: object
) -> Frames:
    """Return the frames of a study with these clean accuracies: activation → one for each seed."""
    study = made_study(accuracies, **changes)
    return Frames(study, made_records(accuracies, study, first_norm))


def _of_images(record: TrialResult) -> TrialResult:
    """Return the record with accuracies, and matching correct images, of ``IMAGES`` images."""
    clean, *corrupted = (
        round(IMAGES * accuracy)
        for accuracy in (record.clean_accuracy, *(score.accuracy for score in record.corruptions))
    )
    image = np.arange(IMAGES)
    counts = sum(((image < count).astype(np.uint8) for count in corrupted), 0 * image)
    return replace(
        record,
        clean_accuracy=clean / IMAGES,
        corruptions=tuple(
            replace(score, accuracy=count / IMAGES)
            for score, count in zip(record.corruptions, corrupted, strict=True)
        ),
        clean_correct=pack_counts(image < clean),
        corrupted_correct=(pack_counts(counts),),
    )


def made_folder(folder: Path, accuracies: Mapping[str, Sequence[float]], **changes: object) -> Path:
    """Write such a study's records to the folder, and return it."""
    store = Store(folder)
    study = made_study(accuracies, **changes)
    store.open(study).begin()
    for record in made_records(accuracies, study).values():
        store.open(study).write(stored_form(_of_images(record)))
    return folder
