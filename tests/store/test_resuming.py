"""A trial stopped after any epoch gives the same bits when resumed from its checkpoint."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from actbench.data.images import open_images, prepare
from actbench.execution.events import Retried
from actbench.execution.executors import run_one
from actbench.execution.local import InProcess
from actbench.execution.plan import prepare_study
from actbench.execution.trials import PendingTrials, run_trials
from actbench.store.checkpoint import Checkpoint
from actbench.store.record import record_to_json
from actbench.store.store import Store
from actbench.store.stored_study import Work
from actbench.study.study import Study, Trial
from actbench.training.events import Progress
from actbench.training.trial import run_to_end, run_trial, train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from actbench.data.images import ImageData

STUDY = Study(activations=("relu",), seeds=(0,), train_images=96, epochs=3, corruptions=())

# draws from all three global generators, in training and in evaluation
DRAWS = """
import random
import numpy as np
import torch

def act(x):
    noise = torch.rand(()) + float(np.random.rand()) + random.random()
    return torch.relu(x) * (1 + noise / 100)
"""


class StoppedError(Exception):
    """A trial was stopped from outside."""


@pytest.fixture(scope="module")
def data() -> ImageData:
    return open_images(prepare("digits")).train_subset(STUDY.train_images)


def stop_after(epoch: int) -> Callable[[object], None]:
    def look(event: object) -> None:
        if isinstance(event, Progress) and event.epoch == epoch and event.test_accuracy is not None:
            raise StoppedError

    return look


def ignore(_: object) -> None:
    pass


@pytest.fixture
def after_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a checkpoint after every epoch, although epochs take only milliseconds."""
    monkeypatch.setattr("actbench.store.checkpoint.SHARE", math.inf)


@pytest.mark.usefixtures("after_every_epoch")
@pytest.mark.parametrize(
    ("activation", "epoch"),
    [
        ("prelu", 2),
        ("rrelu", 2),
        ("drawing", 1),
        ("drawing", 3),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [("prelu", 1), ("prelu", 3), ("rrelu", 1), ("rrelu", 3), ("drawing", 2)]
        ),
    ],
)
def test_a_trial_stopped_after_any_epoch_ends_with_the_record_of_an_uninterrupted_one(
    activation: str,
    epoch: int,
    data: ImageData,
    tmp_path: Path,
    user_module: Callable[[str], str],
) -> None:
    spec = f"{user_module(DRAWS)}:act" if activation == "drawing" else activation
    trial = Trial(spec, 0)
    uninterrupted = run_to_end(run_trial(STUDY, trial, data, ignore))
    checkpoint = Checkpoint(tmp_path, "trial")
    with pytest.raises(StoppedError):
        run_to_end(run_trial(STUDY, trial, data, stop_after(epoch), checkpoint))
    torch.manual_seed(epoch)  # another process has other generators
    resumed = run_to_end(run_trial(STUDY, trial, data, ignore, checkpoint))
    assert record_to_json(resumed) == record_to_json(uninterrupted)


@pytest.mark.usefixtures("after_every_epoch")
def test_batch_norm_and_weight_decay_resume_too(data: ImageData, tmp_path: Path) -> None:
    study = replace(STUDY, weight_decay=0.01)

    def network() -> nn.Module:
        torch.manual_seed(0)
        layers = (nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(10))
        made = nn.Sequential(*layers)
        made(torch.zeros(2, 3, 32, 32))
        return made

    complete, parts, rest = network(), network(), network()
    checkpoint = Checkpoint(tmp_path, "trial")
    history = run_to_end(train(complete, data, study, Trial("relu", 0), ignore)).history
    with pytest.raises(StoppedError):
        run_to_end(train(parts, data, study, Trial("relu", 0), stop_after(2), checkpoint))
    assert (
        run_to_end(train(rest, data, study, Trial("relu", 0), ignore, checkpoint)).history
        == history
    )
    for name, value in complete.state_dict().items():
        assert torch.equal(rest.state_dict()[name], value), name


@pytest.mark.usefixtures("after_every_epoch")
def test_no_epoch_is_trained_twice(data: ImageData, tmp_path: Path) -> None:
    checkpoint, events = Checkpoint(tmp_path, "trial"), []

    def look(event: object) -> None:
        if isinstance(event, Progress):
            events.append(event.epoch)

    with pytest.raises(StoppedError):
        run_to_end(run_trial(STUDY, Trial("relu", 0), data, stop_after(2), checkpoint))
    run_to_end(run_trial(STUDY, Trial("relu", 0), data, look, checkpoint))
    assert events == [3]


def test_a_diverging_trial_diverges_at_the_same_step_when_resumed(
    data: ImageData, tmp_path: Path
) -> None:
    study = replace(
        STUDY, learning_rate=30.0, optimizer="sgd:momentum=0.9", schedule="constant", epochs=9
    )
    uninterrupted = run_to_end(run_trial(study, Trial("leaky_relu:0.3", 0), data, ignore))
    assert uninterrupted.status == "diverged"
    assert uninterrupted.history, "it diverged in its first epoch: nothing is tested"
    checkpoint = Checkpoint(tmp_path, "trial")
    with pytest.raises(StoppedError):
        run_to_end(run_trial(study, Trial("leaky_relu:0.3", 0), data, stop_after(1), checkpoint))
    assert (
        run_to_end(run_trial(study, Trial("leaky_relu:0.3", 0), data, ignore, checkpoint))
        == uninterrupted
    )


def test_a_trial_reports_a_damaged_checkpoint_and_gives_the_same_record(
    data: ImageData, tmp_path: Path
) -> None:
    trial, events = Trial("relu", 0), []
    uninterrupted = run_to_end(run_one(STUDY, Work(trial), data, ignore, None)).record
    store = Store(tmp_path)
    store.make_trial_folders()
    checkpoint = Checkpoint(store.checkpoints, uninterrupted.trial_id)
    checkpoint.path.write_bytes(b"nonsense")
    done = run_to_end(run_one(STUDY, Work(trial), data, events.append, tmp_path))
    assert done.record == uninterrupted
    assert [event.reason for event in events if isinstance(event, Retried)] == [
        f"its damaged checkpoint was renamed to {checkpoint.path}.corrupt"
    ]


def test_a_finished_study_has_no_checkpoints(tmp_path: Path) -> None:
    plan, store = prepare_study(STUDY), Store(tmp_path / "results")
    seen: list[list[str]] = []
    with store.locked():
        stored = store.open(plan.study)
        stored.begin()
        run_trials(
            PendingTrials(plan, stored, stored.pending()),
            InProcess(),
            lambda _: seen.append([path.suffix for path in store.checkpoints.iterdir()]),
        )
        stored.clean_up()
    # three epochs; then the record of the trained trial replaces the checkpoint
    assert seen == [[".pt"], [".pt"], [".pt"], [], [], []]
    assert not store.checkpoints.exists()
