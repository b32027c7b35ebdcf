"""A study's kernels are chosen once, recorded, kept, and never mixed."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch

from actbench.data.images import open_images, prepare
from actbench.execution import plan as plan_module
from actbench.execution.plan import prepare_study
from actbench.execution.trials import keep_resolved
from actbench.models.activations import resolve_activation
from actbench.models.build import build_network, has_native_step
from actbench.models.native import compiled
from actbench.models.networks.layers import PoolingConv2d
from actbench.store.store import Store
from actbench.study.activations import ACTIVATIONS, Shape
from actbench.study.study import Study, Trial, trial_id
from actbench.study.toml import study_from_toml, study_to_toml
from actbench.training import devices
from actbench.training.trial import run_to_end, train
from helpers.compiler import has_compiler
from helpers.runs import TINY, same_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.runs import Outcome, TinyRun

# The activations before which a network pools only with native kernels, without two that let next
# to nothing through a network's initial weights.
CHOSEN = [
    name
    for name in ACTIVATIONS
    if resolve_activation(name).shape in (Shape.INCREASING, Shape.QUASI_CONVEX)
    and name not in ("tanhshrink", "softshrink")
]

QUICK = ("run", "--train-images", "64", "--epochs", "1", "--seeds", "1", "--corruptions", "none")
SMALL = (*QUICK, "--activation", "leaky_relu:0.1", "--workers", "0", "--out", "small")


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the compiler unavailable, with no library compiled before."""
    monkeypatch.setattr(compiled, "library", compiled.library.__wrapped__)
    monkeypatch.setenv("CXX", "/nowhere/c++")


def stored(folder: Path) -> set[str]:
    """Return the kernels named in the folder's study and in all its records."""
    store = Store(folder)
    study = store.study()
    return {study.kernels, *(record.kernels for record in store.open(study).records().values())}


# the networks


