"""Every benchmark runs in the state of a worker; contenders are timed alternately."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Protocol

import pytest
import torch

from actbench.execution.executors import configure_malloc
from interleaved import Ratio
from tables import ratios_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pytest_benchmark.fixture import BenchmarkFixture

RATIOS = pytest.StashKey[list[tuple[str, Ratio]]]()


def pytest_configure(config: pytest.Config) -> None:
    """Give the benchmarks little to do if they are only checked to run; see cifar_shaped.py."""
    if config.getoption("benchmark_disable"):
        os.environ["ACTBENCH_BENCH_UNTIMED"] = "1"


class Compare(Protocol):
    """What the fixture ``compare`` returns."""

    def __call__(self, contenders: Mapping[str, Callable[[], float]], *, rounds: int) -> None:
        """Time two contenders alternately; record the first's seconds over the second's."""


@pytest.fixture(scope="session", autouse=True)
def _as_in_a_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compute with one thread and kept memory, with an empty cache."""
    configure_malloc()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACTBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def compare(benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> Compare:
    """Return the comparison of two contenders; pytest-benchmark's table shows a round's time."""

    def compare(contenders: Mapping[str, Callable[[], float]], *, rounds: int) -> None:
        seconds: dict[str, list[float]] = {name: [] for name in contenders}

        def run_round() -> None:
            turn = len(next(iter(seconds.values())))
            for name in sorted(contenders, reverse=turn % 2 == 1):
                seconds[name].append(contenders[name]())

        benchmark.pedantic(run_round, rounds=rounds)
        numerator, denominator = contenders
        ratio = Ratio.of(seconds[numerator], seconds[denominator])
        question = f"{numerator} / {denominator}"
        benchmark.extra_info.update(question=question, ratio=asdict(ratio), seconds=seconds)
        request.config.stash.setdefault(RATIOS, []).append((question, ratio))

    return compare


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print every ratio with its interval and n."""
    ratios = config.stash.get(RATIOS, [])
    if ratios:
        terminalreporter.section("ratios from interleaved rounds")
        terminalreporter.write_line(ratios_table(ratios))
