"""The lock of the results folder: one writer, whose end releases it."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from actbench.errors import ResultsFolderError
from actbench.store.store import Store

if TYPE_CHECKING:
    from pathlib import Path


def test_a_lock_that_is_a_link_is_refused(store: Store, tmp_path: Path) -> None:
    (store.folder / ".lock").symlink_to(tmp_path / "made")
    for lock in (store.locked, store.locked_briefly):
        with pytest.raises(ResultsFolderError, match=r"\.lock is a symbolic link"), lock():
            pass
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("fault", [errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_without_locks_is_reported(
    fault: int, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def fail(*_: object) -> None:
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(fcntl, "flock", fail)
    message = f"cannot lock '.*results': {os.strerror(fault)}; its file system must support file"
    with pytest.raises(ResultsFolderError, match=message), store.locked():
        pass


def test_a_second_lock_is_refused_with_the_process_that_has_the_first(store: Store) -> None:
    with store.locked():
        holder = f"process {os.getpid()} on {socket.gethostname()}"
        with pytest.raises(ResultsFolderError) as error, Store(store.folder).locked():
            pass
        assert str(error.value) == f"{str(store.folder)!r} is held by another run: {holder}"
    with Store(store.folder).locked():
        pass


def test_an_error_releases_the_lock(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.locked():
        raise ZeroDivisionError
    with store.locked():
        pass


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
def test_a_killed_process_releases_its_lock(store: Store) -> None:
    script = (
        "import sys, time; from pathlib import Path; from actbench.store.store import Store\n"
        "with Store(Path(sys.argv[1])).locked():\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(store.folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(ResultsFolderError, match=f"process {holder.pid} on"), store.locked():
            pass
        holder.kill()
    with store.locked():
        pass