@has_compiler
@pytest.mark.parametrize("model", ["cnn", "deep_cnn:depth=4"])
@pytest.mark.parametrize(
    ("spec", "size"),
    [
        *((spec, 32) for spec in ("leaky_relu:0.3", "leaky_relu:-0.3", *CHOSEN)),
        *(("relu", size) for size in (28, 30, 32, 48, 64, 96)),
    ],
)
def test_a_network_computes_the_same_function_with_either_kernels(
    model: str, spec: str, size: int
) -> None:
    x = torch.rand(8, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    logits, gradients = [], []
    for kernels in ("torch", "native"):
        factory = resolve_activation(spec)
        network, _ = build_network(model, factory, 10, 0, kernels=kernels, image_size=size)
        logits.append(network(x))
        logits[-1].square().sum().backward()
        gradients.append([p.grad for p in network.parameters()])
    torch.testing.assert_close(*logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)
    assert not torch.equal(*logits)  # the sums are in another order


@has_compiler
def test_twenty_steps_give_the_losses_of_pytorchs_kernels() -> None:
    data = open_images(prepare("digits")).train_subset(20 * 64)
    losses = []
    for kernels in ("torch", "native"):
        study = Study(activations=("leaky_relu:0.1",), epochs=1, kernels=kernels)
        network, _ = build_network(
            "cnn", resolve_activation("leaky_relu:0.1"), 10, 0, "default", kernels
        )
        training = run_to_end(
            train(network, data, study, Trial("leaky_relu:0.1", 0), lambda _: None)
        )
        losses.append(training.history[0].train_loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_only_networks_that_pool_after_a_convolution_have_a_native_step() -> None:
    relu, rrelu = resolve_activation("relu"), resolve_activation("rrelu")
    assert has_native_step("cnn", [rrelu, relu], 10)
    assert has_native_step("deep_cnn", [resolve_activation("gelu")], 10)
    assert not has_native_step("cnn", [rrelu], 10)
    assert not has_native_step("resnet20", [relu], 10)


def test_an_activation_of_unknown_shape_has_no_native_step() -> None:
    for spec in ("rrelu", "torch.nn.functional:silu"):
        network, _ = build_network("cnn", resolve_activation(spec), 10, 0, kernels="native")
        assert not any(isinstance(module, PoolingConv2d) for module in network.modules())


# the study


def test_kernels_are_part_of_a_trials_identity() -> None:
    study, trial = Study(kernels="torch"), Trial("relu", 0)
    native = dataclasses.replace(study, kernels="native")
    assert trial_id(study, trial) != trial_id(native, trial)
    assert study_from_toml(study_to_toml(native), "it").kernels == "native"


def test_a_study_stored_without_kernels_was_computed_with_pytorchs() -> None:
    assert study_from_toml("epochs = 3", "it").kernels == "torch"


@has_compiler
def test_auto_is_native_and_is_stored_in_the_folder(tiny_run: TinyRun) -> None:
    assert stored(tiny_run.folder) == {"native"}


@has_compiler
@pytest.mark.parametrize(
    "options",
    [
        {"activations": ("rrelu",), "baseline": "rrelu"},
        {"activations": ("relu",), "precision": "bf16"},
        {"activations": ("relu",), "kernels": "torch"},
    ],
)
def test_auto_is_torch_if_nothing_native_would_be_computed(
    options: dict[str, Any],
) -> None:
    study = Study(train_images=64, epochs=1, seeds=1, corruptions=(), **options)
    assert prepare_study(study).study.kernels == "torch"


@pytest.mark.usefixtures("no_compiler", "short_report")
def test_without_a_compiler_pytorch_computes_and_one_line_reports_it(
    tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    done = actbench_here(*SMALL)
    assert done.code == 0, done.err
    line = "no C++ compiler was found (/nowhere/c++), so PyTorch's slower kernels are used"
    assert done.err.splitlines().count(line) == 1
    assert stored(tmp_path / "small") == {"torch"}
    asked = actbench_here(*SMALL, "--kernels", "native", "--out", "other")
    assert asked.code == 2
    assert asked.err == (
        "actbench: kernels is native, but no C++ compiler was found (/nowhere/c++); "
        "torch needs none\n"
    )
    assert not (tmp_path / "other").exists()


@has_compiler
@pytest.mark.usefixtures("short_report")
def test_a_folder_keeps_its_first_kernels_and_a_dry_run_uses_them(
    tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    assert actbench_here(*SMALL, "--kernels", "torch").code == 0
    listed = actbench_here(*SMALL, "--seeds", "2", "--dry-run", "--json")
    trials = json.loads(listed.out)["trials"]
    assert [trial["stored"] for trial in trials] == [True] * 2 + [False] * 2
    grown = actbench_here(*SMALL, "--seeds", "2")
    assert grown.code == 0, grown.err
    assert stored(tmp_path / "small") == {"torch"}
    mixed = actbench_here(*SMALL, "--kernels", "native")
    assert mixed.code == 3
    assert "kernels is 'torch' there and 'native' here" in mixed.err
    assert stored(tmp_path / "small") == {"torch"}
    afresh = actbench_here(*SMALL, "--restart", "--yes")
    assert afresh.code == 0, afresh.err
    assert stored(tmp_path / "small") == {"native"}
    assert stored(tmp_path / "small.1") == {"torch"}


@has_compiler
def test_a_native_folder_is_not_continued_without_a_compiler(
    tiny_run: TinyRun,
    tmp_path: Path,
    no_compiler: None,
    actbench_here: Callable[..., Outcome],
) -> None:
    shutil.copytree(tiny_run.folder, tmp_path / "copy")
    done = actbench_here("run", *TINY, "--seeds", "3", "--workers", "0", "--out", "copy")
    assert done.code == 2
    assert "kernels is native, but no C++ compiler was found" in done.err
    assert same_files(tiny_run.folder, tmp_path / "copy") == []
    again = actbench_here("report", "copy")
    assert again.code == 0, again.err


@has_compiler
def test_native_in_bf16_is_refused(actbench_here: Callable[..., Outcome]) -> None:
    done = actbench_here(*SMALL, "--kernels", "native", "--precision", "bf16")
    assert done.code == 2
    assert done.err == (
        "actbench: kernels is native, which computes only in fp32, and precision is bf16; "
        "it must be auto or torch\n"
    )


def test_bf16_on_a_processor_without_it_gives_a_warning_with_a_measured_ratio(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    study = Study(activations=("relu",), precision="bf16", train_images=130, corruptions=())
    monkeypatch.setattr(plan_module, "has_bfloat16", lambda _: True)
    assert prepare_study(study).note == ""
    monkeypatch.setattr(plan_module, "has_bfloat16", lambda _: False)
    note = prepare_study(study).note
    ratio = re.search(r"cnn with relu takes (\S+) times as long as in fp32", note)
    assert ratio is not None
    assert float(ratio[1]) > 0
    monkeypatch.setattr(devices, "has_bfloat16", lambda _: False)
    plan = prepare_study(dataclasses.replace(study, precision="auto"))
    assert (plan.study.precision, plan.note) == ("fp32", "")
    store = Store(tmp_path / "results")
    store.open(plan.study).begin()
    monkeypatch.setattr(devices, "has_bfloat16", lambda _: True)
    again = keep_resolved(dataclasses.replace(study, precision="auto"), store)
    assert again.precision == "fp32"
