"""Ratios of times on a noisy machine: contenders take turns, and each round gives one ratio."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from scipy.stats import binom

from actbench.execution.executors import configure_malloc
from actbench.execution.parent_death import end_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True)
class Ratio:
    """The median of ratios, one a round, with a 95 % interval that assumes no distribution.

    The interval lies between two order statistics; with fewer than six rounds it is the range.
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
    """Return a fresh process that behaves as a user's script does."""
    return ProcessPoolExecutor(
        max_workers=1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin_as_a_script,
    )


def _begin_as_a_script() -> None:
    end_with_parent()
    # what was spawned spawns too; a script's DataLoader takes the platform's default
    multiprocessing.set_start_method(None, force=True)


class Contender:
    """Code in a process of its own, so that threads and allocator are its own too.

    A call runs it once and returns the seconds that it took. Use as a context manager.

    Args:
        prepare: a function that pickles; it sets up and returns the code, which is run once
            untimed.
        threads: what PyTorch computes with; None leaves its default.
        memory_kept: whether glibc keeps freed tensors, as in actbench's workers.
    """

    def __init__(
        self,
        prepare: Callable[[], Callable[[], object]],
        *,
        threads: int | None = 1,
        memory_kept: bool = True,
    ) -> None:
        self._process = own_process()
        self._process.submit(_prepare, prepare, threads, memory_kept).result()
        self()

    def __call__(self) -> float:
        """Return the seconds of one more run."""
        return self._process.submit(_timed_run).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.shutdown()


_code: Callable[[], object]


def _prepare(
    prepare: Callable[[], Callable[[], object]], threads: int | None, memory_kept: bool
) -> None:
    global _code
    if memory_kept:
        configure_malloc()
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    _code = prepare()


def _timed_run() -> float:
    begin = time.perf_counter()
    _code()
    return time.perf_counter() - begin
