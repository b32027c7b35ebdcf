"""The machine of a measurement, and what it must have."""

from __future__ import annotations

import shutil

import pytest
import torch
from cpuinfo import get_cpu_info

from actbench.execution.executors import default_workers
from actbench.models.native.compiled import COMPILERS

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, COMPILERS)), reason="there is no C++ compiler"
)


def machine() -> str:
    """Return the processor, the cores that may be used and the version of PyTorch, as one line."""
    processor = get_cpu_info()["brand_raw"]
    vectors = torch.backends.cpu.get_cpu_capability()
    return f"{processor}, {vectors}, {default_workers()} cores; PyTorch {torch.__version__}"
