"""What is printed to which stream, whatever the streams are."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helpers.forked import COMMAND, start_command
from helpers.runs import TINY_STUDY, run_here, run_process

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers.runs import Outcome, TinyRun


QUICK = shlex.split(
    "run --train-images 64 --epochs 1 --seeds 1 --corruptions none --activation relu --workers 0 "
    "--out out"
)


def test_a_pipe_gets_no_control_characters(tiny_run: TinyRun) -> None:
    assert "\x1b" not in tiny_run.outcome.out + tiny_run.outcome.err
    assert "\r" not in tiny_run.outcome.out + tiny_run.outcome.err


@pytest.mark.usefixtures("short_report")
def test_json_is_one_document_and_nothing_else(
    actbench_here: Callable[..., Outcome], user_module: Callable[[str], str]
) -> None:
    # even where a user's own code prints, as it is imported and as it runs
    noisy = user_module("print('imported')\ndef act(x):\n    print('called')\n    return x\n")
    done = actbench_here(*QUICK, "--activation", f"{noisy}:act", "--json", "--quiet")
    assert done.code == 0
    content = json.loads(done.out)
    assert [row["activation"] for row in content["trials"]] == ["relu", f"{noisy}:act"]
    assert {row["status"] for row in content["trials"]} == {"ok"}
    assert [row["n"] for row in content["summary"]] == [1, 1]
    assert content["folder"] == "out"
    assert "called" in done.err


@pytest.mark.usefixtures("short_report")
def test_a_workers_stdout_stays_clean_too(
    user_module: Callable[[str], str], tmp_path: Path
) -> None:
    noisy = user_module("print('imported')\ndef act(x):\n    print('called')\n    return x\n")
    done = run_process(
        *QUICK, "--activation", f"{noisy}:act", "--json", "--workers", "1", cwd=tmp_path
    )
    assert done.code == 0, done.err
    assert len(json.loads(done.out)["trials"]) == 2


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_an_output_that_lacks_a_character_gets_a_plain_one(
    encoding: str, tiny_run: TinyRun
) -> None:
    command = [sys.executable, "-m", "helpers.few_digits"]
    done = subprocess.run(
        [*command, "run", *TINY_STUDY, "--out", str(tiny_run.folder)],
        env={**os.environ, "PYTHONIOENCODING": f"{encoding}:strict"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == b"all 8 trials are stored already\n"
    assert b"leaky_relu:0" in done.stdout
    assert b"baseline" in done.stdout
    assert b"?" not in done.stdout
    assert done.stdout.isascii() == (encoding == "ascii")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_under_stdout_is_one_line(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "actbench", "list", "datasets"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "actbench: cannot write the output: No space left on device\n"


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="the shell is another")
def test_a_run_of_a_new_interpreter_goes_on_where_stdin_and_stderr_are_closed(
    tmp_path: Path,
) -> None:
    command = f"{shlex.join([*COMMAND, *QUICK, '--workers', '1'])} <&- 2>&-"
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == 0
    assert "relu" in done.stdout
    assert (tmp_path / "out" / "summary.md").exists()
    wrong = subprocess.run(["sh", "-c", f"{command} --lr 0"], cwd=tmp_path, check=False)
    assert wrong.returncode == 2


def nothing_is_left() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def nobody_reads() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.usefixtures("short_report")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize(
    ("stderr", "workers"),
    [
        (nothing_is_left, "1"),
        (nobody_reads, "1"),
        (None, "1"),
        pytest.param(None, "0", marks=pytest.mark.slow),
    ],
)
def test_a_run_goes_on_where_stderr_is_full_not_read_or_closed_with_stdin(
    stderr: Callable[[], int] | None, workers: str, tmp_path: Path
) -> None:
    for more, code in (("--workers", workers), 0), (("--lr", "0"), 2):
        given = {"closed": (0, 2)} if stderr is None else {"stderr": stderr()}
        with start_command(*QUICK, *more, cwd=tmp_path, stdout=subprocess.PIPE, **given) as process:
            out, _ = process.communicate()
        if stderr is not None:
            os.close(given["stderr"])
        assert process.returncode == code
        assert ("relu" in out) == (code == 0)
    assert (tmp_path / "out" / "trials.csv").exists()


@pytest.mark.usefixtures("short_report")
def test_a_command_without_standard_streams_writes_whole_files(tmp_path: Path) -> None:
    asked = (*QUICK, "--workers", "1")
    with start_command(*asked, cwd=tmp_path, closed=(0, 1, 2)) as process:
        assert process.wait() == 0
    assert len(list((tmp_path / "out" / "trials").iterdir())) == 1
    assert run_here("report", "out", cwd=tmp_path).code == 0


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="the shell is another")
def test_a_new_interpreter_without_standard_streams_writes_whole_files(tmp_path: Path) -> None:
    asked = shlex.join([*COMMAND, *QUICK, "--workers", "1"])
    done = subprocess.run(
        ["sh", "-c", f"{asked} <&- >&- 2>&-"],
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0
    assert len(list((tmp_path / "out" / "trials").iterdir())) == 1
    assert run_here("report", "out", cwd=tmp_path).code == 0
