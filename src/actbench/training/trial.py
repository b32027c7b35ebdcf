"""One trial: build the network, train it, measure it."""

from __future__ import annotations

import math
import traceback
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import torch

from actbench.errors import ResultsFolderError, UnavailableError, encodable, in_a_line
from actbench.models.activations import check_activation, resolve_activation
from actbench.models.build import build_network, build_notes
from actbench.models.global_state import keep_working_folder, settings_kept
from actbench.models.normalisation import normalise_inputs
from actbench.store.measured import failed
from actbench.store.record import TrialRecord
from actbench.store.weights import (
    DamagedWeightsError,
    UnusableWeightsError,
    checksum_of,
    weights_content,
)
from actbench.study.study import trial_id
from actbench.training.deferred import DeferredSteps
from actbench.training.diagnostics import untrained_note
from actbench.training.events import Measuring, Note, Progress, Updated
from actbench.training.measure import predict, score
from actbench.training.measurements import Subject, by_class, measure
from actbench.training.steps import Steps, seed_generators
from actbench.training.validation import Validation

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from torch import nn

    from actbench.data.images import ImageData
    from actbench.store.checkpoint import Checkpoint
    from actbench.store.record import EpochRecord
    from actbench.store.weights import Weights
    from actbench.study.study import Study, Trial
    from actbench.training.events import TrialEvent


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
    on_event: Callable[[Progress], None],
    checkpoint: Checkpoint | None = None,
    *,
    deferred: bool = False,
    undecayed: Iterable[torch.Tensor] = (),
) -> Generator[None, None, Training]:
    """Train the network in place by the study's recipe; return the history.

    The test images, or the held-out part of the training images if the study has one, are scored
    after every epoch. Nothing is selected by the test images; with ``select`` ``best``, the network
    ends with its weights after the best epoch on the held-out ones. A loss that is not finite ends
    the training at its step. With a checkpoint, training resumes after the last epoch in it, and
    writes it after each epoch for which it is due. The resulting bits are the same, provided that
    everything that changes during training is in the ``state_dict``.

    This is a generator: it yields once in every epoch, so that other trials can run in the same
    process, and its value is the training (see ``run_to_end``). With ``deferred``, the epoch's
    steps are then queued on the device already, and a loss that is not finite ends the training
    after them. Weight decay leaves out the parameters in ``undecayed``.
    """
    validation = Validation(network.state_dict(), data, study, trial.seed)
    kind = DeferredSteps if deferred else Steps
    steps = kind(network, data, study, trial, undecayed, validation.part)
    history: list[EpochRecord] = []
    state = [*steps.optimizer.state, *validation.best]
    if checkpoint:
        history += checkpoint.restore(network.state_dict(), state, steps.epochs)
    for epoch in range(len(history) + 1, steps.epochs + 1):
        losses, count = steps.begin(epoch), steps.count_in(epoch)
        yield
        total, images = 0.0, 0
        for step, value in enumerate(losses, start=1):
            if not math.isfinite(value):
                where = f"loss {value} at epoch {epoch}, step {step}"
                return Training(tuple(history), diverged=where)
            size = steps.size_of(step)
            total, images = total + value * size, images + size
            if step % STEPS_BETWEEN_REPORTS == 0:
                on_event(Progress(trial, epoch, steps.epochs, step, count, value))
        scores = score(predict(network, validation.images, study.precision), validation.labels)
        if not math.isfinite(scores.loss):
            where = f"{validation.name} loss {scores.loss} at epoch {epoch}, after step {count}"
            return Training(tuple(history), diverged=where)
        norms = steps.norms.means(count)
        history.append(validation.record(epoch, total / images, scores, norms))
        validation.add_epoch(network.state_dict(), history)
        if checkpoint and checkpoint.is_due():
            checkpoint.save(network.state_dict(), state, history)
        now = (epoch, steps.epochs, count, count)
        on_event(Progress(trial, *now, value, scores.loss, scores.accuracy, validation.name))
    validation.select(network.state_dict())
    return Training(tuple(history))


def run_to_end(generator: Generator[None, None, T]) -> T:
    """Run a generator to its end and return its value."""
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def trial_network(
    study: Study, trial: Trial, classes: int, image_size: int
) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Return a trial's network with its initial weights, and its activation layers by name."""
    factory = resolve_activation(trial.activation)
    with settings_kept():
        network, layers = build_network(
            study.model,
            factory,
            classes,
            trial.seed,
            study.init,
            study.kernels,
            image_size=image_size,
        )
    if study.normalise == "dataset":
        normalise_inputs(network, study.pixel_statistics)
    return network, layers


