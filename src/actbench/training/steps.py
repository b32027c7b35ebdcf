"""Training steps of a network, one at a time."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_

from actbench.data.augmentation import Augmentation
from actbench.data.batches import batches
from actbench.models.global_state import seed_torch
from actbench.study.recipe import SCHEDULES
from actbench.study.study import seed_for
from actbench.training.adversarial import Objective
from actbench.training.diagnostics import GradientNorms
from actbench.training.measure import computing_in
from actbench.training.optimizers import make_optimizer
from actbench.training.schedules import rate_factor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import nn

    from actbench.data.images import ImageData
    from actbench.study.study import Study, Trial


class Steps:
    """Takes each step of an epoch when its loss is requested.

    Attributes:
        optimizer: the optimizer, with the trained parameters and its state.
        norms: the mean gradient norms of the epoch's steps so far, before gradients are clipped.
        count: the number of steps of a pass over the training images.
        epochs: the number of passes; the last one is partial if the study says how many steps.
    """

    def __init__(
        self,
        network: nn.Module,
        data: ImageData,
        study: Study,
        trial: Trial,
        undecayed: Iterable[torch.Tensor] = (),
        part: torch.Tensor | None = None,
    ) -> None:
        """Prepare the steps of a trial.

        Args:
            network: the network, trained in place.
            data: the study's images.
            study: the recipe.
            trial: the activation and the seed.
            undecayed: the parameters of activations, which get no weight decay: decay towards 0
                would change the function that is compared.
            part: which training images are used, int64 (N,); all of them unless given.
        """
        self.norms = GradientNorms(network)
        self._network, self._data, self._trial, self._part = network, data, trial, part
        self._size, self._precision = study.batch_size, study.precision
        self._native = study.kernels == "native"
        self._images = len(data.train_images if part is None else part)
        self.count = math.ceil(self._images / study.batch_size)
        self._total = study.steps or study.epochs * self.count
        self.epochs = math.ceil(self._total / self.count)
        self._rate, self._schedule = (
            study.learning_rate_of(trial.activation),
            SCHEDULES.resolve(study.schedule),
        )
        self.optimizer = make_optimizer(
            study.optimizer,
            network.parameters(),
            learning_rate=self._rate,
            weight_decay=study.weight_decay_of(trial.activation),
            undecayed=_undecayed(network, undecayed, study.decay),
        )
        self._clip = study.clip_gradients
        mean = [mean for mean, _ in study.pixel_statistics] or (0.5, 0.5, 0.5)
        self._augmentation = Augmentation(study.augment, flip=data.flip, mean=mean)
        self._objective = Objective(study.train_against, study.label_smoothing)

    def count_in(self, epoch: int) -> int:
        """Return the number of steps of an epoch, from 1."""
        return min(self.count, self._total - (epoch - 1) * self.count)

    def size_of(self, step: int) -> int:
        """Return the number of images of an epoch's step, from 1."""
        return min(self._size, self._images - (step - 1) * self._size)

    def begin(self, epoch: int) -> Iterator[float]:
        """Yield the loss of each step of an epoch, before the step changes the weights."""
        self._begin_epoch(epoch)
        taken = batches(
            self._data,
            self._size,
            self._trial.seed,
            epoch,
            self._augmentation,
            self._part,
            native=self._native,
        )
        for step, (images, labels) in zip(range(self.count_in(epoch)), taken, strict=False):
            self.optimizer.learning_rate = self._rate_at(epoch, step)
            loss = self._loss(images, labels, self._generator(images.device, epoch, step))
            yield loss.item()
            self._update(loss)

    def _begin_epoch(self, epoch: int) -> None:
        seed_generators("layers", self._trial.seed, epoch)
        self._network.train()
        self.norms.reset()

    def _rate_at(self, epoch: int, step: int) -> float:
        """Return the learning rate of a step, from 0, of an epoch."""
        done = (epoch - 1) * self.count + step
        return self._rate * rate_factor(self._schedule, done, self._total)

    def _generator(self, device: torch.device, epoch: int, step: int) -> torch.Generator | None:
        """Return the generator of a step's adversary; None if it draws nothing."""
        if not self._objective.draws:
            return None
        seed = seed_for("adversary", self._trial.seed, epoch, step)
        return torch.Generator(device).manual_seed(seed)

    def _loss(
        self, images: torch.Tensor, labels: torch.Tensor, generator: torch.Generator | None
    ) -> torch.Tensor:
        return self._objective(self._logits, images, labels, generator)

    def _logits(self, images: torch.Tensor) -> torch.Tensor:
        with computing_in(self._precision, images.device):
            logits = self._network(images)
        return logits.float()  # type: ignore[no-any-return]

    def _update(self, loss: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.norms.add_step()
        if self._clip:
            clip_grad_norm_(self.optimizer.parameters, self._clip)
        self.optimizer.step()


def _undecayed(
    network: nn.Module, of_activations: Iterable[torch.Tensor], decay: str
) -> list[torch.Tensor]:
    """Return the parameters without weight decay (``Study.decay``)."""
    found = list(of_activations)
    if decay == "weights":  # those of layers have two or more dimensions, biases and norms one
        found += [parameter for parameter in network.parameters() if parameter.dim() < 2]
    return found


def seed_generators(*context: str | int) -> None:
    """Seed the global generators of torch, NumPy and Python from a named context.

    Layers that draw random numbers (RReLU, dropout, a user's own) use one of these.
    """
    seed = seed_for(*context)
    seed_torch(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - a user's layer may draw from it
    random.seed(seed)
