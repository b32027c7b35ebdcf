"""The figures of a study that has all of them, as drawn and as SVG."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from actbench.report.figures.registry import figures
from actbench.report.figures.style import to_svg
from helpers.drawn_studies import study_of
from helpers.synthetic import synthetic_frames

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from actbench.analysis.frames import Frames


@pytest.fixture(scope="session")
def normal() -> Frames:
    """Return the frames of a study that has every figure; read-only."""
    return synthetic_frames(study_of())


@pytest.fixture(scope="session")
def drawn(normal: Frames) -> dict[str, Figure]:
    """Return its figures; read-only."""
    return figures(normal)


@pytest.fixture(scope="session")
def pictures(drawn: dict[str, Figure]) -> dict[str, str]:
    """Return its figures as SVG."""
    return {name: to_svg(figure) for name, figure in drawn.items()}
