"""One trial: build the network, train it, evaluate it, and say what came out."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import numpy as np

from actbench.activations import check_activation, resolve_activation
from actbench.diagnostics import InactiveUnits, attempt, untrained_note
from actbench.evaluation import (
    attack_scores,
    calibration_error,
    corrupted_test_images,
    input_gradient_norm,
    largest_class_share,
    logit_margin,
    output_warnings,
    predict,
    score,
)
from actbench.global_state import settings_kept
from actbench.models import LAYOUT_NOTE, build_network, takes_contiguous
from actbench.record import CorruptionScore, TrialRecord, pack_counts
from actbench.steps import seed_generators
from actbench.study import SEVERITIES, trial_id
from actbench.training import train

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from actbench.checkpoint import Checkpoint
    from actbench.data import ImageData
    from actbench.record import Progress
    from actbench.study import Study, Trial


def run_trial(
    study: Study,
    trial: Trial,
    data: ImageData,
    report: Callable[[Progress], None],
    checkpoint: Checkpoint | None = None,
    *,
    deferred: bool = False,
) -> Generator[None, None, TrialRecord]:
    """Return the record of one trial; it depends on the study, the trial and the data alone.

    This is a generator, as ``train`` is, and its value is the record.

    Args:
        study: the whole configuration.
        trial: the activation and the seed.
        data: the study's data set, on the device that is to compute.
        report: is called with the progress every 100 steps and after each epoch.
        checkpoint: where the trial's state is kept after each epoch, and taken from.
        deferred: let the device take the steps of an epoch while other trials go on.
    """
    seed_generators("self-check", trial.seed)  # whatever ran before in this process
    factory = resolve_activation(trial.activation)
    check = check_activation(factory)
    with settings_kept():
        network, activation_layers = build_network(
            study.model, factory, len(data.classes), trial.seed, study.init, study.kernels
        )
    network.to(data.train_images.device)
    training = yield from train(
        *(network, data, study, trial, report, checkpoint),
        deferred=deferred,
        undecayed=[p for layer in activation_layers.values() for p in layer.parameters()],
    )
    notes = [LAYOUT_NOTE] if takes_contiguous(network) else []
    trained = TrialRecord(
        trial_id=trial_id(study, trial),
        activation=trial.activation,
        seed=trial.seed,
        status="diverged" if training.diverged else "ok",
        reason=training.diverged,
        activation_check=asdict(check),
        history=training.history,
        kernels=study.kernels,
        notes=tuple(notes),
        largest_class_share=largest_class_share(data.test_labels),
    )
    if training.diverged:
        return trained

    seed_generators("evaluation", trial.seed)  # whether training was resumed or not
    with InactiveUnits(network, activation_layers) as inactive:
        logits = predict(network, data.test_images, study.precision)
    clean = score(logits, data.test_labels)
    corruptions = []
    counts = np.zeros(len(data.test_labels), dtype=np.uint8)
    for name in study.corruptions:
        for severity in SEVERITIES:
            images = corrupted_test_images(data, name, severity, study.cifar10c)
            corrupted = predict(network, images, study.precision)
            scores = score(corrupted, data.test_labels)
            ece = calibration_error(corrupted, data.test_labels)
            corruptions.append(CorruptionScore(name, severity, scores.accuracy, scores.loss, ece))
            counts += scores.correct.cpu().numpy()
    notes += [*inactive.notes(), *untrained_note(e.grad_norms for e in training.history)]
    warnings = output_warnings(network, data.test_images, logits, study.precision)
    attacked = None
    if study.attacks:
        attacked = attempt(
            "accuracy under attack", lambda: attack_scores(network, data, study), notes
        )
    attacks, masking = attacked or ((), None)
    images, labels = data.test_images, data.test_labels
    gradient_norm = attempt(
        "the input gradient norm",
        lambda: input_gradient_norm(network, images, labels, study.precision),
        notes,
    )
    return replace(
        trained,
        clean_accuracy=clean.accuracy,
        clean_loss=clean.loss,
        clean_ece=calibration_error(logits, data.test_labels),
        corruptions=tuple(corruptions),
        logit_margin=logit_margin(logits, data.test_labels),
        input_gradient_norm=gradient_norm,
        inactive=inactive.fractions(),
        inactive_fraction=inactive.fraction(),
        clean_correct=pack_counts(clean.correct.cpu().numpy()),
        corrupted_correct=pack_counts(counts),
        attacks=attacks,
        masking=masking,
        notes=tuple(notes),
        output_warnings=warnings,
    )
