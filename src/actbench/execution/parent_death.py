"""End a worker process when its parent ends, whatever the cause."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading

PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """End this process as soon as its parent has ended, whatever this process is computing.

    On Linux the kernel sends SIGKILL (``PR_SET_PDEATHSIG`` in prctl(2)) at once. Elsewhere a thread
    waits for the parent; it needs the interpreter lock, which C code may hold for a long time. Does
    nothing in a process that ``multiprocessing`` did not start.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    if not _kernel_kills_this_process():
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()
    elif not parent.is_alive():  # it ended before the call of prctl
        os._exit(1)


def _kernel_kills_this_process() -> bool:
    """Ask the kernel to kill this process when its parent ends; return whether it will."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        prctl = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return False
    return bool(prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL)) == 0)


def _end_after(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
