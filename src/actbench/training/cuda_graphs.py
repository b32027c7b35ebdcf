"""Training steps that a GPU computes an epoch at a time, replayed from CUDA graphs."""

from __future__ import annotations

import gc
from collections import Counter
from typing import TYPE_CHECKING

import torch

from actbench.data.images import epoch_order
from actbench.training.steps import Steps, _drawn, seed_generators

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import nn

    from actbench.data.images import ImageData
    from actbench.study.study import Study, Trial

STEPS_BEFORE_CAPTURE = 3  # libraries choose algorithms and take memory in the first ones
STEPS_IN_A_GRAPH = 8


class DeferredSteps(Steps):
    """Hands a whole epoch to the device before its losses are read, so that others can go on.

    The order of the images, the place in it and the losses stay on the device: a step needs nothing
    from the host. On a GPU the steps are captured as CUDA graphs once the first few were taken, and
    replayed, which spares launching their dozens of kernels one by one. Where a network draws
    random numbers while it trains, or cannot be captured, its steps are launched each time: a graph
    would repeat what was drawn on the host, and what it draws on the device would depend on others.
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
        self._place = torch.zeros((), dtype=torch.int64, device=device)
        self._places = torch.arange(self.count, device=device)
        self._losses = torch.zeros(self.count, device=device)
        self._may_capture = device.type == "cuda"
        self._graphs: dict[tuple[int, int], torch.cuda.CUDAGraph] = {}
        self._pool = torch.cuda.graph_pool_handle() if self._may_capture else None
        self._taken: Counter[int] = Counter()

    def begin(self, epoch: int) -> Iterator[float]:
        """Hand over an epoch; return an iterator that waits for it, then gives its losses."""
        self._begin_epoch(epoch)
        order, mirrored = epoch_order(len(self._order), self._trial.seed, epoch)
        self._order.copy_(order)
        self._mirrored.copy_(mirrored)
        self._place.zero_()
        whole, rest = divmod(len(order), self._size)
        self._take(self._size, whole)
        if rest:
            self._take(rest, 1)
        return self._read(epoch)

    def _read(self, epoch: int) -> Iterator[float]:
        losses = self._losses.tolist()
        # whatever other trials drew meanwhile
        seed_generators("after the layers", self._trial.seed, epoch)
        yield from losses

    def _take(self, size: int, times: int) -> None:
        """Take so many steps with batches of one size."""
        while times > 0:
            several = STEPS_IN_A_GRAPH if times >= STEPS_IN_A_GRAPH else 1
            if self._may_capture and self._taken[size] >= STEPS_BEFORE_CAPTURE:
                graph = self._graphs.get((size, several)) or self._captured(size, several)
                if graph is not None:
                    graph.replay()
                    times -= several
                    continue
            before = _drawn() if self._may_capture else None
            self._step(size)
            if self._may_capture and _drawn() != before:
                self._may_capture = False
            self._taken[size] += 1
            times -= 1

    def _step(self, size: int) -> None:
        images = self._place * self._size + torch.arange(size, device=self._place.device)
        loss = self._loss(
            self._order.index_select(0, images), self._mirrored.index_select(0, images)
        )
        self._update(loss)
        self.optimizer.zero_grad()  # what a graph took is given back within it
        here = self._places == self._place
        self._losses.copy_(torch.where(here, loss.detach(), self._losses))
        self._place += 1

    def _captured(self, size: int, times: int) -> torch.cuda.CUDAGraph | None:
        """Return so many steps as a graph; None, and no further try, where they cannot be one.

        ``torch.cuda.graph`` would wait for all that other trials have under way.
        """
        graph = torch.cuda.CUDAGraph()
        gc.disable()  # it could give back another graph's memory meanwhile
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
