"""The record of one trial with one result of each kind, of two test images."""

from __future__ import annotations

import numpy as np

from actbench.store.measured import (
    AttackResult,
    CleanResult,
    CorruptionResult,
    GradientResult,
    SeverityResult,
)
from actbench.store.record import EpochRecord, TrialRecord
from actbench.store.values import pack_counts


def bits(*values: int) -> str:
    """Return counts of some images as a record stores them."""
    return pack_counts(np.array(values, np.uint8))


CLEAN = CleanResult(
    accuracy=0.5,
    loss=1.5,
    ece=0.25,
    correct=bits(1, 0),
    class_correct=(1, 0),
    inactive={"act1": 0.125},
    environment="here",
)
NOISE = CorruptionResult(
    corruption="shot_noise",
    source="",
    severities=tuple(SeverityResult(n, 0.5, 1.5, 0.25, (1, 0)) for n in range(1, 6)),
    correct=bits(5, 0),
)
GRADIENTS = GradientResult(
    images=1,
    zero_gradient_share=0.0,
    non_finite_gradient_share=0.0,
    misleading_gradient_share=1.0,
    large_epsilon_accuracy=0.0,
)
ATTACK = AttackResult(
    attack="fgsm",
    epsilon=0.1,
    images=1,
    norm="linf",
    white_box=True,
    accuracy=1.0,
    correct=bits(1),
    black_box_gain=0.0,
    class_correct=(1, 0),
    class_images=(1, 0),
)
TRAINED = TrialRecord(
    trial_id="relu-seed3-abc",
    activation="relu",
    seed=3,
    status="ok",
    activation_check={"at_zero": 0.0, "monotone": True},
    history=(EpochRecord(1, 2.5, 2.25, 0.1 + 0.2, {"conv1": 1e-300, "fc": 1 / 3}),),
    weights=f"sha256:{'0' * 64}",
    image_size=32,
    class_images=(1, 1),
)
RECORD = TRAINED.with_results([ATTACK, GRADIENTS, NOISE, CLEAN])
