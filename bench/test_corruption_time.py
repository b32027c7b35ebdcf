"""Every corruption on 10,000 images."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

import pytest
import torch

from actbench.corruptions.corrupt import corrupt
from actbench.corruptions.registry import CORRUPTIONS
from actbench.study.levels import SEVERITIES
from cifar_shaped import TEST_IMAGES, synthetic_images

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Return the synthetic test images, uint8 (N, 32, 32, 3)."""
    return torch.from_numpy(synthetic_images(TEST_IMAGES, seed=1)[0])


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corrupt(benchmark: BenchmarkFixture, images: torch.Tensor, name: str) -> None:
    """One severity after the other, as in a study, including the setup of each."""
    severities = cycle(SEVERITIES)
    benchmark.pedantic(
        corrupt,
        setup=lambda: ((images, name, next(severities)), {}),
        rounds=len(SEVERITIES),
    )
