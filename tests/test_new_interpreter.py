"""The command as a user starts it: new interpreters, all images of the digits, and figures."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from helpers.runs import TINY_STUDY, run_here, run_process, same_files

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.digits, pytest.mark.figures]


def test_two_workers_of_a_new_interpreter_give_the_bytes_of_none(tmp_path: Path) -> None:
    here = run_here("run", *TINY_STUDY, "--out", "none", cwd=tmp_path)
    assert here.code == 0, here.err
    asked = ("run", *TINY_STUDY, "--workers", "2", "--out", "two")
    command = (sys.executable, "-m", "actbench")
    done = run_process(*asked, cwd=tmp_path, command=command)
    assert done.code == 0, done.err
    assert {path.suffix for path in (tmp_path / "two" / "figures").iterdir()} == {".png", ".svg"}
    assert same_files(tmp_path / "none", tmp_path / "two") == []
