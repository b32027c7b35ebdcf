"""The style of all figures, and figures → SVG text and PNG bytes, the same on every machine.

Nothing here depends on the user's matplotlibrc, the installed fonts or the clock: text is drawn as
outlines of the font that comes with matplotlib, and ids are hashes of the figure's name. The label
of a figure (``Figure.get_label``) is its name.
"""

from __future__ import annotations

import io
import re
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from matplotlib import font_manager, style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from actbench.study.study import Study

INK = "#1f2328"
FAINT = "#6b7280"
GRID = "#dfe3e8"
SHADE = "#eceff3"
PAPER = "#ffffff"

# Okabe & Ito (2008) without their yellow, which is too pale on white: six hues that stay distinct
# under the three common colour-vision deficiencies. Beyond six, line and marker distinguish series.
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
WIDTH = 7.2  # inches: at 10 points, text is as large as a page's at full width
PNG_DPI = 160
MAX_NAME_LENGTH = 26
_STYLE = {
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "figure.dpi": 72,
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.labelsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.handlelength": 2.6,
    "lines.linewidth": 1.6,
    "svg.fonttype": "path",
}


@contextmanager
def figure_style(salt: str = "") -> Iterator[None]:
    """Use the style of this project, whatever the user's matplotlibrc is."""
    with style.context(["default", {**_STYLE, "svg.hashsalt": f"actbench {salt}"}]):
        yield


@dataclass(frozen=True)
class SeriesStyle:
    """The style of an activation in every figure of its study."""

    label: str
    colour: str
    marker: str
    size: float
    line: str | tuple[int, tuple[float, ...]]

    def with_label(self, label: str) -> SeriesStyle:
        """Return the same style with another label."""
        return replace(self, label=label)

    def strokes(self, *, joined: bool = True, marked: bool = True) -> dict[str, Any]:
        """Return the keyword arguments of ``Axes.plot`` for this style."""
        return {
            "color": self.colour,
            "marker": self.marker if marked else "none",
            "markersize": self.size,
            "linestyle": self.line if joined else "none",
            "markeredgecolor": PAPER,
            "markeredgewidth": 0.6,
        }


def series_styles(activations: Sequence[str], baseline: str) -> dict[str, SeriesStyle]:
    """Return each activation's style: the baseline in black, the others by their order."""
    labels: dict[str, str] = {}
    for activation in activations:
        label, count = shorten(activation), 2
        while label in labels.values():
            label, count = f"{shorten(activation, MAX_NAME_LENGTH - 4)} ({count})", count + 1
        labels[activation] = label
    others = [activation for activation in activations if activation != baseline]
    found = {baseline: SeriesStyle(labels.get(baseline, shorten(baseline)), INK, "o", 5, "-")}
    for i, activation in enumerate(others):
        hue, line = HUES[i % len(HUES)], LINES[i // len(HUES) % len(LINES)]
        marker, size = MARKERS[i % len(MARKERS)]
        found[activation] = SeriesStyle(labels[activation], hue, marker, size, line)
    return {activation: found[activation] for activation in activations}


@cache
def shorten(text: str, longest: int = MAX_NAME_LENGTH) -> str:
    """Return the text with its middle left out if it is too long or too wide.

    A character without a glyph in the font becomes a question mark.
    """
    text = "".join(character if ord(character) in _glyphs() else "?" for character in text)
    shown = text
    for length in range(min(len(text), longest), 2, -1):
        head = length // 2
        shown = text if length == len(text) else f"{text[:head]}…{text[head + 1 - length :]}"
        if text_width(shown) <= 0.62 * longest:
            break
    return shown


@cache
def text_width(text: str) -> float:
    """Return the width of the text, in multiples of the font size."""
    with figure_style():
        return float(TextPath((0, 0), text, size=1).get_extents().width)


@cache
def _glyphs() -> frozenset[int]:
    with figure_style():
        return frozenset(font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap())


def study_title(study: Study, what: str, tail: str) -> str:
    """Return a figure's title: what it shows, for which data and network, and ``tail``."""
    return f"{what}: {shorten(study.data_label, 24)}, {shorten(study.model, 20)}, {tail}"


def sample_size(counts: Iterable[int], unit: str) -> str:
    """Return ``n = 5 seeds``, or the range if the activations' counts differ."""
    present = list(counts) or [0]
    least, most = min(present), max(present)
    if least < most:
        return f"n = {least} to {most} {unit}s"
    return f"n = {most} {unit}" if most == 1 else f"n = {most} {unit}s"


def new_figure(name: str, title: str, height: float) -> Figure:
    """Return an empty figure of the common width, ``height`` inches high."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.set_label(name)
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06, hspace=0.04, wspace=0.04)  # type: ignore[union-attr, call-arg]
    figure.suptitle(title, x=0.012, ha="left", fontsize=10.5, fontweight="bold")
    return figure


def fix_layout(figure: Figure) -> Figure:
    """Return the figure with its layout computed once, the same in every format."""
    layout = figure.get_layout_engine()
    if layout is not None:
        layout.execute(figure)
    figure.set_layout_engine("none")
    return figure


def to_svg(figure: Figure) -> str:
    """Return the figure as one ``<svg>`` element, its ids unique to the figure's label.

    Text is drawn as outlines: it is the same everywhere, and no name can be markup. Comments, the
    document type and ids without references are left out.
    """
    name = str(figure.get_label())
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with figure_style(name):
        # Figure.savefig would draw it twice, first for the layout, which is fixed already
        FigureCanvasSVG(figure).print_svg(buffer, metadata=nothing)  # type: ignore[no-untyped-call]
    text = re.sub(r"<!--.*?-->\s*", "", buffer.getvalue(), flags=re.DOTALL)
    text = text[text.index("<svg") :]
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r'(href="|url\()#', rf"\1#{name}-", text)
    text = re.sub(r"(\.\d{3})\d+", r"\1", text)  # a thousandth of a point is enough
    return re.sub(r"\n\s*", "\n", text)


def to_png(figure: Figure) -> bytes:
    """Return the figure as a PNG, 1,152 pixels wide, without software or date."""
    buffer = io.BytesIO()
    before = figure.get_dpi()
    with figure_style():
        figure.set_dpi(PNG_DPI)
        canvas = FigureCanvasAgg(figure)
        canvas.print_png(buffer, metadata={"Software": None})  # type: ignore[no-untyped-call]
        figure.set_dpi(before)
    return buffer.getvalue()
