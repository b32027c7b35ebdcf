"""Process-wide settings that affect numbers or output, restored after a user's code."""

from __future__ import annotations

import contextlib
import os
import random
import sys
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import _tensor_str

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

backends: Any = torch.backends  # several of its attributes have no types
_LEAVE = object()
_DENORMAL = 1e-310


@dataclass(frozen=True)
class _Setting:
    """How one setting is read and set; ``fresh`` is its value in a new process."""

    name: str
    get: Callable[[], Any]
    set: Callable[[Any], object]
    _: KW_ONLY
    fresh: object = _LEAVE


def _attribute(name: str, of: Any, attribute: str, *, fresh: object = _LEAVE) -> _Setting:
    return _Setting(
        name,
        lambda: getattr(of, attribute),
        lambda value: setattr(of, attribute, value),
        fresh=fresh,
    )


def _matmul_precision() -> str:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # PyTorch raises if backends differ
        return ""


def _set_matmul_precision(value: str) -> None:
    if value:
        torch.set_float32_matmul_precision(value)


def _set_deterministic(value: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(value[0], warn_only=value[1])


def _working_folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - compared as text
    except FileNotFoundError:
        return ""


def keep_working_folder(network: torch.nn.Module) -> None:
    """Make every pass of the network end in the present working folder: its files are relative."""
    folder = _working_folder()

    def restore(*_: object) -> None:
        if folder and _working_folder() != folder:
            os.chdir(folder)

    network.register_forward_hook(restore, always_call=True)


def _flushes_denormals() -> bool:
    return _DENORMAL * 1.0 == 0


# A setting that sets others comes before them, so that they are restored after it.
_SETTINGS = (
    _Setting("the number of threads", torch.get_num_threads, torch.set_num_threads),
    _Setting(
        "the default dtype", torch.get_default_dtype, torch.set_default_dtype, fresh=torch.float32
    ),
    _Setting(
        "the default device",
        lambda: str(torch.get_default_device()),
        lambda device: torch.set_default_device(None if device == "cpu" else device),
        fresh="cpu",
    ),
    _Setting("grad mode", torch.is_grad_enabled, torch.set_grad_enabled, fresh=True),
    *(
        _Setting(
            f"autocast on {device}",
            partial(torch.is_autocast_enabled, device),
            partial(torch.set_autocast_enabled, device),
            fresh=False,
        )
        for device in ("cpu", "cuda")
    ),
    _Setting("anomaly detection", torch.is_anomaly_enabled, torch.set_anomaly_enabled, fresh=False),
    _Setting(
        "deterministic algorithms",
        lambda: (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        _set_deterministic,
    ),
    _attribute(
        "filling of uninitialised memory",
        torch.utils.deterministic,
        "fill_uninitialized_memory",
    ),
    _Setting(
        "flushing of denormal numbers", _flushes_denormals, torch.set_flush_denormal, fresh=False
    ),
    _Setting(
        "the precision of float32 products",
        _matmul_precision,
        _set_matmul_precision,
        fresh="highest",
    ),
    *(
        _attribute(f"the float32 precision of {name}", of, "fp32_precision")
        for name, of in (
            ("all backends", backends),
            ("mkldnn", backends.mkldnn),
            ("mkldnn.matmul", backends.mkldnn.matmul),
            ("mkldnn.conv", backends.mkldnn.conv),
            ("mkldnn.rnn", backends.mkldnn.rnn),
            ("cuda.matmul", backends.cuda.matmul),
            ("cudnn", backends.cudnn),
            ("cudnn.conv", backends.cudnn.conv),
            ("cudnn.rnn", backends.cudnn.rnn),
        )
    ),
    _attribute("mkldnn.enabled", backends.mkldnn, "enabled", fresh=True),
    _attribute("mkldnn.deterministic", backends.mkldnn, "deterministic", fresh=False),
    _attribute("cudnn.enabled", backends.cudnn, "enabled"),
    _attribute("cudnn.benchmark", backends.cudnn, "benchmark"),
    _attribute("cudnn.deterministic", backends.cudnn, "deterministic"),
    *(
        _attribute(f"cuda.matmul.{name}", backends.cuda.matmul, name)
        for name in (
            "allow_fp16_reduced_precision_reduction",
            "allow_bf16_reduced_precision_reduction",
            "allow_fp16_accumulation",
        )
    ),
    *(
        _Setting(f"{name} attention", get, put)
        for name, get, put in (
            ("flash", backends.cuda.flash_sdp_enabled, backends.cuda.enable_flash_sdp),
            ("math", backends.cuda.math_sdp_enabled, backends.cuda.enable_math_sdp),
            ("cuDNN", backends.cuda.cudnn_sdp_enabled, backends.cuda.enable_cudnn_sdp),
            (
                "memory-efficient",
                backends.cuda.mem_efficient_sdp_enabled,
                backends.cuda.enable_mem_efficient_sdp,
            ),
        )
    ),
    _attribute("quantized.engine", backends.quantized, "engine"),
    _Setting("NumPy's floating-point errors", np.geterr, lambda value: np.seterr(**value)),
    _attribute("sys.stdout", sys, "stdout"),
    _attribute("sys.stderr", sys, "stderr"),
    _Setting("the working folder", _working_folder, os.chdir),
    _Setting(
        "PyTorch's print options",
        lambda: dict(vars(_tensor_str.PRINT_OPTS)),
        lambda value: torch.set_printoptions(**value),  # type: ignore[no-untyped-call]
    ),
    _Setting(
        "NumPy's print options", np.get_printoptions, lambda value: np.set_printoptions(**value)
    ),
)
_changed: dict[str, dict[str, None]] = {}


def seed_torch(seed: int) -> None:
    """Seed PyTorch's global generators.

    For a kind of device that is not in use, ``torch.manual_seed`` would keep a description of the
    call stack, at each call; so without an accelerator only the generator of the CPU is seeded.
    """
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


@contextlib.contextmanager
def generators_kept() -> Iterator[None]:
    """Restore the global generators of PyTorch, NumPy and ``random`` after the block.

    Those of GPUs only if CUDA was in use before the block.
    """
    in_numpy, in_random = np.random.get_state(), random.getstate()  # noqa: NPY002 - the global one
    in_use = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    gpus = range(torch.cuda.device_count()) if in_use else ()
    try:
        with torch.random.fork_rng(devices=gpus):
            yield
    finally:
        np.random.set_state(in_numpy)  # noqa: NPY002 - the global one
        random.setstate(in_random)


@contextlib.contextmanager
def settings_kept(whose: str = "", *, fresh: bool = False) -> Iterator[None]:
    """Restore every setting after the block, however it ends.

    Args:
        whose: whose code runs in the block; ``changes`` then reports what it changed.
        fresh: whether the block starts with a new process's values of settings that affect numbers.
    """
    before = [setting.get() for setting in _SETTINGS]
    if fresh:
        _apply([setting.fresh for setting in _SETTINGS])
    inside = [setting.get() for setting in _SETTINGS] if fresh else before
    try:
        # tensors that are made in inference mode can never get gradients
        mode = torch.inference_mode(False) if fresh else contextlib.nullcontext()
        with _descriptors_kept(), mode:
            yield
    finally:
        now = [setting.get() for setting in _SETTINGS]
        if whose and now != inside:
            names = (s.name for s, a, b in zip(_SETTINGS, inside, now, strict=True) if a != b)
            _changed.setdefault(whose, {}).update(dict.fromkeys(names))
        if now != before:
            _apply(before)


@contextlib.contextmanager
def _descriptors_kept() -> Iterator[None]:
    """Reopen the descriptors of stdout and stderr after the block if they changed.

    Otherwise the next opened file, such as a record, would get the number of a closed one.
    """
    copies = {number: os.dup(number) for number in (1, 2) if _file_of(number)}
    try:
        yield
    finally:
        for number, copy in copies.items():
            if _file_of(number) != _file_of(copy):
                os.dup2(copy, number)
            os.close(copy)


def _file_of(descriptor: int) -> tuple[int, int] | None:
    """Return device and inode of an open descriptor; None if it is closed."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _apply(values: list[Any]) -> None:
    for setting, value in zip(_SETTINGS, values, strict=True):
        if value is not _LEAVE and setting.get() != value:
            setting.set(value)


def changes(specs: Iterable[str]) -> list[str]:
    """Return a sentence for each of these specs, and their modules, that changed settings."""
    asked = {name for spec in specs for name in (spec, spec.partition(":")[0])}
    return [
        f"{whose} changed {', '.join(names)} for the process; restored, so that other trials "
        "are not affected"
        for whose, names in _changed.items()
        if whose in asked
    ]
