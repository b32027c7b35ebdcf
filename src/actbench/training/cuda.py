"""What only a GPU reaches: its settings, streams and memory, and steps replayed from CUDA graphs.

Nothing here has been run on a GPU, see docs/gpu.md. The other modules call it if ``on_gpu`` says so
and contain nothing else that the tests on a CPU cannot reach.
"""

from __future__ import annotations

import gc
import os
import pickle
import random
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable

STEPS_BEFORE_CAPTURE = 3  # libraries choose algorithms and take memory in the first ones
STEPS_IN_A_GRAPH = 8
# read once by CUDA and its libraries, when a process first uses them
_BEFORE_CUDA = {
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # cuBLAS sums in the same order on every stream
    "CUDA_DEVICE_MAX_CONNECTIONS": "32",  # hardware queues; streams that share one serialise
}


def on_gpu(device: str | torch.device) -> bool:
    """Return whether a device, such as ``cpu`` or ``cuda:0``, is a GPU."""
    return torch.device(device).type == "cuda"


def enter_gpu(device: str) -> None:
    """Make this process compute on a GPU with deterministic algorithms where there are any.

    Call it before anything else uses a GPU.
    """
    for name, value in _BEFORE_CUDA.items():
        os.environ.setdefault(name, value)
    torch.cuda.set_device(device)
    # the rest is for libraries and graphs, which raise no OutOfMemoryError
    torch.cuda.set_per_process_memory_fraction(0.9)
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def set_precision(precision: str) -> None:
    """Let this process's GPU round the factors of products to TF32 in that precision only.

    By default, PyTorch allows it for convolutions.
    """
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"


def own_stream(device: str) -> contextlib.AbstractContextManager[object]:
    """Return a context in which kernels are queued on a new stream."""
    return torch.cuda.stream(torch.cuda.Stream(device))  # type: ignore[no-untyped-call]


class StepGraphs:
    """Captures training steps as CUDA graphs and replays them.

    A replay saves launching the dozens of kernels of a step one by one. Steps that draw random
    numbers, or that cannot be captured, are launched each time: a graph would repeat the numbers
    drawn on the host, and those drawn on the device would depend on other trials.
    """

    def __init__(self, reset: Callable[[], None]) -> None:
        """Capture nothing yet; ``reset`` frees what a failed capture has allocated."""
        self._reset = reset
        self._may_capture = True
        self._graphs: dict[tuple[int, int], torch.cuda.CUDAGraph] = {}
        self._pool = torch.cuda.graph_pool_handle()
        self._taken: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._graphs)

    def take(self, step: Callable[[], None], size: int, times: int) -> int:
        """Take one step or several of at most ``times``, and return how many.

        Args:
            step: launches a step.
            size: the size of its batch.
            times: the steps that are wanted.
        """
        several = STEPS_IN_A_GRAPH if times >= STEPS_IN_A_GRAPH else 1
        if self._may_capture and self._taken[size] >= STEPS_BEFORE_CAPTURE:
            graph = self._graphs.get((size, several)) or self._captured(step, size, several)
            if graph is not None:
                graph.replay()
                return several
        before = _generator_states() if self._may_capture else None
        step()
        if self._may_capture and _generator_states() != before:
            self._may_capture = False
        self._taken[size] += 1
        return 1

    def _captured(
        self, step: Callable[[], None], size: int, times: int
    ) -> torch.cuda.CUDAGraph | None:
        """Return ``times`` steps as a graph; None, and no further attempt, if capturing fails.

        ``torch.cuda.graph`` is not used: it would wait for the queued work of other trials.
        """
        graph = torch.cuda.CUDAGraph()
        gc.disable()  # it could free another graph's memory during the capture
        try:
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                for _ in range(times):
                    step()
            finally:
                graph.capture_end()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:  # such as a value that is read on the host
            self._may_capture = False
            self._graphs.clear()
            self._reset()
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
