"""Training steps on a GPU, queued an epoch at a time and replayed from CUDA graphs."""

from __future__ import annotations

import gc
import pickle
import random
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import torch

from actbench.data.batches import epoch_order, take
from actbench.training.steps import Steps, seed_generators

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import nn

    from actbench.data.augmentation import Draws
    from actbench.data.images import ImageData
    from actbench.study.study import Study, Trial

STEPS_BEFORE_CAPTURE = 3  # libraries choose algorithms and take memory in the first ones
STEPS_IN_A_GRAPH = 8


class DeferredSteps(Steps):
    """Queues all steps of an epoch on the device before it reads their losses.

    Other trials can use the host meanwhile. The order of the images, the position in it and the
    losses stay on the device: a step needs nothing from the host. After the first few steps, a GPU
    captures the steps as CUDA graphs and replays them, which saves launching their dozens of
    kernels one by one. The steps of a network that draws random numbers while it trains, or that
    cannot be captured, are launched each time: a graph would repeat the numbers drawn on the host,
    and those drawn on the device would depend on other trials. So are the steps of a recipe that
    draws noise by the step, or whose optimizer reads a changing learning rate on the host.
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
            study.schedule != "constant"
            and device.type == "cuda"
            and self.optimizer.takes_rates_on_device
        )
        self._may_capture = (
            device.type == "cuda"
            and (study.schedule == "constant" or self._rates_on_device)
            and not (self._augmentation.draws_noise or self._objective.draws)
        )
        self._graphs: dict[tuple[int, int], torch.cuda.CUDAGraph] = {}
        self._pool = torch.cuda.graph_pool_handle() if self._may_capture else None
        self._taken: Counter[int] = Counter()

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
            several = STEPS_IN_A_GRAPH if times >= STEPS_IN_A_GRAPH else 1
            if self._may_capture and self._taken[size] >= STEPS_BEFORE_CAPTURE:
                graph = self._graphs.get((size, several)) or self._captured(epoch, size, several)
                if graph is not None:
                    graph.replay()
                    self._step_of_epoch += several
                    times -= several
                    continue
            before = _generator_states() if self._may_capture else None
            self._step(epoch, size)
            if self._may_capture and _generator_states() != before:
                self._may_capture = False
            self._step_of_epoch += 1
            self._taken[size] += 1
            times -= 1

    def _step(self, epoch: int, size: int) -> None:
        device, step = self._order.device, self._step_of_epoch
        if self._rates_on_device:
            self.optimizer.learning_rate = self._rates.index_select(0, self._position[None])[0]
        else:
            self.optimizer.learning_rate = self._rate_at(epoch, step)
        places = self._position * self._size + torch.arange(size, device=device)
        images, labels = take(
            self._data,
            self._order.index_select(0, places),
            self._augmentation,
            {name: drawn.index_select(0, places) for name, drawn in self._draws.items()},
            self._augmentation.generator(device, self._trial.seed, epoch, step),
        )
        loss = self._loss(images, labels, self._generator(device, epoch, step))
        self._update(loss)
        self.optimizer.zero_grad()  # a graph must free within itself what it allocates
        here = self._all_positions == self._position
        self._losses.copy_(torch.where(here, loss.detach(), self._losses))
        self._position += 1

    def _captured(self, epoch: int, size: int, times: int) -> torch.cuda.CUDAGraph | None:
        """Return ``times`` steps as a graph; None, and no further attempt, if capturing fails.

        ``torch.cuda.graph`` is not used: it would wait for the queued work of other trials.
        """
        graph = torch.cuda.CUDAGraph()
        gc.disable()  # it could free another graph's memory during the capture
        try:
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                for _ in range(times):
                    self._step(epoch, size)
            finally:
                graph.capture_end()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:  # such as a value that is read on the host
            self._may_capture = False
            self._graphs.clear()
            self.optimizer.zero_grad()
            return None
        finally:
            gc.enable()
        self._graphs[size, times] = graph
        return graph


def _generator_states() -> list[bytes]:
    """Return the states of the global generators, which change when a layer draws."""
    states = [torch.get_rng_state(), torch.cuda.get_rng_state()]
    numpy = np.random.get_state(legacy=False)  # noqa: NPY002
    others = pickle.dumps((numpy, random.getstate()))
    return [*(state.numpy().tobytes() for state in states), others]
