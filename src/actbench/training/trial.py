"""One trial: build the network, train it, measure it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from actbench.corruptions.test_sets import corrupted_test_images
from actbench.models.activations import check_activation, resolve_activation
from actbench.models.build import LAYOUT_NOTE, build_network, takes_contiguous
from actbench.models.global_state import keep_working_folder, settings_kept
from actbench.store.record import CorruptionScore, EpochRecord, TrialRecord, pack_counts
from actbench.study.levels import severities
from actbench.study.study import trial_id
from actbench.training.cuda_graphs import DeferredSteps
from actbench.training.diagnostics import InactiveUnits, attempt, untrained_note
from actbench.training.events import Progress
from actbench.training.measure import (
    attack_scores,
    calibration_error,
    input_gradient_norm,
    largest_class_share,
    logit_margin,
    output_warnings,
    predict,
    score,
)
from actbench.training.steps import Steps, seed_generators

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    import torch
    from torch import nn

    from actbench.data.images import ImageData
    from actbench.store.checkpoint import Checkpoint
    from actbench.study.study import Study, Trial


STEPS_BETWEEN_REPORTS = 100
T = TypeVar("T")


@dataclass(frozen=True)
class Training:
    """The result of training: a record per epoch, and where the loss was not finite, if it was."""

    history: tuple[EpochRecord, ...]
    diverged: str = ""


def train(
    network: nn.Module,
    data: ImageData,
    study: Study,
    trial: Trial,
    report: Callable[[Progress], None],
    checkpoint: Checkpoint | None = None,
    *,
    deferred: bool = False,
    undecayed: Iterable[torch.Tensor] = (),
) -> Generator[None, None, Training]:
    """Train the network in place by SGD with momentum and cross-entropy; return the history.

    The test set is scored after every epoch, for the history only: nothing is selected by it. A
    loss that is not finite ends the training at its step. With a checkpoint, training resumes after
    the last epoch in it, and writes it after each epoch for which it is due. The resulting bits are
    the same, provided that everything that changes during training is in the ``state_dict``.

    This is a generator: it yields once in every epoch, so that other trials can run in the same
    process, and its value is the training (see ``finish``). With ``deferred``, the epoch's steps
    are then queued on the device already, and a loss that is not finite ends the training after
    them. Weight decay leaves out the parameters in ``undecayed``.
    """
    steps = (DeferredSteps if deferred else Steps)(network, data, study, trial, undecayed)
    history: list[EpochRecord] = []
    momenta = steps.optimizer.momenta
    if checkpoint:
        history += checkpoint.restore(network.state_dict(), momenta, study.epochs)
    for epoch in range(len(history) + 1, study.epochs + 1):
        losses = steps.begin(epoch)
        yield
        total, left = 0.0, len(data.train_images)
        for step, value in enumerate(losses, start=1):
            if not math.isfinite(value):
                where = f"loss {value} at epoch {epoch}, step {step}"
                return Training(tuple(history), diverged=where)
            total += value * min(study.batch_size, left)
            left -= study.batch_size
            if step % STEPS_BETWEEN_REPORTS == 0:
                report(Progress(trial, epoch, study.epochs, step, steps.count, value))
        test = score(predict(network, data.test_images, study.precision), data.test_labels)
        if not math.isfinite(test.loss):
            where = f"test loss {test.loss} at epoch {epoch}, after step {steps.count}"
            return Training(tuple(history), diverged=where)
        mean_loss, norms = total / len(data.train_images), steps.norms.means(steps.count)
        history.append(EpochRecord(epoch, mean_loss, test.loss, test.accuracy, norms))
        if checkpoint and checkpoint.is_due():
            checkpoint.save(network.state_dict(), momenta, history)
        now = (epoch, study.epochs, steps.count, steps.count)
        report(Progress(trial, *now, value, test.loss, test.accuracy))
    return Training(tuple(history))


def finish(generator: Generator[None, None, T]) -> T:
    """Run a generator to its end and return its value."""
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def run_trial(
    study: Study,
    trial: Trial,
    data: ImageData,
    report: Callable[[Progress], None],
    checkpoint: Checkpoint | None = None,
    *,
    deferred: bool = False,
) -> Generator[None, None, TrialRecord]:
    """Return the record of one trial; it depends on the study, the trial and the data only.

    This is a generator, as ``train`` is, and its value is the record.

    Args:
        study: the complete configuration.
        trial: the activation and the seed.
        data: the study's data set, on the device that computes.
        report: called with the progress every 100 steps and after each epoch.
        checkpoint: stores the trial's state after each epoch, and restores it.
        deferred: queue the steps of an epoch on the device, so that other trials can run meanwhile.
    """
    seed_generators("self-check", trial.seed)  # independent of what ran before in this process
    factory = resolve_activation(trial.activation)
    check = check_activation(factory)
    with settings_kept():
        network, activation_layers = build_network(
            study.model, factory, len(data.classes), trial.seed, study.init, study.kernels
        )
    network.to(data.train_images.device)
    keep_working_folder(network)
    training = yield from train(
        network,
        data,
        study,
        trial,
        report,
        checkpoint,
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

    seed_generators("evaluation", trial.seed)  # the same whether training was resumed or not
    with InactiveUnits(network, activation_layers) as inactive:
        logits = predict(network, data.test_images, study.precision)
    clean = score(logits, data.test_labels)
    corruptions = []
    counts = np.zeros(len(data.test_labels), dtype=np.uint8)
    for name in study.corruptions:
        for severity in severities(name):
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
