"""Processes that start at once on Linux: forks of this one, which has loaded the libraries.

A fork is a process of its own, with its own streams, folder, environment and signals. It forgets
what this process read from user code and caches. Tests of what a new interpreter does start one.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from multiprocessing import resource_tracker, util
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

FORKS = sys.platform == "linux"
COMMAND = (sys.executable, "-m", "helpers.quick_command")
PROJECT = Path(__file__).parents[2]
LIBRARIES = ("execution.estimate", "execution.interleaved", "report.write", "training.trial")


def start_command(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start the command, with few digits and no figures (see ``_start`` for the options)."""

    def run() -> None:
        from helpers.quick_command import main

        sys.path.insert(0, os.getcwd())  # noqa: PTH109
        main([*arguments])

    if FORKS:
        for name in LIBRARIES:
            importlib.import_module(f"actbench.{name}")
    return _start([*COMMAND, *arguments], run, **options)


def run_script(
    script: str, *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Return the outcome of ``python -c script``, a process of its own that has loaded PyTorch."""

    def run() -> None:
        sys.argv = ["-c", *arguments]
        exec(script, {"__name__": "__main__"})

    command = [sys.executable, "-c", script, *arguments]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with _start(command, run, env=env, cwd=cwd, **streams) as process:
        out, err = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _start(
    command: list[str],
    main: Callable[[], None],
    *,
    env: Mapping[str, str] | None = None,
    closed: Collection[int] = (),
    **options: Any,
) -> subprocess.Popen[str]:
    """Start a command, or in its place a fork that runs ``main``.

    ``options`` are those of ``subprocess.Popen``. A fork starts with the descriptors in ``closed``
    closed, such as that of stderr, 2.
    """
    options = {"text": True, "encoding": "utf-8", **options}
    environment = dict(os.environ if env is None else env)
    if not FORKS:
        return subprocess.Popen(command, env=environment, **options)

    def run() -> None:
        for descriptor in closed:
            os.close(descriptor)
        os.environ.clear()
        os.environ.update(environment)
        resource_tracker._resource_tracker._fd = None  # it starts its own
        _become(main)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of pytest-xdist's waiting thread
        return subprocess.Popen([sys.executable], preexec_fn=run, **options)


def fork_workers() -> None:
    """Let worker processes be forks of the process that starts them, on Linux."""
    spawn = util.spawnv_passfds

    def spawn_or_fork(path: bytes, arguments: list[Any], descriptors: Collection[int]) -> int:
        *_, program, last = arguments
        if last != "--multiprocessing-fork":
            return spawn(path, arguments, descriptors)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            sys.argv = ["-c", last]
            _become(lambda: exec(program, {}), descriptors)
        return pid

    if FORKS:
        util.spawnv_passfds = spawn_or_fork


def _become(main: Callable[[], None], kept: Collection[int] = ()) -> None:
    """Run a main function in this forked process as in a new one, and end it."""
    code: Any = 1
    try:
        gc.freeze()  # what is collected no longer would close descriptors that have new owners
        faulthandler.disable()
        _close_all_but(kept)
        _open_streams()
        _forget()
        main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


def _close_all_but(kept: Collection[int]) -> None:
    start = 3
    for descriptor in sorted(kept):
        os.closerange(start, descriptor)
        start = descriptor + 1
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))


def _open_streams() -> None:
    """Open the three streams as Python does; one whose descriptor is closed is None."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        stream = None
        with contextlib.suppress(OSError):
            errors = "backslashreplace" if name == "stderr" else "strict"
            stream = open(number, mode, encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115
            stream.reconfigure(line_buffering=name == "stderr")
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _forget() -> None:
    """Undo what pytest and earlier commands did to this process."""
    from actbench.files import cache

    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # as Python does
        signal.signal(ignored, signal.SIG_IGN)
    logging.getLogger().handlers.clear()
    warnings.resetwarnings()
    for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", category)
    cache._CHECKED.clear()
    ours = (str(PROJECT), sys.prefix)  # which may lie in the temporary folder too
    for name, module in list(sys.modules.items()):
        file = str(getattr(module, "__file__", ""))
        if file.startswith(tempfile.gettempdir()) and not file.startswith(ours):
            del sys.modules[name]
        elif name.startswith("actbench."):
            for value in vars(module).values():
                if hasattr(value, "cache_clear"):
                    value.cache_clear()
