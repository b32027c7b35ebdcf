"""The C++ sources of the native kernels → loaded libraries.

Each is compiled for this machine's processor when it is first needed, and cached.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import json
import os
import platform
import shlex
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

import torch

from actbench.errors import UnavailableError
from actbench.files.cache import cache_path, storing

FOLDER = Path(__file__).parent
SOURCES = ("conv_pool", "take_images")
COMPILERS = ("c++", "g++", "clang++")
THIS_PROCESSOR = "-mcpu=native" if platform.machine() in ("aarch64", "arm64") else "-march=native"
# Tuned for AMD's Zen, GCC leaves multiply-adds of narrow vectors unfused, so that the width of the
# vectors would change how sums are rounded. Clang ignores the parameter.
FUSED = ("-ffp-contract=fast", "--param=avoid-fma-max-bits=0")
FLAGS = ("-std=c++17", "-O3", THIS_PROCESSOR, *FUSED, "-shared", "-fPIC")
TYPES = {torch.float32: (), torch.float64: ("-DDOUBLE",)}


def prepare() -> None:
    """Compile the sources that are not in the cache, and load them.

    Raises:
        UnavailableError: there is no compiler, it fails, or its output cannot be stored or loaded.
    """
    for name in SOURCES:
        library(name)


@functools.cache
def library(name: str, dtype: torch.dtype = torch.float32) -> ctypes.CDLL:
    """Return the library of a source that computes in a type, loaded.

    Raises:
        UnavailableError: as ``prepare``.
    """
    source = FOLDER / f"{name}.cpp"
    path = _compiled(source, [*_compiler(), *FLAGS, *TYPES[dtype]])
    try:
        if os.name != "posix":
            return ctypes.CDLL(str(path))
        # from an unnamed copy: truncating a mapped library would crash the process
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".") as copy:
            copy.write(path.read_bytes())
            copy.flush()
            return ctypes.CDLL(copy.name)
    except OSError as error:
        raise UnavailableError(f"cannot load the compiled {source.name}: {error}") from None


def _compiler() -> list[str]:
    """Return the command of the compiler.

    Raises:
        UnavailableError: there is none.
    """
    requested = os.environ.get("CXX", "").strip()
    try:
        names = [shlex.split(requested)] if requested else [[name] for name in COMPILERS]
    except ValueError as error:
        raise UnavailableError(f"CXX is {requested!r}, which is no command: {error}") from None
    compiler = next((name for name in names if shutil.which(name[0])), None)
    if compiler is None:
        raise UnavailableError(f"no C++ compiler was found ({requested or ', '.join(COMPILERS)})")
    return compiler


def compiler_version() -> str:
    """Return the first line of the compiler's version; empty if it prints none."""
    command = [*_compiler(), "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout.partition("\n")[0]


def pointer(tensor: torch.Tensor | None) -> ctypes.c_void_p:
    """Return the address of a tensor's memory, or a null pointer."""
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def _compiled(source: Path, command: list[str]) -> Path:
    """Return the library that a compiler's command makes of a source, from the cache if possible.

    Its name has a digest of the source, of all headers beside it, and of what the command means
    here: the compiler's version and the processor's instructions. Its SHA-256 is stored beside it;
    if that does not match, the library is compiled again. Each user has a separate folder, because
    loading a library runs it.
    """
    meaning = _run([*command, "-###", "-E", "-x", "c++", os.devnull])
    user = f"-{os.getuid()}" if hasattr(os, "getuid") else ""
    files = [source, *sorted(source.parent.glob("*.h"))]
    texts = [file.read_text(encoding="utf-8") for file in files]
    decides = json.dumps([texts, command, meaning])
    path = cache_path(f"compiled{user}", f"{source.stem}.so", decides)
    beside = path.with_suffix(".sha256")
    try:
        if (
            _only_user_writes(path.parent)
            and _only_user_writes(path)
            and beside.read_text(encoding="utf-8") == _sha256(path)
        ):
            return path
    except (OSError, ValueError):  # missing or damaged
        pass
    with storing(path, others_write=False) as making:
        if not _only_user_writes(path.parent):
            raise UnavailableError(
                f"the folder of compiled code {str(path.parent)!r} belongs to another user, or "
                "others may write to it, so nothing in it is loaded; remove it"
            )
        _run([*command, str(source), "-o", str(making)])
    with storing(beside, others_write=False) as making:
        making.write_text(_sha256(path), encoding="utf-8")
    return path


def _only_user_writes(path: Path) -> bool:
    """Return whether a file or folder is this user's own and only this user may write to it."""
    status = path.lstat()
    own = not hasattr(os, "getuid") or (
        status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )
    return own and not stat.S_ISLNK(status.st_mode)


def _sha256(path: Path) -> str:
    return f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"


def _run(command: list[str]) -> str:
    """Return what a compiler prints on stderr."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        lines = done.stderr.splitlines()
        reason = next((line for line in lines if "error" in line), f"exit code {done.returncode}")
        raise UnavailableError(f"the C++ compiler {command[0]} fails: {reason}")
    return done.stderr
