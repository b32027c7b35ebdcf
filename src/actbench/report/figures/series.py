"""The style of each activation: the same colour, marker and line in the figures of every study."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from actbench.report.figures.style import INK, MAX_NAME_LENGTH, PAPER, shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

# Okabe & Ito (2008) without their yellow, which is too pale on white: six hues that stay distinct
# under the three common colour-vision deficiencies. Line and marker distinguish series of one hue.
HUES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
# each with the size in points at which it is easily distinguished from the others
MARKERS = (
    ("s", 4.6),
    ("D", 4.8),
    ("^", 6),
    ("v", 6),
    ("P", 6.4),
    ("X", 6.4),
    ("p", 6.4),
    ("<", 6),
    ("*", 8.5),
    (">", 6),
    ("h", 6),
    ("d", 6.4),
)
LINES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
STYLES = len(HUES) * len(LINES)
# The styles of common activations, in order; those compared most often have different hues.
# Positions must not change: an activation keeps its colour in all studies.
_POSITIONS = {
    spec: position
    for position, spec in enumerate(
        (
            "leaky_relu:0.01",
            "leaky_relu:0.05",
            "leaky_relu:0.1",
            "leaky_relu:0.2",
            "leaky_relu:0.3",
            "leaky_relu:0.5",
            "rrelu",
            "elu",
            "celu",
            "gelu",
            "silu",
            "mish",
            "selu",
            "tanh",
            "sigmoid",
            "softplus",
            "hardswish",
            "prelu",
            "identity",
        )
    )
}


@dataclass(frozen=True)
class SeriesStyle:
    """The style of an activation in every figure.

    Attributes:
        label: its name, shortened, with its n if needed.
        series: its position among the study's activations.
        colour: the colour of its line, marker and band.
        marker: matplotlib's name of it.
        size: the size of the marker, in points.
        line: matplotlib's name or dashes of it.
    """

    label: str
    series: int
    colour: str
    marker: str
    size: float
    line: str | tuple[int, tuple[float, ...]]

    def with_label(self, label: str) -> SeriesStyle:
        """Return the same style with another label."""
        return replace(self, label=label)

    def strokes(self, *, joined: bool = True) -> dict[str, Any]:
        """Return the keyword arguments of ``Axes.plot`` for this style."""
        return {
            "color": self.colour,
            "marker": self.marker,
            "markersize": self.size,
            "linestyle": self.line if joined else "none",
            "markeredgecolor": PAPER,
            "markeredgewidth": 0.6,
        }

    def gid(self, values: Iterable[str] = ()) -> str:
        """Return the id of a part of the series, as ``to_svg`` reads it.

        Args:
            values: what to show where the pointer is at a point of the line, for each point.
        """
        return "\n".join([f"series-{self.series}", *values])


def series_styles(activations: Sequence[str]) -> dict[str, SeriesStyle]:
    """Return each activation's style; no two of the first two dozen are the same.

    ReLU is black. The style of a common activation is fixed; that of another follows
    only from its spec, unless one of the study has it already.
    """
    positions: dict[str, int] = {}
    for name in sorted(activations, key=lambda name: (_POSITIONS.get(name, STYLES), name)):
        if name == "relu":
            continue
        position = _POSITIONS.get(name)
        if position is None:
            position = int(hashlib.sha256(name.encode()).hexdigest(), 16) % STYLES
        used = set(positions.values())
        free = (found for i in range(STYLES) if (found := (position + i) % STYLES) not in used)
        positions[name] = next(free, position)
    return {
        name: _style(positions.get(name), label, series)
        for series, (name, label) in enumerate(_labels(activations).items())
    }


def _style(position: int | None, label: str, series: int) -> SeriesStyle:
    if position is None:
        return SeriesStyle(label, series, INK, "o", 5, "-")
    marker, size = MARKERS[(position + position // len(MARKERS)) % len(MARKERS)]
    hue, line = HUES[position % len(HUES)], LINES[position // len(HUES)]
    return SeriesStyle(label, series, hue, marker, size, line)


def _labels(activations: Sequence[str]) -> dict[str, str]:
    """Return each activation's name, shortened, with a number where two would be the same."""
    labels: dict[str, str] = {}
    for activation in activations:
        label, count = shorten(activation), 2
        while label in labels.values():
            label, count = f"{shorten(activation, MAX_NAME_LENGTH - 4)} ({count})", count + 1
        labels[activation] = label
    return labels
