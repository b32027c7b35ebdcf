"""Ratios of times on a noisy machine: contenders alternate, and each round gives one ratio."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import forkserver
from typing import TYPE_CHECKING, Self

from scipy.stats import binom

from actbench.execution.executors import configure_malloc
from actbench.execution.parent_death import end_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True)
class Ratio:
    """The median of the ratios of the rounds, with a distribution-free 95 % interval.

    The interval is between two order statistics; with fewer than six rounds it is the range.
    """

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, numerators: Sequence[float], denominators: Sequence[float]) -> Self:
        """Return the ratio of two contenders' times, or other costs, round by round."""
        ratios = sorted(a / b for a, b in zip(numerators, denominators, strict=True))
        rounds = len(ratios)
        cut = max(int(binom.ppf(0.025, rounds, 0.5)) - 1, 0)
        return cls(statistics.median(ratios), ratios[cut], ratios[-1 - cut], rounds)

    def __str__(self) -> str:
        return f"{self.median:.3f} [{self.low:.3f}, {self.high:.3f}], n = {self.rounds}"


def own_process() -> ProcessPoolExecutor:
    """Return a new process that behaves like a user's script.

    Where the platform can, it is a fork of a process that has imported the libraries, and no more.
    """
    can_fork = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if can_fork else "spawn")
    if can_fork:
        context.set_forkserver_preload(["torchvision", "actbench.training.trial"])
    return ProcessPoolExecutor(max_workers=1, mp_context=context, initializer=_begin_as_a_script)


def _begin_as_a_script() -> None:
    end_with_parent()
    if multiprocessing.get_start_method() == "forkserver":
        # the server ends when the last copy of this pipe is closed, and this process with it; it
        # must not wait for the copy that it gave to this process
        os.close(forkserver._forkserver._forkserver_alive_fd)  # type: ignore[attr-defined]
    # it would start processes as it was started; a script's DataLoader uses the platform's default
    multiprocessing.set_start_method(None, force=True)


class Contender:
    """Code that is timed in a new process at each call, so that every round has new ones.

    The same code takes up to a tenth longer in one process than in another, in each of its runs;
    where its memory lies may be the reason. A call runs the code once untimed, then once more, and
    returns the seconds of that.

    Args:
        prepare: a picklable function; it sets up and returns the code.
        threads: the number of threads of PyTorch; None keeps its default.
        memory_kept: whether glibc keeps freed tensors, as in actbench's workers.
    """

    def __init__(
        self,
        prepare: Callable[[], Callable[[], object]],
        *,
        threads: int | None = 1,
        memory_kept: bool = True,
    ) -> None:
        self._arguments = prepare, threads, memory_kept

    def __call__(self) -> float:
        """Return the seconds of one run."""
        with own_process() as process:
            return process.submit(_seconds, *self._arguments).result()


def _seconds(
    prepare: Callable[[], Callable[[], object]], threads: int | None, memory_kept: bool
) -> float:
    if memory_kept:
        configure_malloc()
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    code = prepare()
    code()
    begin = time.perf_counter()
    code()
    return time.perf_counter() - begin
