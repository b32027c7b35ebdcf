"""Several trials in one process: each has the results of a trial run by itself."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from actbench.data.images import open_images, prepare, write_arrays
from actbench.execution.events import Finished, Retried
from actbench.execution.executors import run_one
from actbench.execution.interleaved import InterleavedTrials, Resumed
from actbench.execution.local import InProcess, LocalWorkers
from actbench.models.activations import resolve_activation
from actbench.models.build import build_network
from actbench.store.checkpoint import Checkpoint
from actbench.store.store import Store
from actbench.store.stored_study import Work
from actbench.study.study import Study, Trial
from actbench.training.deferred import DeferredSteps
from actbench.training.trial import run_to_end, train
from helpers.forked import FORKS

if TYPE_CHECKING:
    from pathlib import Path

    from actbench.data.images import ImageData
    from actbench.store.record import TrialRecord
    from actbench.training.events import Progress

DRAWING = f"{__name__}:DrawsWhereverItCan"
GREEDY = f"{__name__}:Greedy"
SPECS = ("relu", "leaky_relu:0.1", "prelu", "rrelu", DRAWING)
STUDY = Study(
    activations=SPECS,
    seeds=(0, 1),
    epochs=2,
    train_images=40,
    batch_size=16,
    corruptions=("gaussian_noise:sigma=0.1/0.2",),
)
LAYERS = replace(STUDY, activations=SPECS[:-1])


class DrawsWhereverItCan(nn.Module):
    """Adds noise from the global generators, in training and in evaluation."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x) + 0.01 * torch.rand(())


