"""Training steps on a GPU, queued an epoch at a time and replayed from CUDA graphs."""

from __future__ import annotations

import gc
import pickle
import random
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import torch

from actbench.data.images import epoch_order
from actbench.training.steps import Steps, seed_generators

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import nn

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
    and those drawn on the device would depend on other trials.
    """

    def __init__(
        self,
        network: nn.Module,
        data: ImageData,
        study: Study,
        trial: Trial,
        undecayed: Iterable[torch.Tensor] = (),
    ) -> None:
        super().__init__(network, data, study, trial, undecayed)
        images = len(data.train_images)
        device = data.train_images.device
        self._order = torch.zeros(images, dtype=torch.int64, device=device)
        self._mirrored = torch.zeros(images, dtype=torch.bool, device=device)
        self._position = torch.zeros((), dtype=torch.int64, device=device)
        self._all_positions = torch.arange(self.count, device=device)
        self._losses = torch.zeros(self.count, device=device)
        self._may_capture = device.type == "cuda"
        self._graphs: dict[tuple[int, int], torch.cuda.CUDAGraph] = {}
        self._pool = torch.cuda.graph_pool_handle() if self._may_capture else None
        self._taken: Counter[int] = Counter()

    def begin(self, epoch: int) -> Iterator[float]:
        """Queue an epoch; return an iterator that waits for its end and yields its losses."""
        self._begin_epoch(epoch)
        order, mirrored = epoch_order(len(self._order), self._trial.seed, epoch)
        self._order.copy_(order)
        self._mirrored.copy_(mirrored)
        self._position.zero_()
        full_batches, rest = divmod(len(order), self._size)
        self._take(self._size, full_batches)
        if rest:
            self._take(rest, 1)
        return self._read(epoch)

    def _read(self, epoch: int) -> Iterator[float]:
        losses = self._losses.tolist()
        # other trials may have drawn meanwhile
        seed_generators("after the layers", self._trial.seed, epoch)
        yield from losses

    def _take(self, size: int, times: int) -> None:
        """Take ``times`` steps with batches of one size."""
        while times > 0:
            several = STEPS_IN_A_GRAPH if times >= STEPS_IN_A_GRAPH else 1
            if self._may_capture and self._taken[size] >= STEPS_BEFORE_CAPTURE:
                graph = self._graphs.get((size, several)) or self._captured(size, several)
                if graph is not None:
                    graph.replay()
                    times -= several
                    continue
            before = _generator_states() if self._may_capture else None
            self._step(size)
            if self._may_capture and _generator_states() != before:
                self._may_capture = False
            self._taken[size] += 1
            times -= 1

    def _step(self, size: int) -> None:
        images = self._position * self._size + torch.arange(size, device=self._position.device)
        loss = self._loss(
            self._order.index_select(0, images), self._mirrored.index_select(0, images)
        )
        self._update(loss)
        self.optimizer.zero_grad()  # a graph must free within itself what it allocates
        here = self._all_positions == self._position
        self._losses.copy_(torch.where(here, loss.detach(), self._losses))
        self._position += 1

    def _captured(self, size: int, times: int) -> torch.cuda.CUDAGraph | None:
        """Return ``times`` steps as a graph; None, and no further attempt, if capturing fails.

        ``torch.cuda.graph`` is not used: it would wait for the queued work of other trials.
        """
        graph = torch.cuda.CUDAGraph()
        gc.disable()  # it could free another graph's memory during the capture
        try:
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                for _ in range(times):
                    self._step(size)
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
