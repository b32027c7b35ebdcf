"""Reports of these tests have all their figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from actbench.report import write
from actbench.report.figures.registry import figures

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module", autouse=True)
def _all_figures() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "figures", figures)
        yield
