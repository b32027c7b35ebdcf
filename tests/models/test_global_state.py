"""Process-wide settings: changes made by a user's code do not affect other trials."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from actbench.models.global_state import changes, generators_kept, seed_torch, settings_kept
from helpers.forked import run_script
from helpers.runs import run_here, run_process
from helpers.user_files import SMALL

CHANGED = {
    "the number of threads": lambda: torch.set_num_threads(3),
    "the default dtype": lambda: torch.set_default_dtype(torch.float64),
    "the default device": lambda: torch.set_default_device("meta"),
    "grad mode": lambda: torch.set_grad_enabled(False),
    "autocast on cpu": lambda: torch.set_autocast_enabled("cpu", True),
    "deterministic algorithms": lambda: torch.use_deterministic_algorithms(True),
    "flushing of denormal numbers": lambda: torch.set_flush_denormal(True),
    "the precision of float32 products": lambda: torch.set_float32_matmul_precision("medium"),
    "the float32 precision of mkldnn.conv": lambda: setattr(
        torch.backends.mkldnn.conv, "fp32_precision", "bf16"
    ),
    "mkldnn.enabled": lambda: setattr(torch.backends.mkldnn, "enabled", False),
    "mkldnn.deterministic": lambda: setattr(torch.backends.mkldnn, "deterministic", True),
    "cudnn.benchmark": lambda: setattr(torch.backends.cudnn, "benchmark", True),
    "NumPy's floating-point errors": lambda: np.seterr(all="raise"),
    "the working folder": lambda: os.chdir("/"),
    "PyTorch's print options": lambda: torch.set_printoptions(precision=2),
    "NumPy's print options": lambda: np.set_printoptions(precision=2),
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_setting_is_restored_and_named_once(name: str) -> None:
    whose = f"a test of {name}"
    threads, folder = torch.get_num_threads(), Path.cwd()
    for _ in range(2):
        with settings_kept(whose):
            CHANGED[name]()
    (sentence,) = changes([whose])
    assert sentence.startswith(f"{whose} changed {name}")
    with settings_kept("whoever comes after"):
        pass
    assert changes(["whoever comes after"]) == []
    assert (torch.get_num_threads(), Path.cwd()) == (threads, folder)
    assert torch.is_grad_enabled()
    assert torch.ones(1).dtype == torch.float32
    assert torch.ones(1).device.type == "cpu"
    assert torch.get_float32_matmul_precision() == "highest"


def test_seeding_is_that_of_pytorch_and_stores_nothing_for_devices_not_in_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with generators_kept():
        torch.manual_seed(11)
        expected = torch.rand(4)
        stored = len(torch.cuda._queued_calls)
        seed_torch(11)
        assert torch.equal(torch.rand(4), expected)
        if not torch.accelerator.is_available():
            assert len(torch.cuda._queued_calls) == stored
        seeded: list[int] = []
        monkeypatch.setattr(torch, "manual_seed", seeded.append)
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
        seed_torch(12)
    assert seeded == [12]  # every device


def test_an_error_leaves_the_settings_as_they_were() -> None:
    def fail() -> None:
        with settings_kept("a failure"):
            torch.set_default_dtype(torch.float64)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.get_default_dtype() == torch.float32


def relu_records(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("out*/trials/relu-*")}


MEDDLING = """
import os, torch
torch.set_num_threads(3)
torch.set_default_dtype(torch.float64)
torch.set_grad_enabled(False)
torch.backends.mkldnn.enabled = False
os.chdir("/")

class Act(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)

    def forward(self, x):
        return torch.relu(x)
"""


@pytest.mark.usefixtures("short_report")
def test_what_a_module_changes_on_import_or_when_called_reaches_no_trial(tmp_path: Path) -> None:
    (tmp_path / "meddling.py").write_text(MEDDLING, encoding="utf-8")
    alone = run_here("run", *SMALL, "--activation", "relu", "--out", "out", cwd=tmp_path)
    assert alone.code == 0, alone.err
    expected = relu_records(tmp_path)
    for workers in ("0", "1"):
        folder = tmp_path / f"beside{workers}"
        asked = [*SMALL, "--activation", "meddling:Act", "--workers", workers]
        done = run_process("run", *asked, "--out", f"{folder.name}/out", cwd=tmp_path)
        assert done.code == 0, done.err
        assert relu_records(folder) == expected
        (named,) = (line for line in done.err.splitlines() if line.startswith("meddling changed"))
        assert "the number of threads, the default dtype, grad mode, mkldnn.enabled" in named
        assert "the working folder" in named
        assert any(line.startswith("meddling:Act changed") for line in done.err.splitlines())


@pytest.mark.usefixtures("short_report")
def test_settings_of_the_calling_script_do_not_reach_a_trial(tmp_path: Path) -> None:
    study = "Study(activations=['relu'], seeds=1, epochs=1, train_images=64, corruptions=[])"
    script = (
        "import actbench, torch\n"
        f"study = actbench.{study}\n"
        "actbench.run(study, 'out0', workers=1, quiet=True)\n"
        "torch.set_default_dtype(torch.float64)\n"
        "torch.set_float32_matmul_precision('medium')\n"
        "actbench.run(study, 'out1', workers=0, quiet=True)\n"
        "print(torch.get_default_dtype(), torch.get_float32_matmul_precision())\n"
    )
    done = run_script(script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "torch.float64 medium\n"
    one, other = ((tmp_path / f"out{n}" / "trials").iterdir() for n in (0, 1))
    assert next(one).read_bytes() == next(other).read_bytes()


CLOSES = {
    "descriptor 1 in a forward": ("", "os.close(1)"),
    "descriptor 2 in a forward": ("", "os.close(2)"),
    "sys.stdout in a forward": ("", "sys.stdout.close()"),
    "both streams in a forward": ("", "sys.__stdout__.close(); sys.__stderr__.close()"),
    "sys.stderr at import": ("sys.stderr = None", "pass"),
}


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(what, marks=pytest.mark.slow if "2" in what or "sys." in what else ())
        for what in CLOSES
    ],
)
@pytest.mark.usefixtures("short_report")
def test_code_that_closes_the_standard_streams_ends_neither_the_run_nor_its_output(
    what: str, tmp_path: Path
) -> None:
    at_import, in_forward = CLOSES[what]
    (tmp_path / "closes.py").write_text(
        f"import contextlib, os, sys\n{at_import}\n\ndef act(x):\n"
        f"    with contextlib.suppress(OSError):\n        {in_forward}\n"
        "    return x.clamp(min=0)\n",
        encoding="utf-8",
    )
    arguments = ("--activation", "closes:act", "--workers", "0", "--out", "out")
    done = run_process("run", *SMALL, *arguments, cwd=tmp_path)
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1] == "report: out/report.html"
    assert "[2/2] closes:act, seed 0: test accuracy" in done.err
    assert "Traceback" not in done.err
    assert len(list((tmp_path / "out" / "trials").glob("*.json"))) == 2
