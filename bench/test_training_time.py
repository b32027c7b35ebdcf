"""Training of each network: twenty steps, and an epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from actbench.models.networks.libraries import LIBRARIES
from actbench.models.networks.registry import MODELS
from cifar_shaped import BATCH_SIZE, STEPS, TRAIN_IMAGES
from contenders import our_training

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("model", [name for name in MODELS if name not in LIBRARIES])
def test_twenty_steps(benchmark: BenchmarkFixture, model: str, precision: str) -> None:
    """Batches, forward, backward, gradient norms and optimiser."""
    steps = our_training(STEPS // 5 * BATCH_SIZE, model=model, precision=precision)
    benchmark.pedantic(steps, rounds=5, warmup_rounds=1)


@pytest.mark.parametrize(
    ("model", "images"),
    [("cnn", TRAIN_IMAGES), ("deep_cnn", TRAIN_IMAGES // 10), ("resnet20", TRAIN_IMAGES // 10)],
)
def test_epoch(benchmark: BenchmarkFixture, model: str, images: int) -> None:
    """A tenth of an epoch for the networks whose steps take long."""
    benchmark.pedantic(our_training(images, model=model), rounds=1)
