"""A results folder for the tests of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from actbench.store.store import Store
from helpers.small_store import STUDY

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a store that has STUDY and no record yet."""
    store = Store(tmp_path / "results")
    store.open(STUDY).begin()
    return store
