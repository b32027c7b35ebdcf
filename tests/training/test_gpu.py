"""On a GPU: the results of the CPU, reproducible whatever else runs at the same time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from actbench.data.images import open_images, prepare
from actbench.execution.events import Finished
from actbench.execution.local import LocalWorkers
from actbench.models.activations import resolve_activation
from actbench.models.build import build_network
from actbench.store.store import Store
from actbench.store.stored_study import Work
from actbench.study.study import Study, Trial
from actbench.training import cuda
from actbench.training.deferred import DeferredSteps
from actbench.training.steps import Steps
from helpers.runs import TINY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from actbench.data.images import ImageData
    from actbench.store.record import TrialRecord
    from helpers.runs import Outcome

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

STUDY = Study(device="cuda", kernels="torch", epochs=2, batch_size=16)


class ReadsOnTheHost(nn.Module):
    """Cannot be captured: it reads a value."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x) if x.max().item() > -1 else x


@pytest.fixture(scope="module")
def folder() -> Path:
    return prepare("digits")


@pytest.fixture(scope="module")
def data(folder: Path) -> ImageData:
    return open_images(folder).train_subset(50 * 16 + 3)


@pytest.fixture(autouse=True)
def _own_stream() -> Iterator[None]:
    torch.backends.cudnn.allow_tf32 = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    with torch.cuda.stream(torch.cuda.Stream()):
        yield
    torch.use_deterministic_algorithms(False)


def losses_of(
    taker: type[Steps], spec: str, data: ImageData, device: str, study: Study = STUDY
) -> tuple[list[float], Any]:
    network, _ = build_network("cnn", resolve_activation(spec), 10, 0)
    steps = taker(network.to(device), data.to(device), study, Trial(spec, 0))
    return [loss for epoch in (1, 2) for loss in steps.begin(epoch)], steps


def records_at_once(study: Study, folder: Path, at_once: int) -> dict[str, TrialRecord]:
    records: dict[str, TrialRecord] = {}

    def hear(event: Any) -> None:
        if isinstance(event, Finished):
            records[event.record.trial_id] = event.record

    workers = LocalWorkers(["cuda:0"], at_once)
    try:
        workers.run(study, [*map(Work, study.trials())], folder, hear)
    finally:
        workers.close()
    return records


@pytest.mark.parametrize("spec", ["relu", "leaky_relu:0.1", "gelu"])
def test_the_first_losses_are_those_of_the_processor(spec: str, data: ImageData) -> None:
    expected, _ = losses_of(Steps, spec, data, "cpu")
    found, steps = losses_of(DeferredSteps, spec, data, "cuda")
    assert steps._graphs
    assert found[:50] == pytest.approx(expected[:50], abs=1e-4)


def test_captured_steps_equal_launched_steps(
    data: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured, _ = losses_of(DeferredSteps, "prelu", data, "cuda")
    monkeypatch.setattr(cuda, "STEPS_BEFORE_CAPTURE", 10**9)
    launched, steps = losses_of(DeferredSteps, "prelu", data, "cuda")
    assert not steps._graphs
    assert captured == launched


@pytest.mark.parametrize("optimizer", ["sgd:momentum=0.9", "adam"])
def test_a_recipe_is_captured_with_its_changing_rates_and_draws(
    optimizer: str, data: ImageData
) -> None:
    study = replace(
        STUDY, optimizer=optimizer, learning_rate=1e-3, schedule="cosine:warmup=0.1",
        augment=("flip", "crop:2", "cutout:6"), clip_gradients=1.0, steps=90,
    )  # fmt: skip
    expected, _ = losses_of(Steps, "relu", data, "cpu", study)
    found, steps = losses_of(DeferredSteps, "relu", data, "cuda", study)
    assert steps._graphs
    assert len(found) == 90
    assert found[:30] == pytest.approx(expected[:30], abs=1e-3)


@pytest.mark.parametrize(
    "recipe", [{"train_against": "pgd"}, {"optimizer": "rmsprop", "schedule": "cosine"}]
)
def test_a_recipe_that_needs_the_host_in_each_step_is_not_captured(
    recipe: dict[str, str], data: ImageData
) -> None:
    study = replace(STUDY, learning_rate=1e-3, **recipe)
    losses, steps = losses_of(DeferredSteps, "relu", data, "cuda", study)
    assert not steps._graphs
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("spec", ["rrelu", f"{__name__}:ReadsOnTheHost"])
def test_networks_that_draw_or_read_values_train_without_capture(
    spec: str, data: ImageData
) -> None:
    losses, steps = losses_of(DeferredSteps, spec, data, "cuda")
    assert not steps._graphs
    assert losses[-1] < losses[0]


def test_records_are_the_same_when_repeated_and_one_by_one(folder: Path) -> None:
    study = Study(
        device="cuda",
        kernels="torch",
        activations=("relu", "leaky_relu:0.1", "prelu", "rrelu"),
        seeds=(0, 1),
        epochs=2,
        train_images=500,
        corruptions=("shot_noise",),
        attacks=("fgsm", "square"),
        attack_images=30,
    )
    first = records_at_once(study, folder, 8)
    assert {record.status for record in first.values()} == {"ok"}
    assert records_at_once(study, folder, 8) == first
    assert records_at_once(study, folder, 1) == first


def test_the_command_trains_and_resumes_on_the_gpu(
    tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    study = ("run", *TINY, "--activation", "relu", "--device")
    assert actbench_here(*study, "auto").code == 0
    (folder,) = (tmp_path / "results").iterdir()
    store = Store(folder)
    assert store.study().device == "cuda"
    assert store.environment()["environments"][0]["gpus"]
    assert actbench_here(*study, "cpu").code == 3
