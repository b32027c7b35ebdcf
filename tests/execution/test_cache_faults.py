"""A cache that is deleted or truncated during the run: made again, or one error that ends it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from actbench.models.native.compiled import COMPILERS
from helpers.runs import (
    run_here,
    run_process,
    same_files,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


QUICK = shlex.split("run --train-images 64 --epochs 1 --seeds 1 --corruptions none --out out")


# a cache that is deleted or truncated during the run

CACHE_MISCHIEF = """
import multiprocessing, os, shutil, signal
from pathlib import Path

IN_A_TRIAL = multiprocessing.current_process().name == "actbench worker"

def once(x, name):
    marker = Path(name)
    if not IN_A_TRIAL or not x.requires_grad or marker.exists():
        return False
    marker.touch()
    return True

def loses_the_cache(x):
    if once(x, "lost"):
        shutil.rmtree(os.environ["ACTBENCH_CACHE"])
    return x

def loses_the_cache_and_is_killed(x):
    if once(x, "killed"):
        shutil.rmtree(os.environ["ACTBENCH_CACHE"])
        os.kill(os.getpid(), signal.SIGKILL)
    return x

def loses_cache_and_source(x):
    if once(x, "gone"):
        shutil.rmtree(os.environ["ACTBENCH_CACHE"])
        shutil.rmtree("images")
        os.kill(os.getpid(), signal.SIGKILL)
    return x

def cuts_what_is_mapped(x):
    if once(x, "cut"):
        for path in Path(os.environ["ACTBENCH_CACHE"]).rglob("*.safetensors"):
            os.truncate(path, 4096)
    return x

def cuts_the_library(x):
    if once(x, "cut"):
        for path in Path(os.environ["ACTBENCH_CACHE"]).rglob("*.so"):
            os.truncate(path, 4096)
    return x

def act(x):
    return globals()[os.environ["MISCHIEF"]](x) if IN_A_TRIAL else x
"""


CACHE_STUDY = shlex.split(
    "run --train-images 96 --epochs 2 --seeds 1 --corruptions gaussian_noise:sigma=0.1/0.2 "
    "--activation cache_mischief:act --out"
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the study with an activation that did no mischief; read-only."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "cache_mischief.py").write_text(CACHE_MISCHIEF)
    assert run_here(*CACHE_STUDY, "out", cwd=folder).code == 0
    return folder


@pytest.mark.skipif(not hasattr(signal, "SIGBUS"), reason="the system has no SIGBUS")
@pytest.mark.parametrize(
    ("name", "death"),
    [
        pytest.param("loses_the_cache", None, marks=pytest.mark.slow),
        ("loses_the_cache_and_is_killed", "SIGKILL"),
        ("cuts_what_is_mapped", "SIGBUS"),
        ("cuts_the_library", None),
    ],
)
def test_a_deleted_or_truncated_cache_file_is_made_again(
    name: str,
    death: str | None,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copy(undisturbed / "cache_mischief.py", tmp_path)
    being_written = shutil.ignore_patterns(".*")
    shutil.copytree(os.environ["ACTBENCH_CACHE"], tmp_path / "cache", ignore=being_written)
    monkeypatch.setenv("ACTBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MISCHIEF", name)
    done = run_process(*CACHE_STUDY, "out", "--workers", "1", cwd=tmp_path)
    assert done.code == 0, done.err[-2000:]
    assert done.err.count("; retrying") == (death is not None)
    assert death is None or f"was ended by {death}; retrying" in done.err
    assert any((tmp_path / marker).exists() for marker in ("lost", "killed", "cut"))
    assert same_files(undisturbed / "out", tmp_path / "out") == []


@pytest.mark.usefixtures("short_report")
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
def test_data_that_cannot_be_prepared_again_is_one_error_and_no_crashed_trial(
    user_module: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTBENCH_CACHE", str(tmp_path / "cache"))
    for part, count in (("train", 40), ("test", 3)):
        for level, label in ((0, "dark"), (255, "bright")):
            (tmp_path / "images" / part / label).mkdir(parents=True)
            for number in range(count):
                path = tmp_path / "images" / part / label / f"{number}.png"
                Image.new("RGB", (32, 32), (level, number, 0)).save(path)
    spec = f"{user_module(CACHE_MISCHIEF)}:loses_cache_and_source"
    asked = ("run", "--dataset", "imagefolder", "--data-dir", "images", "--epochs", "1")
    asked += ("--seeds", "2", "--corruptions", "none", "--activation", spec, "--out", "out")
    done = run_here(*asked, "--kernels", "torch", "--workers", "1", cwd=tmp_path)
    assert done.code == 2, done.err[-2000:]
    assert done.err.count("Traceback") == 0
    last = done.err.splitlines()[-1]
    assert re.fullmatch(
        r"actbench: the cached data '.*' is gone or damaged, and cannot be prepared again: "
        r"data_dir 'images' is not a folder",
        last,
    )
    records = [json.loads(p.read_text()) for p in (tmp_path / "out" / "trials").glob("*.json")]
    assert all(record["status"] == "ok" for record in records)


@pytest.mark.usefixtures("short_report")
@pytest.mark.skipif(os.name != "posix", reason="a compiler of its own is a shell script")
def test_a_library_that_cannot_be_compiled_again_stops_the_run_without_a_fallback(
    user_module: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTBENCH_CACHE", str(tmp_path / "cache"))
    compiler = next(found for found in map(shutil.which, COMPILERS) if found)
    (tmp_path / "c++").write_text(
        '#!/bin/sh\n[ -e killed ] && echo "error: broken" >&2 && exit 1\n'
        f'exec {compiler} "$@" -O0\n'
    )
    (tmp_path / "c++").chmod(0o755)
    monkeypatch.setenv("CXX", str(tmp_path / "c++"))
    spec = f"{user_module(CACHE_MISCHIEF)}:loses_the_cache_and_is_killed"
    # after the activation's trial is that of relu with the second seed, which needs the library
    asked = (*QUICK, "--activation", spec, "--seeds", "2", "--workers", "1")
    done = run_process(*asked, cwd=tmp_path)
    assert done.code == 2, done.err[-2000:]
    wrong = f"the C++ compiler {tmp_path / 'c++'} fails: error: broken"
    assert done.err.splitlines()[-1] == f"actbench: {wrong}"
    again = run_process(*asked, cwd=tmp_path)
    assert again.code == 2
    assert again.err == f"actbench: kernels is native, but {wrong}; torch needs none\n"
    statuses_and_kernels = [
        (record["status"], record["kernels"])
        for record in map(json.loads, (p.read_text() for p in (tmp_path / "out").glob("trials/*")))
    ]
    assert set(statuses_and_kernels) <= {("ok", "native")}
