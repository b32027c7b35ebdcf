"""Evaluation of each network on 10,000 test images, and each measure of its outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from actbench.models.activations import resolve_activation
from actbench.models.build import build_network
from actbench.models.networks.libraries import LIBRARIES
from actbench.models.networks.registry import MODELS
from actbench.training import measure as evaluation
from actbench.training.diagnostics import InactiveUnits
from actbench.training.measurements import Subject
from cifar_shaped import CLASSES
from contenders import synthetic_data

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture
    from torch import nn

    from actbench.data.images import ImageData

RELU = resolve_activation("relu")


@pytest.fixture(scope="module")
def data() -> ImageData:
    """Return the synthetic test set at full size."""
    return synthetic_data(train_images=1)


@pytest.fixture
def cnn() -> nn.Module:
    """Return the untrained network."""
    network, _ = build_network("cnn", RELU, CLASSES, seed=0)
    return network


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("model", [name for name in MODELS if name not in LIBRARIES])
def test_predict(benchmark: BenchmarkFixture, data: ImageData, model: str, precision: str) -> None:
    """Logits of every image: the cost of a clean test or of one corruption."""
    network, _ = build_network(model, RELU, CLASSES, seed=0)
    arguments = (network, data.test_images, precision)
    benchmark.pedantic(evaluation.predict, arguments, rounds=3, warmup_rounds=1)


def test_predict_while_watching_units(benchmark: BenchmarkFixture, data: ImageData) -> None:
    """The same for the cnn while its inactive units are counted."""
    network, layers = build_network("cnn", RELU, CLASSES, seed=0)
    with InactiveUnits(network, layers):
        benchmark.pedantic(
            evaluation.predict, (network, data.test_images), rounds=3, warmup_rounds=1
        )


def test_input_gradient_norm(benchmark: BenchmarkFixture, data: ImageData, cnn: nn.Module) -> None:
    """The gradient of the loss in every image."""
    logits_of = Subject(cnn, CLASSES).logits
    arguments = (logits_of, cnn, data.test_images, data.test_labels)
    benchmark.pedantic(evaluation.input_gradient_norm, arguments, rounds=3, warmup_rounds=1)


@pytest.mark.parametrize("measure", ["score", "calibration_error", "logit_margin"])
def test_measure_of_logits(benchmark: BenchmarkFixture, data: ImageData, measure: str) -> None:
    """Accuracy and loss, calibration error, margin."""
    logits = torch.randn(len(data.test_labels), CLASSES, generator=torch.Generator().manual_seed(0))
    benchmark(getattr(evaluation, measure), logits, data.test_labels)
