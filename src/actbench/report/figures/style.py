"""The style of all figures, and figures → SVG text and PNG bytes, the same on every machine.

Nothing here depends on the user's matplotlibrc, the installed fonts or the clock: text is drawn as
outlines of the font that comes with matplotlib, and ids are hashes of the figure's name. The label
of a figure (``Figure.get_label``) is its name.
"""

from __future__ import annotations

import io
import re
from contextlib import contextmanager
from functools import cache
from html import escape
from typing import TYPE_CHECKING

from matplotlib import font_manager, style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from actbench.study.study import Study

INK = "#1f2328"
FAINT = "#6b7280"
GRID = "#dfe3e8"
SHADE = "#eceff3"
PAPER = "#ffffff"

WIDTH = 7.2  # inches: at 10 points, text is as large as a page's at full width
PNG_DPI = 160
MAX_NAME_LENGTH = 26
_SERIES = re.compile(r"series-(\d+)")
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


class ShownFigure(Figure):
    """A figure that notebooks show, also without ``%matplotlib inline``."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """Return a PNG of twice the resolution at which notebooks show it, and its width there."""
        return to_png(self), {"width": round(WIDTH * PNG_DPI / 2)}


def new_figure(name: str, title: str, height: float) -> Figure:
    """Return an empty figure of the common width, ``height`` inches high."""
    figure = ShownFigure(figsize=(WIDTH, height), layout="constrained")
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

    Text is drawn as outlines, so that it is the same everywhere. Comments, the document type and
    ids without references are left out. The parts of a series (see ``SeriesStyle.gid``) have the
    attribute ``data-series``, and its points have their values as titles, which browsers show at
    the pointer.
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

    def renamed(found: re.Match[str]) -> str:
        if series := _SERIES.match(found[1]):
            return f' data-series="{series[1]}"'
        return f' id="{name}-{found[1]}"' if found[1] in used else ""

    text = re.sub(r' id="([^"]+)"', renamed, text)
    text = re.sub(r'(href="|url\()#', rf"\1#{name}-", text)
    text = re.sub(r"(\.\d{3})\d+", r"\1", text)  # a thousandth of a point is enough
    text = re.sub(r"\n\s*", "\n", text)
    return text.rstrip().removesuffix("</svg>") + f"{_values(figure)}</svg>\n"


def _values(figure: Figure) -> str:
    """Return a transparent circle for each point of the series, with its value as title."""
    height = 72 * figure.get_figheight()
    circles = []
    for axes in figure.axes:
        for line in axes.lines:
            series, *values = (line.get_gid() or "").split("\n")
            if not values:
                continue
            points = axes.transData.transform(line.get_xydata()) * 72 / figure.dpi
            (left, low), (right, high) = axes.bbox.get_points() * 72 / figure.dpi
            circles += [
                f'<circle cx="{x:.1f}" cy="{height - y:.1f}" r="5" '
                f'data-series="{series.removeprefix("series-")}"><title>{escape(value)}</title>'
                "</circle>\n"
                for (x, y), value in zip(points, values, strict=True)
                if left - 1 <= x <= right + 1 and low - 1 <= y <= high + 1
            ]
    if not circles:
        return ""
    return f'<g class="values" fill="none" pointer-events="all">\n{"".join(circles)}</g>\n'


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