class Greedy(nn.Module):
    """Is out of memory if more than two networks with it exist, as on a GPU."""

    most = 2
    there = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).there += 1

    def __del__(self) -> None:
        type(self).there -= 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x[0].numel() > 1 and self.there > 3 * self.most:  # a network has three
            raise torch.OutOfMemoryError("a GPU would have no memory left")
        return torch.tanh(x)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the data of a few digits, so that a trial is short."""
    digits = open_images(prepare("digits"))
    folder = tmp_path_factory.mktemp("few") / "digits"
    parts = {
        f"{part}_{what}": getattr(digits, f"{part}_{what}")[:count].numpy()
        for part, count in (("train", 600), ("test", 16))
        for what in ("images", "labels")
    }
    write_arrays(folder, {**parts, "classes": digits.classes, "flip": digits.flip})
    return folder


@pytest.fixture(scope="module")
def data(folder: Path) -> ImageData:
    return open_images(folder)


def ignore(_: object) -> None:
    pass


def works_of(study: Study) -> list[Work]:
    return [*map(Work, study.trials())]


def records_of(events: list[Any]) -> dict[str, TrialRecord]:
    return {e.record.trial_id: e.record for e in events if isinstance(e, Finished)}


def one_by_one(study: Study, folder: Path) -> dict[str, TrialRecord]:
    events: list[Any] = []
    InProcess().run(study, works_of(study), folder, events.append)
    return records_of(events)


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[str, TrialRecord]:
    """Return the records of ``LAYERS``, each trial run by itself."""
    return one_by_one(LAYERS, folder)


def side_by_side(study: Study, folder: Path, at_once: int) -> list[Any]:
    interleaved = InterleavedTrials("cpu", at_once)
    for work in works_of(study):
        interleaved.add(study, work, folder, ignore, None)
    events: list[Any] = []
    while interleaved.busy:
        events.extend(interleaved.advance())
    return events


@pytest.mark.parametrize("at_once", [2, pytest.param(7, marks=pytest.mark.slow)])
def test_interleaved_trials_have_the_records_of_single_trials(
    at_once: int, folder: Path, alone: dict[str, TrialRecord]
) -> None:
    assert records_of(side_by_side(LAYERS, folder, at_once)) == alone


def test_a_layers_draws_do_not_depend_on_interleaved_trials(folder: Path) -> None:
    study = replace(STUDY, activations=("relu", "rrelu", DRAWING), seeds=(0,))
    few = open_images(folder).train_subset(40)
    single = [
        run_to_end(run_one(study, work, few, ignore, None, deferred=True))
        for work in works_of(study)
    ]
    assert records_of(side_by_side(study, folder, 3)) == records_of(single)


@pytest.mark.parametrize("model", ["resnet20", "deep_cnn:depth=4"])
def test_an_epoch_submitted_at_once_equals_one_run_step_by_step(
    model: str, data: ImageData
) -> None:
    study = Study(model=model, epochs=2, batch_size=8, augment=("flip",), weight_decay=0.01)
    few = data.train_subset(20)
    trained = []
    for deferred in (False, True):
        network, _ = build_network(model, resolve_activation("relu"), 10, 0)
        training = run_to_end(
            train(network, few, study, Trial("relu", 0), ignore, deferred=deferred)
        )
        trained.append((training, {k: v.tolist() for k, v in network.state_dict().items()}))
    assert trained[0] == trained[1]


def test_progress_is_reported_at_the_same_steps_either_way(data: ImageData) -> None:
    study = Study(epochs=1, batch_size=1, train_images=104)
    reported: dict[bool, list[Progress]] = {False: [], True: []}
    for deferred, heard in reported.items():
        network, _ = build_network("cnn", resolve_activation("relu"), 10, 0)
        few = data.train_subset(104)
        run_to_end(train(network, few, study, Trial("relu", 0), heard.append, deferred=deferred))
    assert reported[True] == reported[False]
    assert [progress.step for progress in reported[True]] == [100, 104]


def test_other_trials_continue_while_an_epoch_is_running(data: ImageData) -> None:
    few, study = data.train_subset(150), Study(epochs=1, train_images=150)
    network, _ = build_network("cnn", resolve_activation("relu"), 10, 0)
    before = network.conv1.weight.clone()
    generator = train(network, few, study, Trial("relu", 0), ignore, deferred=True)
    next(generator)
    assert not torch.equal(network.conv1.weight, before)


def test_an_interleaved_trial_diverges_at_the_same_step_as_a_single_one(folder: Path) -> None:
    study = Study(
        activations=("relu", "tanh"),
        seeds=(0,),
        learning_rate=1e6,
        optimizer="sgd:momentum=0.9",
        schedule="constant",
        epochs=2,
        train_images=128,
    )
    found, expected = records_of(side_by_side(study, folder, 2)), one_by_one(study, folder)
    assert found == expected
    assert any(record.status == "diverged" for record in found.values())


def test_a_trial_resumes_from_its_checkpoint(folder: Path, data: ImageData, tmp_path: Path) -> None:
    study = Study(activations=("relu",), epochs=3, train_images=40, corruptions=())
    work, few = Work(Trial("relu", 0)), data.train_subset(40)
    undisturbed = run_to_end(run_one(study, work, few, ignore, None)).record
    store = Store(tmp_path)
    store.make_trial_folders()
    interleaved = InterleavedTrials("cpu", 2)
    interleaved.add(study, work, folder, ignore, tmp_path)
    while not list(store.checkpoints.iterdir()):
        list(interleaved.advance())
    resumed = run_to_end(run_one(study, work, few, ignore, tmp_path, deferred=True)).record
    assert resumed == undisturbed
    assert Checkpoint(store.checkpoints, undisturbed.trial_id).path.exists()


def test_if_memory_is_short_fewer_trials_run_at_once_and_all_finish(folder: Path) -> None:
    study = Study(
        model="mlp:depth=3,width=16",
        activations=(GREEDY,),
        baseline=GREEDY,
        seeds=tuple(range(5)),
        epochs=1,
        train_images=16,
        corruptions=(),
    )
    events = side_by_side(study, folder, 5)
    retried = [event for event in events if isinstance(event, Retried)]
    assert {event.reason for event in retried} == {
        "the GPU ran out of memory beside 4 other trials",
        "the GPU ran out of memory beside 3 other trials",
        "the GPU ran out of memory beside 2 other trials",
    }
    assert records_of(events) == one_by_one(study, folder)
    assert {record.status for record in records_of(events).values()} == {"ok"}


def test_a_trial_that_does_not_fit_in_memory_by_itself_crashes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(activations=(GREEDY,), baseline=GREEDY, seeds=(0,), epochs=1)
    monkeypatch.setattr(Greedy, "most", 0)
    (turn, outcome) = side_by_side(study, folder, 3)
    assert isinstance(turn, Resumed)
    assert outcome.record.status == "crashed"
    assert outcome.record.reason == "OutOfMemoryError: a GPU would have no memory left"


def test_workers_with_several_trials_give_the_records_of_one_trial_at_a_time(
    folder: Path, alone: dict[str, TrialRecord]
) -> None:
    events: list[Any] = []
    workers = LocalWorkers(["cpu", "cpu"], at_once=3)
    try:
        workers.run(LAYERS, works_of(LAYERS), folder, events.append)
    finally:
        workers.close()
    assert records_of(events) == alone


def test_a_trial_that_hangs_does_not_fail_the_trials_interleaved_with_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hanging.py").write_text(
        "import threading\nfrom torch import nn\n\n"
        "class Hangs(nn.Module):\n    def forward(self, x):\n        threading.Event().wait()\n"
    )
    monkeypatch.chdir(tmp_path)
    study = Study(
        model="mlp:depth=1,width=16",
        activations=("relu", "hanging:Hangs"),
        seeds=(0, 1),
        epochs=1,
        train_images=16,
        corruptions=(),
    )
    events: list[Any] = []
    workers = LocalWorkers(["cpu"], at_once=4, trial_timeout=3 if FORKS else 8)
    try:
        workers.run(study, works_of(study), folder, events.append)
    finally:
        workers.close()
    ended = {
        (event.record.activation, event.record.seed): event.record.status
        for event in events
        if isinstance(event, Finished)
    }
    assert ended == {
        ("relu", 0): "ok",
        ("relu", 1): "ok",
        ("hanging:Hangs", 0): "crashed",
        ("hanging:Hangs", 1): "crashed",
    }


def test_losses_are_read_once_per_epoch(data: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(epochs=1, train_images=150)
    network, _ = build_network("cnn", resolve_activation("relu"), 10, 0)
    steps = DeferredSteps(network, data.train_subset(150), study, Trial("relu", 0))

    def no_reading(self: torch.Tensor) -> float:
        raise AssertionError("a value was read while the steps were handed over")

    with monkeypatch.context() as patch:
        for name in ("item", "tolist", "__float__", "__bool__"):
            patch.setattr(torch.Tensor, name, no_reading)
        losses = steps.begin(1)
    assert len(list(losses)) == steps.count == math.ceil(150 / 64)
