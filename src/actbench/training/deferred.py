"""Training steps that are queued on the device an epoch at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from actbench.data.batches import epoch_order
from actbench.training.cuda import StepGraphs, on_gpu
from actbench.training.steps import Steps, seed_generators

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import nn

    from actbench.data.augmentation import Draws
    from actbench.data.images import ImageData
    from actbench.study.study import Study, Trial


class DeferredSteps(Steps):
    """Queues all steps of an epoch on the device before it reads their losses.

    Other trials can use the host meanwhile. The order of the images, the position in it and the
    losses stay on the device: a step needs nothing from the host. So a GPU can replay the steps
    from ``StepGraphs``, unless the recipe's adversary draws random numbers or its optimizer reads a
    changing learning rate on the host.
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
        super().__init__(network, data, study, trial, undecayed, part)
        device = data.train_images.device
        self._order = torch.zeros(self._images, dtype=torch.int64, device=device)
        self._draws: Draws = {}
        self._position = torch.zeros((), dtype=torch.int64, device=device)
        self._all_positions = torch.arange(self.count, device=device)
        self._losses = torch.zeros(self.count, device=device)
        self._rates = torch.zeros(self.count, device=device)
        self._step_of_epoch = 0
        self._rates_on_device = (
            study.schedule != "constant" and on_gpu(device) and self.optimizer.takes_rates_on_device
        )
        needs_host = self._objective.draws or (
            study.schedule != "constant" and not self._rates_on_device
        )
        replayed = on_gpu(device) and not needs_host
        self._graphs = StepGraphs(self.optimizer.zero_grad) if replayed else None

    def begin(self, epoch: int) -> Iterator[float]:
        """Queue an epoch; return an iterator that waits for its end and yields its losses."""
        self._begin_epoch(epoch)
        seed, count = self._trial.seed, self.count_in(epoch)
        order = epoch_order(len(self._order), seed, epoch)
        self._order.copy_(order if self._part is None else self._part[order])
        side = self._data.train_images.shape[1]
        for name, drawn in self._augmentation.draw(len(order), side, seed, epoch).items():
            # graphs read the same memory in every epoch
            self._draws.setdefault(name, torch.empty_like(drawn, device=self._order.device))
            self._draws[name].copy_(drawn)
        if self._rates_on_device:
            rates = [self._rate_at(epoch, step) for step in range(count)]
            self._rates[:count].copy_(torch.tensor(rates))
        self._position.zero_()
        self._step_of_epoch = 0
        full_batches, rest = divmod(len(order), self._size)
        self._take(epoch, self._size, min(full_batches, count))
        if rest and count == self.count:
            self._take(epoch, rest, 1)
        return self._read(epoch, count)

    def _read(self, epoch: int, count: int) -> Iterator[float]:
        losses = self._losses[:count].tolist()
        # other trials may have drawn meanwhile
        seed_generators("after the layers", self._trial.seed, epoch)
        yield from losses

    def _take(self, epoch: int, size: int, times: int) -> None:
        """Take ``times`` steps with batches of one size."""
        while times > 0:
            taken = 1
            if self._graphs is None:
                self._step(epoch, size)
            else:
                taken = self._graphs.take(lambda: self._step(epoch, size), size, times)
            self._step_of_epoch += taken
            times -= taken

    def _step(self, epoch: int, size: int) -> None:
        device, step = self._order.device, self._step_of_epoch
        if self._rates_on_device:
            self.optimizer.learning_rate = self._rates.index_select(0, self._position[None])[0]
        else:
            self.optimizer.learning_rate = self._rate_at(epoch, step)
        positions = self._position * self._size + torch.arange(size, device=device)
        index = self._order.index_select(0, positions)
        images = self._augmentation.take(
            self._data.train_images,
            index,
            {name: drawn.index_select(0, positions) for name, drawn in self._draws.items()},
        )
        labels = self._data.train_labels.index_select(0, index)
        loss = self._loss(images, labels, self._generator(device, epoch, step))
        self._update(loss)
        self.optimizer.zero_grad()  # a graph must free within itself what it allocates
        here = self._all_positions == self._position
        self._losses.copy_(torch.where(here, loss.detach(), self._losses))
        self._position += 1