def run_trial(
    study: Study,
    trial: Trial,
    data: ImageData,
    on_event: Callable[[TrialEvent], None],
    checkpoint: Checkpoint | None = None,
    *,
    weights: Weights | None = None,
    stored: TrialRecord | None = None,
    environment: str = "",
    deferred: bool = False,
) -> Generator[None, None, TrialRecord]:
    """Train one trial unless that is done, measure what is missing, and return its record.

    The record depends on the study, the trial and the data only. This is a generator, as ``train``
    is: it yields after training and after each measurement as well.

    Args:
        study: the complete configuration.
        trial: the activation and the seed.
        data: the study's data set, on the device that computes.
        on_event: called with the progress every 100 steps and after each epoch, before each
            measurement, and with the record after training and after each measurement but the last.
        checkpoint: stores the trial's state after each epoch, and restores it.
        weights: stores the trained weights. Without it they are not stored.
        stored: the record of the trained trial. If its weights cannot be used, the trial is trained
            again; its results are kept if that gives the same weights.
        environment: the id of this process's environment.
        deferred: queue the steps of an epoch on the device, so that other trials can run meanwhile.
    """
    seed_generators("self-check", trial.seed)  # independent of what ran before in this process
    check = check_activation(resolve_activation(trial.activation))
    network, activation_layers = trial_network(study, trial, len(data.classes), data.image_size)
    network.to(data.train_images.device)
    keep_working_folder(network)
    if stored is not None and _restored(network, stored, weights, on_event):
        record = stored
    else:
        training = yield from train(
            network,
            data,
            study,
            trial,
            on_event,
            checkpoint,
            deferred=deferred,
            undecayed=[p for layer in activation_layers.values() for p in layer.parameters()],
        )
        notes = build_notes(network)
        record = TrialRecord(
            trial_id=trial_id(study, trial),
            activation=trial.activation,
            seed=trial.seed,
            status="diverged" if training.diverged else "ok",
            reason=training.diverged,
            activation_check=asdict(check),
            history=training.history,
            kernels=study.kernels,
            environment=environment,
            notes=tuple(notes),
            image_size=data.image_size,
            class_images=by_class(data.test_labels, len(data.classes)),
        )
        if training.diverged:
            return record if stored is None else stored.given_up(study, training.diverged)
        record = _with_weights(record, network, weights)
        if stored is not None:
            record = _with_stored_results(record, stored, on_event)
        on_event(Updated(record))
        yield
    subject = Subject(network, len(data.classes), study.precision, activation_layers)
    return (yield from _measured(subject, data, study, record, on_event, environment))


def _restored(
    network: nn.Module,
    stored: TrialRecord,
    weights: Weights | None,
    on_event: Callable[[TrialEvent], None],
) -> bool:
    """Copy a trial's stored weights into its network; return whether that was possible."""
    try:
        if weights is None:
            raise UnusableWeightsError("its weights cannot be read here")
        state, here = weights.load(stored.weights), network.state_dict()
        if {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in here.items()}:
            raise UnusableWeightsError("its weights do not fit its network")
        network.load_state_dict(state)
    except DamagedWeightsError as error:
        renamed = weights.mark_corrupt() if weights is not None else None
        on_event(Note(f"{stored.trial}: {error}, renamed to {renamed}; it is trained again"))
        return False
    except UnusableWeightsError as error:
        on_event(Note(f"{stored.trial}: {error}; it is trained again"))
        return False
    return True


def _with_weights(record: TrialRecord, network: nn.Module, weights: Weights | None) -> TrialRecord:
    """Store a network's weights and return the record with their checksum and further notes."""
    notes = [*record.notes, *untrained_note(epoch.grad_norms for epoch in record.history)]
    content = weights_content(network.state_dict())
    if content is None:
        notes.append("its weights are not stored, as its state is not of plain tensors only")
        return replace(record, notes=tuple(notes))
    if weights is not None:
        weights.save(content)
    return replace(record, notes=tuple(notes), weights=checksum_of(content))


def _with_stored_results(
    record: TrialRecord, stored: TrialRecord, on_event: Callable[[TrialEvent], None]
) -> TrialRecord:
    """Return the record of a trial that was trained again, with the results of the same weights."""
    if (record.weights, record.history) == (stored.weights, stored.history):
        return record.with_results(stored.results.values())
    if stored.results:
        on_event(
            Note(
                f"{record.trial}: training gave other weights than those that were measured, as "
                "it may in another environment; it is measured again"
            )
        )
    return record


def _measured(
    subject: Subject,
    data: ImageData,
    study: Study,
    record: TrialRecord,
    on_event: Callable[[TrialEvent], None],
    environment: str,
) -> Generator[None, None, TrialRecord]:
    """Measure what a record lacks and return the complete one; a measurement may fail on its own.

    Each measurement begins with the trained state, so that none depends on another.
    """
    trained = {
        name: value.clone()
        for name, value in subject.network.state_dict().items()
        if isinstance(value, torch.Tensor)
    }
    missing = record.missing(study)
    for number, measurement in enumerate(missing, start=1):
        on_event(Measuring(record.trial, str(measurement), number, len(missing)))
        try:
            with torch.no_grad():
                state = subject.network.state_dict()  # anew: a forward may replace a buffer
                for name, value in trained.items():
                    state[name].copy_(value)
            result = replace(
                measure(subject, data, study, record.seed, measurement), environment=environment
            )
        except (ResultsFolderError, UnavailableError, torch.OutOfMemoryError):
            raise
        except (Exception, SystemExit) as error:  # user code may raise anything
            trace = encodable(traceback.format_exc())
            result = failed(measurement, in_a_line(error), trace, environment)
        record = record.with_results([result])
        if number < len(missing):
            on_event(Updated(record))
            yield
    return record
