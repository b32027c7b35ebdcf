"""Training steps of a network with SGD, one at a time."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch.optim.sgd import sgd

from actbench.data.images import epoch_order, take
from actbench.study.study import seed_for
from actbench.training.diagnostics import GradientNorms
from actbench.training.measure import computing_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import nn

    from actbench.data.images import ImageData
    from actbench.study.study import Study, Trial


class SGD:
    """SGD by PyTorch's fused kernel, called as a function: the same bits as ``torch.optim.SGD``.

    Constructing a ``torch.optim.Optimizer`` imports PyTorch's compiler, which costs every worker a
    second and 100 MB, and the overhead of each of its steps is twice the kernel's time.

    Weight decay is not applied to ``undecayed``.

    Attributes:
        parameters: the trained parameters.
        momenta: a momentum buffer for each of them, zero at first.
    """

    def __init__(
        self,
        parameters: Iterable[torch.Tensor],
        *,
        learning_rate: float,
        momentum: float,
        weight_decay: float,
        undecayed: Iterable[torch.Tensor] = (),
    ) -> None:
        self.parameters = [p for p in parameters if p.requires_grad]
        self.momenta = [torch.zeros_like(p) for p in self.parameters]
        self._learning_rate, self._momentum = learning_rate, momentum
        self._weight_decay = weight_decay
        self._undecayed = {id(p) for p in undecayed}

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for decay, undecayed in ((self._weight_decay, False), (0.0, True)):
            self._step(decay, undecayed=undecayed)

    def _step(self, weight_decay: float, *, undecayed: bool) -> None:
        parameters: list[torch.Tensor] = []
        gradients: list[torch.Tensor] = []
        momenta: list[torch.Tensor | None] = []
        for parameter, momentum in zip(self.parameters, self.momenta, strict=True):
            if parameter.grad is not None and (id(parameter) in self._undecayed) == undecayed:
                parameters.append(parameter)
                gradients.append(parameter.grad)
                momenta.append(momentum)
        if not parameters:
            return
        sgd(
            parameters,
            gradients,
            momenta,
            fused=True,
            lr=self._learning_rate,
            momentum=self._momentum,
            weight_decay=weight_decay,
            dampening=0,
            nesterov=False,
            maximize=False,
        )


class Steps:
    """Takes each step of an epoch when its loss is requested.

    ``undecayed`` are parameters without weight decay: those of activations, whose decay towards 0
    would change the function that is compared.

    Attributes:
        optimizer: the optimizer, with the trained parameters and their momenta.
        norms: the mean gradient norms of the epoch's steps so far.
        count: the number of steps of an epoch.
    """

    def __init__(
        self,
        network: nn.Module,
        data: ImageData,
        study: Study,
        trial: Trial,
        undecayed: Iterable[torch.Tensor] = (),
    ) -> None:
        self.optimizer = SGD(
            network.parameters(),
            learning_rate=study.learning_rate_of(trial.activation),
            momentum=study.momentum,
            weight_decay=study.weight_decay,
            undecayed=undecayed,
        )
        self.norms = GradientNorms(network)
        self.count = math.ceil(len(data.train_images) / study.batch_size)
        self._network, self._data, self._trial = network, data, trial
        self._size, self._precision = study.batch_size, study.precision
        self._flip = data.flip if study.augmentation == "auto" else study.augmentation == "flip"

    def begin(self, epoch: int) -> Iterator[float]:
        """Yield the loss of each step of an epoch, before the step changes the weights."""
        self._begin_epoch(epoch)
        order, mirrored = epoch_order(len(self._data.train_images), self._trial.seed, epoch)
        for start in range(0, len(order), self._size):
            part = slice(start, start + self._size)
            loss = self._loss(order[part], mirrored[part])
            yield loss.item()
            self._update(loss)

    def _begin_epoch(self, epoch: int) -> None:
        seed_generators("layers", self._trial.seed, epoch)
        self._network.train()
        self.norms.reset()

    def _loss(self, index: torch.Tensor, mirrored: torch.Tensor) -> torch.Tensor:
        images, labels = take(self._data, index, mirrored if self._flip else None)
        with computing_in(self._precision, images.device):
            logits = self._network(images)
        return F.cross_entropy(logits.float(), labels)

    def _update(self, loss: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.norms.add_step()
        self.optimizer.step()


def seed_generators(*context: str | int) -> None:
    """Seed the global generators of torch, NumPy and Python from a named context.

    Layers that draw random numbers (RReLU, dropout, a user's own) use one of these.
    """
    seed = seed_for(*context)
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - a user's layer may draw from it
    random.seed(seed)
