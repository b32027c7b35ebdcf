"""The machine of a measurement."""

from __future__ import annotations

import torch
from cpuinfo import get_cpu_info

from actbench.execution.executors import default_workers


def machine() -> str:
    """Return the processor, the cores that may be used and the version of PyTorch, as one line."""
    processor = get_cpu_info()["brand_raw"]
    vectors = torch.backends.cpu.get_cpu_capability()
    return f"{processor}, {vectors}, {default_workers()} cores; PyTorch {torch.__version__}"
