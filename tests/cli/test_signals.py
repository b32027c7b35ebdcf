"""Ctrl-C and SIGTERM."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from helpers.runs import TINY_PART, interrupted, run_here

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.runs import TinyRun


# Ctrl-C


@pytest.mark.usefixtures("short_report")
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="the system has no process groups")
def test_ctrl_c_ends_with_the_line_that_resumes_to_the_same_bytes(
    tiny_run: TinyRun, tmp_path: Path
) -> None:
    # a part of the tiny study, whose trials are the same to the last bit
    part = [*TINY_PART, "--activation", "prelu", "--activation", "rrelu", "--seeds", "1"]
    asked = ["run", *part, "--out", "out", "--workers", "1"]
    # as from a terminal: the command and its worker get it
    ended = interrupted("[1/3]", signal.SIGINT, *asked, cwd=tmp_path)
    assert ended.code == 130
    assert ended.out == ""
    err = ended.err
    assert "Traceback" not in err
    resume = f"resume with: {shlex.join(['actbench', *asked])}"
    assert err.splitlines()[-1] == f"actbench: {resume}"
    stored = len(list((tmp_path / "out" / "trials").iterdir()))
    assert f"interrupted; {stored} of 3 trials are stored" in err
    assert 1 <= stored < 3

    again = run_here(*asked[:-2], cwd=tmp_path)
    assert again.code == 0, again.err
    assert f"{stored} of 3 trials are stored already" in again.err
    records = {p.name: p.read_bytes() for p in (tmp_path / "out" / "trials").iterdir()}
    undisturbed = tiny_run.folder / "trials"
    assert records == {name: (undisturbed / name).read_bytes() for name in records}
    assert len(records) == 3


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="the system has no process groups")
@pytest.mark.parametrize(
    ("send", "code"),
    [
        (lambda process: os.killpg(process.pid, signal.SIGINT), 130),
        (lambda process: process.terminate(), 143),
    ],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_a_signal_while_workers_start_ends_them_too_and_prints_no_traceback(
    send: Callable[[subprocess.Popen[str]], None], code: int, tmp_path: Path
) -> None:
    # Python imports this first: a worker then says so and waits, as its parent does
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "if '--multiprocessing-fork' in sys.orig_argv:\n"
        "    print('loading', file=sys.stderr, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    (tmp_path / "slow.py").write_text(
        "import sys, types\n"
        "from actbench.cli import main as cli\n"
        "class Plan(types.ModuleType):\n"
        "    def __getattr__(self, name):\n"
        "        sys.stdin.read()\n"
        "sys.modules['actbench.execution.plan'] = Plan('plan')\n"
        "cli.main(['run', '--workers', '1', '--out', 'out'])\n"
    )
    with subprocess.Popen(
        [sys.executable, "slow.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ['PYTHONPATH']}"},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "loading\n"
        send(process)
        # this comes back once nobody holds stderr: the worker is gone as well
        _, err = process.communicate()
    assert process.returncode == code
    assert err.splitlines()[-1] == "actbench: resume with: actbench run --workers 1 --out out"
    assert "Traceback" not in err
