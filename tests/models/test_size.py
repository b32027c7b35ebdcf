"""The sizes of networks, against published ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torchvision import models

from actbench.errors import UsageError
from actbench.models.size import network_size

if TYPE_CHECKING:
    from collections.abc import Callable


def test_the_multiply_adds_of_the_cnn_are_those_of_its_layers() -> None:
    convolutions = 3 * 16 * 9 * 32 * 32 + 16 * 32 * 9 * 16 * 16
    linear = 2048 * 128 + 128 * 10
    assert network_size("cnn", 10, 32).multiply_adds == convolutions + linear


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "vit_b_16"])
def test_the_size_of_a_network_of_torchvision_is_the_published_one(name: str) -> None:
    about = models.get_model_weights(name).DEFAULT.meta
    size = network_size(f"torchvision:{name}", 1000, 224)
    assert size.parameters == about["num_params"]
    assert size.multiply_adds / 1e9 == pytest.approx(about["_ops"], rel=0.005, abs=0.001)


def test_the_size_depends_on_the_images_and_the_classes() -> None:
    size = network_size("resnet20", 100, 64)
    assert size.parameters == 269_722 + 90 * 65
    body = network_size("resnet20", 10, 32).multiply_adds - 640
    assert size.multiply_adds == 4 * body + 6400


def test_a_users_network_is_measured_without_its_random_numbers(
    user_module: Callable[[str], str],
) -> None:
    name = user_module(
        "from torch import nn\n"
        "def build(num_classes): return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))\n"
        "def fails(num_classes): return nn.Linear(3, num_classes)\n"
    )
    before = torch.get_rng_state()
    assert network_size(f"{name}:build", 10, 8).parameters == 1930
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(UsageError, match="cannot be found for images of 8×8: RuntimeError"):
        network_size(f"{name}:fails", 10, 8)
