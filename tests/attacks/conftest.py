"""Fixtures of the attacks: a small network, trained once, and images that it did not see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from helpers.attacked_network import TRAINED_ON, enlarged_digits, trained_network

if TYPE_CHECKING:
    from torch import Tensor

    from helpers.attacked_network import SmallCNN


@pytest.fixture(scope="session")
def digits() -> tuple[Tensor, Tensor]:
    """Return all digits as the network takes them, and their labels; read-only."""
    return enlarged_digits()


@pytest.fixture(scope="session")
def network(digits: tuple[Tensor, Tensor]) -> SmallCNN:
    """Return the small network, trained; read-only."""
    return trained_network(*digits)


@pytest.fixture(scope="session")
def images(digits: tuple[Tensor, Tensor]) -> Tensor:
    return digits[0][TRAINED_ON : TRAINED_ON + 200]


@pytest.fixture(scope="session")
def labels(digits: tuple[Tensor, Tensor]) -> Tensor:
    return digits[1][TRAINED_ON : TRAINED_ON + 200]
