"""Devices: the one requested, those available, and the one that a folder keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from actbench.errors import UsageError
from actbench.execution.plan import resolve_kernels
from actbench.execution.trials import keep_resolved, make_executor
from actbench.store.store import Store
from actbench.study.run_options import RunOptions
from actbench.study.study import Study, Trial, trial_id
from actbench.training import devices
from actbench.training.devices import resolve_device
from helpers.runs import TINY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.runs import Outcome

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


def gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize(
    ("asked", "count", "settled"),
    [
        ("cpu", 0, "cpu"),
        ("cpu", 2, "cpu"),
        ("auto", 0, "cpu"),
        ("auto", 2, "cuda"),
        ("cuda", 1, "cuda"),
    ],
)
def test_auto_is_the_gpus_if_there_are_any(
    asked: str, count: int, settled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus(monkeypatch, count)
    assert resolve_device(asked, "fp32") == settled


def test_every_gpu_is_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 3)
    assert devices.compute_devices("cuda") == ["cuda:0", "cuda:1", "cuda:2"]
    assert devices.compute_devices("cpu") == ["cpu"]


def test_the_cpu_device_does_not_query_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("asked"))
    assert resolve_device("cpu", "fp32") == "cpu"


@no_gpu
def test_a_missing_gpu_is_reported_before_training(
    tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    done = actbench_here("run", *TINY, "--device", "cuda")
    assert done.code == 2
    assert done.err == (
        "actbench: device is cuda, and PyTorch finds no GPU; it must be cpu or auto\n"
    )
    assert not (tmp_path / "results").exists()


@no_gpu
@pytest.mark.usefixtures("short_report")
def test_auto_is_stored_as_the_device_it_resolved_to(
    tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    options = ("--train-images", "64", "--epochs", "1", "--seeds", "1", "--corruptions", "none")
    study = ("--activation", "relu", *options)
    assert actbench_here("run", *study, "--device", "auto").code == 0
    (folder,) = (tmp_path / "results").iterdir()
    assert Store(folder).study().device == "cpu"
    done = actbench_here("run", *study, "--device", "cpu")
    assert done.code == 0
    assert "all 1 trials are stored already" in done.err


def test_a_folder_keeps_its_first_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 1)
    store = Store(tmp_path / "study")
    store.open(Study(device="cpu", kernels="torch")).begin()
    kept = keep_resolved(Study(device="auto", kernels="auto"), store)
    assert (kept.device, kept.kernels) == ("cpu", "torch")
    assert keep_resolved(Study(device="cuda"), store).device == "cuda"


def test_tf32_is_refused_on_the_processor(actbench_here: Callable[..., Outcome]) -> None:
    done = actbench_here("run", *TINY, "--precision", "tf32")
    assert done.code == 2
    assert done.err == (
        "actbench: precision is tf32, which only GPUs have; with device cpu it must be fp32\n"
    )


def test_native_kernels_need_the_cpu() -> None:
    with pytest.raises(UsageError, match="which computes only on the CPU, and device is cuda"):
        resolve_kernels(Study(device="cuda", kernels="native"), [], 10, 32)
    assert resolve_kernels(Study(device="cuda"), [], 10, 32) == ("torch", "")


def test_ray_is_refused_with_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 1)
    with pytest.raises(UsageError, match="it must be cpu, or the executor local"):
        make_executor(Study(device="auto"), RunOptions(executor="ray"))


@pytest.mark.parametrize(
    ("workers", "seeds", "compute_devices", "at_once"),
    [
        (None, 5, ["cuda:0", "cuda:1"], 32),
        (10, 5, ["cuda:0", "cuda:1"], 5),
        (5, 5, ["cuda:0", "cuda:1"], 3),
        (None, 1, ["cuda:0"], 32),
    ],
)
def test_gpus_share_the_trials(
    workers: int | None,
    seeds: int,
    compute_devices: list[str],
    at_once: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpus(monkeypatch, 2)
    made: list[tuple[list[str], int, float | None]] = []
    monkeypatch.setattr("actbench.execution.trials.LocalWorkers", lambda *given: made.append(given))
    study = Study(device="cuda", activations=("relu",), seeds=seeds)
    make_executor(study, RunOptions(workers=workers, trial_timeout=60))
    assert made == [(compute_devices, at_once, 60)]


def test_a_trials_name_depends_on_the_device() -> None:
    trial = Trial("relu", 0)
    names = {trial_id(Study(device=d, kernels="torch"), trial) for d in ("cpu", "cuda")}
    assert len(names) == 2
    assert trial_id(Study(kernels="torch"), trial) in names


def test_names_of_gpus_are_none_without_nvidias_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert devices.gpu_names() == []


def test_automatic_precision_is_bf16_if_the_device_computes_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for found, precision in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(devices, "has_bfloat16", lambda _, found=found: found)
        assert devices.resolve_precision("auto", "cpu", "auto") == precision
        assert devices.resolve_precision("auto", "cpu", "native") == "fp32"
        assert devices.resolve_precision("bf16", "cpu", "auto") == "bf16"


def test_a_processor_has_bfloat16_if_pytorch_or_the_system_reports_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for capabilities, has in (({"avx512_bf16": True}, True), ({"amx_bf16": False}, False)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda c=capabilities: c, raising=False)
        assert devices.has_bfloat16("cpu") is has


def test_gpus_have_bfloat16_from_compute_capability_8(monkeypatch: pytest.MonkeyPatch) -> None:
    for found, has in ((["8.0", "9.0"], True), (["7.5", "9.0"], False), ([], False)):
        monkeypatch.setattr(devices, "_gpu_values", lambda _, found=found: found)
        assert devices.has_bfloat16("cuda") is has
