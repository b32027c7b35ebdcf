"""Where networks compute: on this machine's processor, or on its GPUs."""

from __future__ import annotations

import os
import subprocess

from actbench.errors import UsageError

# what CUDA and its libraries read once, when a process first uses them
_BEFORE_CUDA = {
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # cuBLAS then sums in one order on every stream
    "CUDA_DEVICE_MAX_CONNECTIONS": "32",  # queues of a GPU; streams that share one wait in turn
}


def settle_device(asked: str, precision: str) -> str:
    """Return ``cpu`` or ``cuda``; ``auto`` is ``cuda`` where PyTorch finds a GPU.

    Raises:
        UsageError: a GPU was asked for and there is none, or the precision is not the device's.
    """
    device = asked
    if asked != "cpu":
        found = places("cuda")
        if asked == "cuda" and not found:
            raise UsageError("device is cuda, and PyTorch finds no GPU; it must be cpu or auto")
        device = "cuda" if found else "cpu"
    if device == "cpu" and precision == "tf32":
        raise UsageError(
            "precision is tf32, which GPUs alone have; with device cpu it must be fp32"
        )
    return device


def places(device: str) -> list[str]:
    """Return what a device consists of, as PyTorch names it: ``cpu``, or each GPU that it finds."""
    if device == "cpu":
        return ["cpu"]
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [f"cuda:{number}" for number in range(count)]


def gpu_names() -> list[str]:
    """Return the names of this machine's GPUs, none where NVIDIA's own tool cannot tell them.

    PyTorch would have to start using them for it.
    """
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []


def enter(place: str) -> None:
    """Make this process compute on a place, the same way every time.

    A GPU's libraries choose deterministic algorithms where they have them. It comes before anything
    else touches a GPU.
    """
    import torch

    torch.set_num_threads(1)
    if place == "cpu":
        return
    for name, value in _BEFORE_CUDA.items():
        os.environ.setdefault(name, value)
    torch.cuda.set_device(place)
    # the rest is for libraries and graphs: what they lack is no OutOfMemoryError
    torch.cuda.set_per_process_memory_fraction(0.9)
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def set_precision(precision: str) -> None:
    """Let this process's GPU round the factors of products to TF32 in that precision alone.

    PyTorch would let it for convolutions by itself.
    """
    import torch

    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
