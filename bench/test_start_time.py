"""Start of the command, measured from the shell."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture


@pytest.mark.parametrize("arguments", ["--help", "list activations", "list attacks"])
def test_command(benchmark: BenchmarkFixture, arguments: str) -> None:
    """Two commands that need no PyTorch, and one that loads it."""
    command = [sys.executable, "-m", "actbench", *arguments.split()]
    benchmark.pedantic(
        subprocess.run,
        (command,),
        {"check": True, "capture_output": True},
        rounds=10,
        warmup_rounds=1,
    )
