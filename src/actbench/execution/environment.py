"""The environment of this process: versions, processor, compiler, GPUs; and those of a folder."""

from __future__ import annotations

import datetime
import functools
import hashlib
import json
import os
import platform
import subprocess
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actbench.analysis.environments import differences
from actbench.store.environment import PACKAGES, deciding_parts, with_batch
from actbench.training.devices import gpu_names

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from actbench.store.store import Store
    from actbench.store.stored_study import StoredStudy

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


def stored_elsewhere(stored: StoredStudy) -> list[str]:
    """Return a line for each other environment that stored trials were computed in."""
    records = [r for r in stored.records().values() if r.status != "crashed"]
    counts = Counter(
        name
        for record in records
        for name in dict.fromkeys(
            (record.environment, *(r.environment for r in record.results.values() if r.environment))
        )
    )
    current = environment_of(stored.study.device, stored.study.kernels)
    found = differences(counts, stored.store.environment()["environments"], current)
    return [
        f"{counts[name]} of {len(records)} stored trials were computed in another environment "
        f"than this one: {difference}"
        for name, difference in found.items()
    ]


def now_text() -> str:
    """Return the present time in UTC, ISO 8601 to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def note_trial(
    store: Store,
    known: Container[str],
    batch: tuple[str, Mapping[str, Any] | None],
    name: str,
    took: float | None,
    *,
    add: bool,
) -> None:
    """Add a trial's environment and seconds to ``environment.json``.

    Args:
        store: the results folder.
        known: the names of the study's trials; the seconds of others are left out.
        batch: when this run began, and its environment, if it is known.
        name: the trial's name.
        took: its seconds, if it is finished.
        add: whether it was stored before this run, which then adds to its seconds.
    """
    stored, (start, now) = store.environment(), batch
    environments = stored["environments"]
    if now is not None:
        environments = with_batch(environments, now, start, now_text())
    seconds = {name: took for name, took in stored["seconds"].items() if name in known}
    if took is not None:
        seconds[name] = round(took + (seconds.get(name, 0.0) if add else 0.0), 2)
    store.write_environment({"environments": environments, "seconds": seconds})


def git_commit() -> str:
    """Return the commit of the running code, with ``+`` if it was changed; empty if none."""
    here = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"],  # noqa: S607
            cwd=here,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
        tracked = subprocess.run(  # noqa: S603
            ["git", "ls-files", "--error-unmatch", Path(__file__).name],  # noqa: S607
            cwd=here,
            capture_output=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    # an installed copy may be inside another repository
    return done.stdout.strip() if done.returncode == tracked.returncode == 0 else ""
