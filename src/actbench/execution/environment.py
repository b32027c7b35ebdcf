"""The environment of this process: versions, processor, compiler, GPUs."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from actbench.store.environment import PACKAGES, deciding_parts
from actbench.training.devices import gpu_names

# PyTorch, oneDNN, MKL and OpenBLAS choose their kernels by these.
VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "OPENBLAS_CORETYPE",
)


@functools.cache
def environment_of(device: str, kernels: str) -> dict[str, Any]:
    """Return this process's environment; ``id`` is a digest of what may change the bits of results.

    Args:
        device: ``cpu`` or ``cuda``.
        kernels: ``torch``, or ``native``, which is compiled on this machine.
    """
    import torch

    found: dict[str, Any] = {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "system": platform.platform(),
        "processor": _processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "variables": {name: os.environ[name] for name in VARIABLES if os.environ.get(name)},
        "cores": os.cpu_count(),
        "threads_per_trial": 1,
    }
    if kernels == "native":
        from actbench.models.native.compiled import compiler_version

        found["compiler"] = compiler_version()
    if device == "cuda":
        found["gpus"] = sorted(set(gpu_names()))
    deciding = json.dumps(deciding_parts(found), sort_keys=True)
    return {"id": hashlib.sha256(deciding.encode()).hexdigest()[:16], **found}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
