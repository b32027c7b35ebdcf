"""A network, data and the study's recipe → the trained network and its history."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from actbench.evaluation import predict, score
from actbench.record import EpochRecord, Progress
from actbench.steps import DeferredSteps, Steps

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    import torch
    from torch import nn

    from actbench.checkpoint import Checkpoint
    from actbench.data import ImageData
    from actbench.study import Study, Trial

STEPS_BETWEEN_REPORTS = 100
T = TypeVar("T")


@dataclass(frozen=True)
class Training:
    """What training gave: one record an epoch, and where the loss stopped being finite, if so."""

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

    The test set is scored after every epoch, for the history alone: nothing is chosen by it. A
    loss that is not finite ends the training within its step. With a checkpoint, training goes on
    after the last epoch that it holds, and writes it after an epoch where it is due: the same bits
    either way, as long as what changes while a network trains is in its ``state_dict``.

    This is a generator: it yields in every epoch, where other trials may go on in the same process,
    and its value is the training (see ``finish``). With ``deferred``, the epoch's steps are then
    under way on the device already, and a loss that is not finite ends the training after them.
    Weight decay leaves out the parameters in ``undecayed``.
    """
    steps = (DeferredSteps if deferred else Steps)(network, data, study, trial, undecayed)
    history = list(checkpoint.restore(network, steps.optimizer, study.epochs)) if checkpoint else []
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
            checkpoint.save(network, steps.optimizer, history)
        now = (epoch, study.epochs, steps.count, steps.count)
        report(Progress(trial, *now, value, test.loss, test.accuracy))
    return Training(tuple(history))


def finish(stretches: Generator[None, None, T]) -> T:
    """Return the value of a generator that is taken to its end without a pause."""
    while True:
        try:
            next(stretches)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
