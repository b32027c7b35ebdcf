"""A fixture for tests that compile the native kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from actbench.models.native import compiled

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def built_anew() -> Iterator[None]:
    """Let a test compile the libraries that it uses, without changing those of other tests."""
    before = compiled.library
    compiled.library = before.__wrapped__  # type: ignore[assignment]
    yield
    compiled.library = before
