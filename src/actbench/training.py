"""A network, data and the study's recipe → the trained network and its history."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from actbench.data import batches
from actbench.diagnostics import GradientNorms
from actbench.evaluation import computing_in, predict, score
from actbench.optimizer import SGD
from actbench.record import EpochRecord, Progress
from actbench.study import seed_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from actbench.checkpoint import Checkpoint
    from actbench.data import ImageData
    from actbench.study import Study, Trial

STEPS_BETWEEN_REPORTS = 100


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
) -> Training:
    """Train the network in place by SGD with momentum and cross-entropy; return the history.

    The test set is scored after every epoch, for the history alone: nothing is chosen by it. A
    loss that is not finite ends the training within its step. With a checkpoint, training goes on
    after the last epoch that it holds, and writes it after an epoch where it is due: the same bits
    either way, as long as what changes while a network trains is in its ``state_dict``.
    """
    optimizer = SGD(
        network.parameters(),
        learning_rate=study.learning_rate_of(trial.activation),
        momentum=study.momentum,
        weight_decay=study.weight_decay,
    )
    norms = GradientNorms(network)
    steps = math.ceil(len(data.train_images) / study.batch_size)
    flip = data.flip if study.augmentation == "auto" else study.augmentation == "flip"
    history = list(checkpoint.restore(network, optimizer)) if checkpoint else []
    for epoch in range(len(history) + 1, study.epochs + 1):
        seed_generators("layers", trial.seed, epoch)
        network.train()
        norms.reset()
        total = 0.0
        epoch_batches = batches(data, study.batch_size, trial.seed, epoch, flip=flip)
        for step, (images, labels) in enumerate(epoch_batches, start=1):
            with computing_in(study.precision):
                logits = network(images)
            loss = F.cross_entropy(logits.float(), labels)
            value = loss.item()
            if not math.isfinite(value):
                where = f"loss {value} at epoch {epoch}, step {step}"
                return Training(tuple(history), diverged=where)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            norms.add_step()
            optimizer.step()
            total += value * len(labels)
            if step % STEPS_BETWEEN_REPORTS == 0:
                report(Progress(trial, epoch, study.epochs, step, steps, value))
        test = score(predict(network, data.test_images, study.precision), data.test_labels)
        if not math.isfinite(test.loss):
            where = f"test loss {test.loss} at epoch {epoch}, after step {steps}"
            return Training(tuple(history), diverged=where)
        mean_loss = total / len(data.train_images)
        history.append(EpochRecord(epoch, mean_loss, test.loss, test.accuracy, norms.means()))
        if checkpoint and checkpoint.is_due():
            checkpoint.save(network, optimizer, history)
        report(Progress(trial, epoch, study.epochs, steps, steps, value, test.loss, test.accuracy))
    return Training(tuple(history))


def seed_generators(*context: str | int) -> None:
    """Seed the global generators of torch, NumPy and Python from a named context.

    Layers that draw for themselves (RReLU, dropout, a user's own) take one of these.
    """
    seed = seed_for(*context)
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - a user's layer may draw from it
    random.seed(seed)
