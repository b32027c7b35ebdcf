"""Frames of synthetic studies, without training."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from actbench.analysis.frames import Frames
from actbench.store.record import EpochRecord
from actbench.store.result import AttackScore, CorruptionScore, MaskingChecks, TrialResult
from actbench.store.store import Store
from actbench.store.values import pack_counts
from actbench.study.levels import SEVERITIES, severities
from actbench.study.study import Study, Trial, trial_id
from helpers.stored import stored_form

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

LAYERS = ("conv1", "conv2", "fc")
IMAGES = 50  # attacked
TEST_IMAGES = 10_000


def synthetic_records(
    study: Study,
    *,
    failed: dict[tuple[str, int], str] | None = None,
    layers: tuple[str, ...] = LAYERS,
) -> dict[str, TrialResult]:
    """Return the result of every trial; ``failed`` gives some a status and no values."""
    records = {}
    for trial in study.trials():
        status = (failed or {}).get((trial.activation, trial.seed), "ok")
        record = _record(study, trial, layers)
        if status != "ok":
            record = TrialResult(
                trial_id=record.trial_id,
                activation=trial.activation,
                seed=trial.seed,
                status=status,
                reason="the loss was not finite at step 3 <of epoch 1>",
                history=record.history[:1],
            )
        records[record.trial_id] = record
    return records


def synthetic_frames(study: Study, **options: Any) -> Frames:
    return Frames(study, synthetic_records(study, **options))


def _record(study: Study, trial: Trial, layers: tuple[str, ...]) -> TrialResult:
    draw = np.random.default_rng([trial.seed, zlib.crc32(trial.activation.encode())])
    clean = round(TEST_IMAGES * (float(draw.uniform(0.7, 0.8)) + 0.001 * (trial.seed % 100)))
    accuracy = clean / TEST_IMAGES
    corrupted = {severity: clean - 200 * severity for severity in SEVERITIES}  # correct images
    history = tuple(
        EpochRecord(
            epoch,
            train_loss=2.3 / epoch,
            test_loss=2.5 / epoch,
            test_accuracy=accuracy * epoch / study.epochs,
            grad_norms={
                layer: float(10.0 ** (i - draw.uniform())) for i, layer in enumerate(layers)
            },
        )
        for epoch in range(1, study.epochs + 1)
    )
    levels = [(name, severity) for name in study.corruptions for severity in severities(name)]
    scores = tuple(
        CorruptionScore(name, severity, corrupted[severity] / TEST_IMAGES, 1.0, 0.1)
        for name, severity in levels
    )
    attacks = tuple(
        AttackScore(attack, epsilon, accuracy * (1 - epsilon) ** 20)
        for attack in study.attacks
        for epsilon in study.epsilons
    )
    rank = draw.permutation(TEST_IMAGES)
    counts = {
        name: sum((rank < corrupted[severity]).astype(np.uint8) for severity in severities(name))
        for name in study.corruptions
    }
    return TrialResult(
        trial_id=trial_id(study, trial),
        activation=trial.activation,
        seed=trial.seed,
        status="ok",
        history=history,
        clean_accuracy=accuracy,
        clean_loss=0.8,
        clean_ece=0.05,
        corruptions=scores,
        inactive={"act1.activation": 0.0, "act2": float(draw.uniform(0, 0.4))},
        inactive_fraction=float(draw.uniform(0, 0.3)),
        clean_correct=pack_counts(rank < clean),
        corrupted_correct=tuple(map(pack_counts, counts.values())),
        attacks=attacks,
        masking=MaskingChecks(IMAGES, 10, 0.0, 0.0, (), 0.0, 0.0) if attacks else None,
    )


def synthetic_store(folder: Path, study: Study, **options: Any) -> Store:
    """Write the records of every trial to a results folder, and return its store."""
    store = Store(folder)
    stored = store.open(study)
    stored.begin()
    for record in synthetic_records(study, **options).values():
        stored.write(stored_form(record))
    return store


def synthetic_samples(corruptions: tuple[str, ...]) -> dict[tuple[str, int], NDArray[np.uint8]]:
    """Return noise in place of one image under each corruption and severity from 0 to 5."""
    draw = np.random.default_rng(0)
    return {
        (name, level): draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        for name in corruptions
        for level in range(6)
    }
