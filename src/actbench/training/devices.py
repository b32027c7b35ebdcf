"""The devices that networks run on: this machine's processor, or its GPUs."""

from __future__ import annotations

import subprocess
from pathlib import Path

from actbench.errors import UsageError


def resolve_device(asked: str, precision: str) -> str:
    """Return ``cpu`` or ``cuda``; ``auto`` is ``cuda`` if PyTorch finds a GPU.

    Raises:
        UsageError: a GPU was requested and there is none, or the device has not the precision.
    """
    device = asked
    if asked != "cpu":
        found = compute_devices("cuda")
        if asked == "cuda" and not found:
            raise UsageError("device is cuda, and PyTorch finds no GPU; it must be cpu or auto")
        device = "cuda" if found else "cpu"
    if device == "cpu" and precision == "tf32":
        raise UsageError("precision is tf32, which only GPUs have; with device cpu it must be fp32")
    return device


def resolve_precision(asked: str, device: str, kernels: str) -> str:
    """Return a study's precision; ``auto`` is ``bf16`` if the device computes in it.

    It is ``fp32`` otherwise, and with native kernels, which compute in nothing else.
    """
    if asked != "auto":
        return asked
    return "bf16" if kernels != "native" and has_bfloat16(device) else "fp32"


def has_bfloat16(device: str) -> bool:
    """Return whether the processor, or every GPU of this machine, computes in bfloat16.

    Others convert to float32 and back at each operation. GPUs have it from compute capability 8.0
    (Ampere) on.
    """
    if device == "cuda":
        found = _gpu_values("compute_cap")
        return bool(found) and all(float(value) >= 8 for value in found)
    import torch

    try:
        capabilities = torch.cpu.get_capabilities()
    except AttributeError:  # an older PyTorch
        return "bf16" in _processor_flags()
    return any("bf16" in name and bool(has) for name, has in capabilities.items())


def _processor_flags() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""


def compute_devices(device: str) -> list[str]:
    """Return PyTorch's names of a device: ``cpu``, or each GPU that PyTorch finds."""
    if device == "cpu":
        return ["cpu"]
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [f"cuda:{number}" for number in range(count)]


def gpu_names() -> list[str]:
    """Return the names of this machine's GPUs, none if `nvidia-smi` does not list them."""
    return _gpu_values("name")


def _gpu_values(what: str) -> list[str]:
    """Return a property of each GPU; PyTorch would have to initialise the GPUs for it."""
    try:
        done = subprocess.run(  # noqa: S603
            ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader"],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []


def enter(device: str) -> None:
    """Make this process compute on a device with one thread, deterministically.

    Call it before anything else uses a GPU.
    """
    import torch

    from actbench.training.cuda import enter_gpu, on_gpu

    torch.set_num_threads(1)
    if on_gpu(device):
        enter_gpu(device)
