"""The command line: what it prints, its exit codes, and its options, files and defaults."""

from __future__ import annotations

import errno
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import actbench
from actbench.cli.main import is_out_of_memory
from actbench.study.toml import study_from_toml, study_to_toml
from helpers.runs import run_process, same_files

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers.runs import Outcome, TinyRun


QUICK = shlex.split(
    "run --train-images 64 --epochs 1 --seeds 1 --corruptions none --activation relu --workers 0 "
    "--out out"
)


def test_the_module_is_the_command(tmp_path: Path) -> None:
    done = run_process("--version", cwd=tmp_path, command=(sys.executable, "-m", "actbench"))
    assert done == type(done)(0, f"actbench, version {actbench.__version__}\n", "")


# what is printed where


def test_the_summary_is_on_stdout_and_progress_on_stderr(tiny_run: TinyRun) -> None:
    done = tiny_run.outcome
    assert "digits, cnn" in done.out
    for spec in tiny_run.study.activations:
        assert spec in done.out
    assert done.out.splitlines()[-1] == f"report: {tiny_run.folder / 'report.html'}"
    assert "[8/8]" in done.err
    assert "[8/8]" not in done.out
    assert "leaky_relu:0: f(−1) = " in done.err


@pytest.mark.usefixtures("short_report")
def test_quiet_shows_no_progress(actbench_here: Callable[..., Outcome]) -> None:
    done = actbench_here(*QUICK, "--quiet")
    assert done.code == 0
    assert done.err == ""
    assert "relu" in done.out


@pytest.mark.usefixtures("short_report")
def test_verbose_shows_the_loss_every_100_batches_and_the_accuracy_after_every_epoch(
    actbench_here: Callable[..., Outcome],
) -> None:
    small = ("--model", "mlp:depth=1,width=16", "--batch-size", "1", "--train-images", "104")
    done = actbench_here(*QUICK, "--verbose", *small)
    lines = done.err.splitlines()
    assert any("relu, seed 0: epoch 1/1, step 100/104, loss " in line for line in lines)
    assert any("epoch 1/1, test loss " in line and "test accuracy" in line for line in lines)


def test_json_of_a_dry_run_lists_the_trials(actbench_here: Callable[..., Outcome]) -> None:
    done = actbench_here(*QUICK, "--dry-run", "--json", "--activation", "tanh")
    assert json.loads(done.out) == {
        "folder": "out",
        "trials": [
            {"activation": "relu", "seed": 0, "stored": False, "trained": False},
            {"activation": "tanh", "seed": 0, "stored": False, "trained": False},
        ],
    }


@pytest.mark.usefixtures("short_report")
def test_json_has_no_number_that_is_none(actbench_here: Callable[..., Outcome]) -> None:
    done = actbench_here(*QUICK, "--activation", "leaky_relu:1e38", "--json")
    assert done.code == 1
    rows = {row["activation"]: row for row in json.loads(done.out)["trials"]}
    assert rows["leaky_relu:1e+38"]["status"] == "diverged"
    assert rows["leaky_relu:1e+38"]["clean_accuracy"] is None
    assert "NaN" not in done.out
    assert "Infinity" not in done.out


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="others do not limit it")
def test_too_little_address_space_is_one_line(tmp_path: Path) -> None:
    script = "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (600 << 20,) * 2); "
    script += "from actbench.cli.main import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", script, *QUICK],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("actbench: out of memory: ")
    assert "is address space limited" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), True),
        (ImportError("x.so: failed to map segment from shared object: Permission denied"), False),
        (ImportError("libgomp.so.1: cannot allocate memory in static TLS block"), False),
        (OSError("libgomp.so.1: cannot map zero-fill pages: Cannot allocate memory"), True),
        (ImportError("cannot import name 'x' from 'actbench'"), False),
        (ModuleNotFoundError("No module named 'scipy'"), False),
        (ImportError("libgomp.so.1: cannot open shared object file"), False),
        (OSError(errno.EIO, "Input/output error"), False),
        (RuntimeError("failed to map segment"), False),
    ],
)
def test_only_too_little_memory_is_reported_as_that(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) == expected


def test_a_broken_installation_is_not_reported_as_too_little_memory(tmp_path: Path) -> None:
    script = "import sys; sys.modules['torch'] = None; "
    script += "from actbench.cli.main import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", script, *QUICK],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ModuleNotFoundError: import of torch halted")
    assert "out of memory" not in done.stderr


# options, files and defaults


def test_a_flag_beats_the_file_and_the_file_beats_the_default(
    tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    (tmp_path / "mine.toml").write_text('activations = ["tanh", "elu"]\nseeds = [5, 6]\n')

    def trials(*options: str) -> list[tuple[str, int]]:
        done = actbench_here("run", "--config", "mine.toml", "--dry-run", "--json", *options)
        return [(t["activation"], t["seed"]) for t in json.loads(done.out)["trials"]]

    assert trials("--seeds", "1") == [("relu", 0), ("tanh", 0), ("elu", 0)]
    assert trials("--baseline", "elu") == [("tanh", 5), ("elu", 5), ("tanh", 6), ("elu", 6)]


def test_the_stored_study_repeats_it_to_the_same_bytes(
    tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    small = ("--model", "mlp:depth=1,width=16", "--train-images", "16")
    actbench_here(*QUICK, *small, "--activation", "rrelu", "--seeds", "3,7")
    config = str(Path("out") / "study.toml")
    done = actbench_here("run", "--config", config, "--workers", "0", "--out", "again")
    assert done.code == 0
    assert same_files(tmp_path / "out", tmp_path / "again") == []


def test_the_folder_is_named_for_data_and_network_where_none_is_given(
    tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    done = actbench_here("run", "--dry-run", "--json", "--model", "deep_cnn:depth=5")
    assert json.loads(done.out)["folder"] == str(Path("results") / "digits-deep_cnn-depth-5")
    assert not (tmp_path / "results").exists()


def test_a_tilde_in_out_is_the_home_folder(
    tmp_path: Path, actbench_here: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    done = actbench_here("run", "--dry-run", "--json", "--out=~/study")
    assert json.loads(done.out)["folder"] == str(tmp_path / "home" / "study")


def test_a_claim_is_the_lowest_layer_under_the_file_and_the_options(
    actbench_here: Callable[..., Outcome],
) -> None:
    Path("more.toml").write_text('dataset = "digits"\nmodel = "mlp"\n', encoding="utf-8")
    options = ("--activation", "relu,mish", "--config", "more.toml", "--dry-run", "--json")
    done = actbench_here("run", "--claim", "layeract-resnet32", "--scale", "0.1", *options)
    content = json.loads(done.out)
    assert content["folder"] == "results/layeract-resnet32-scale-0.1"
    assert [(t["activation"], t["seed"]) for t in content["trials"]] == [
        (name, seed) for seed in (11, 22, 33) for name in ("relu", "mish")
    ]
    trial, departs = done.err.splitlines()[:2]
    assert "reduced run of the claim layeract-resnet32 at scale 0.1: 6400 of 64000 steps" in trial
    assert "data digits (source: cifar10)" in departs
    assert "network mlp (source: resnet32)" in departs
    assert "optimizer" not in departs


def test_a_claim_and_its_scale_are_stored_and_read_again() -> None:
    study = actbench.claim_study("layeract-resnet32", 0.1, epochs=3, seeds=2)
    assert (study.claim, study.scale, study.epochs, study.steps) == ("layeract-resnet32", 0.1, 3, 0)
    assert study_from_toml(study_to_toml(study), "study.toml") == study
