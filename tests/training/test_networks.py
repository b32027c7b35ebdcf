"""What holds for a trial holds for every network: built ones, torchvision's and converted ones."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from actbench.data.images import ImageData, open_images, prepare
from actbench.models.activations import resolve_activation
from actbench.models.build import build_network
from actbench.store.checkpoint import Checkpoint
from actbench.store.record import record_to_json
from actbench.study.study import Study, Trial
from actbench.training.trial import run_to_end, run_trial

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from actbench.store.record import TrialRecord
    from actbench.training.events import Progress

SOURCE = """
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 8, 3, 4), nn.Conv2d(8, 8, 3, 2)
        self.norm, self.act, self.fc = nn.BatchNorm2d(8), nn.ReLU(True), nn.Linear(8, num_classes)

    def forward(self, x):
        x = F.dropout(self.act(self.conv1(x)), 0.3, self.training)
        x = self.act(self.norm(self.conv2(x))).mean((2, 3))
        return self.fc(F.relu_(x))
"""
NETWORKS = (
    "cnn",
    "deep_cnn:depth=4",
    *(pytest.param(f"resnet{n}", marks=pytest.mark.slow) for n in (18, 20)),  # as wrn
    "wrn:depth=10,width=1",
    pytest.param("vgg:batch_norm=true", marks=pytest.mark.slow),
    pytest.param("squeezenet", marks=pytest.mark.slow),  # torchvision's is similar
    pytest.param("nin", marks=pytest.mark.slow),  # many convolutions, as deep_cnn
    "mlp:depth=2,width=16",
    "vit:depth=2,width=16,heads=2",
    "torchvision:squeezenet1_1",
    "user's own",
)


@pytest.fixture(scope="module")
def data() -> ImageData:
    images = open_images(prepare("digits")).train_subset(5)
    few = {"test_images": images.test_images[:3], "test_labels": images.test_labels[:3]}
    return ImageData(**{**vars(images), **few})


@pytest.fixture(params=NETWORKS)
def model(request: pytest.FixtureRequest, user_module: Callable[[str], str]) -> str:
    own = request.param == "user's own"
    return f"{user_module(SOURCE)}:Net" if own else str(request.param)


def ignore(_: Progress) -> None:
    pass


class StoppedError(Exception):
    pass


def stop_after_the_first_epoch(progress: Progress) -> None:
    if progress.test_accuracy is not None:
        raise StoppedError


def test_a_trial_of_any_network(
    model: str, data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relu is leaky_relu:0; resumed and deferred trials are equal; every layer is measured."""
    study = Study(
        model=model,
        activations=("relu", "leaky_relu:0"),
        epochs=2,
        batch_size=3,
        augment=("flip",),
        learning_rate=0.001,
        corruptions=(),
        kernels="torch",
    )

    def run(
        spec: str = "relu", on_event: Callable[[Progress], None] = ignore, **options: Any
    ) -> TrialRecord:
        return run_to_end(run_trial(study, Trial(spec, 0), data, on_event, **options))

    alone = run()
    assert alone.status == "ok", alone.reason
    unchanged = {"trial_id": "", "activation": "", "activation_check": {}}
    assert replace(run("leaky_relu:0"), **unchanged) == replace(alone, **unchanged)
    assert record_to_json(run(deferred=True)) == record_to_json(alone)
    monkeypatch.setattr("actbench.store.checkpoint.SHARE", math.inf)
    checkpoint = Checkpoint(tmp_path, "trial")
    with pytest.raises(StoppedError):
        run(on_event=stop_after_the_first_epoch, checkpoint=checkpoint)
    torch.manual_seed(1)
    assert record_to_json(run(checkpoint=checkpoint)) == record_to_json(alone)

    network, layers = build_network(model, resolve_activation("relu"), 10, 0)
    weights = {
        name.removesuffix(".weight"): p
        for name, p in network.named_parameters()
        if name.endswith("weight") and p.dim() > 1
    }
    assert list(alone.history[0].grad_norms) == list(weights)
    assert all(norm > 0 for norm in alone.history[0].grad_norms.values())
    assert alone.clean is not None
    assert list(alone.clean.inactive) == list(layers)
    assert all(
        p.is_contiguous(memory_format=torch.channels_last) for p in weights.values() if p.dim() == 4
    )
    if model.endswith(":Net"):
        assert alone.notes == (
            "activations replaced: 1 modules (1 ReLU), 1 calls (1 relu); 3 activations in all",
        )
