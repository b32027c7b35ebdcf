"""The forest plot: paired differences from the baseline with their intervals and verdicts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from actbench.report.figures.axes import steady_ticks
from actbench.report.figures.series import series_styles
from actbench.report.figures.style import (
    FAINT,
    INK,
    SHADE,
    figure_style,
    fix_layout,
    new_figure,
    sample_size,
    shorten,
    study_title,
)
from actbench.report.formatting import difference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from actbench.analysis.frames import Frames
    from actbench.report.figures.series import SeriesStyle

# the start of each column of text, in points from the right edge of the axes
_COLUMNS = {"difference [95 % interval]": 10, "n": 146, "verdict": 170}
_ROW = 0.27  # inches
NO_PAIR = "There is no difference to show: no seed has a result for both of a pair."


def differences(frames: Frames) -> Figure | str | None:
    """Return the paired differences in the headline metrics, a panel each, on one scale.

    The scale extends at least twice the margin to either side of zero, so that a difference that
    does not matter does not look large. An interval much wider than the others ends in an arrow.
    """
    study = frames.study
    if len(study.activations) == 1:
        return None
    shown = [*frames.primary_metrics, "matched_accuracy"]
    rows = frames.comparisons[frames.comparisons["metric"].isin(shown)]
    estimated = np.isfinite(rows["difference"])
    metrics = [name for name in shown if name in set(rows.loc[estimated, "metric"])]
    if not metrics:
        return NO_PAIR
    rows = rows[rows["metric"].isin(metrics)]
    of = series_styles(study.activations)
    others = [name for name in of if name in set(rows["activation"])]
    panels = {}
    for metric in metrics:
        part = rows[rows["metric"] == metric].set_index("activation").to_dict("index")
        panels[frames.metrics[metric].label] = [(of[name], part[name]) for name in others]
    what = f"Paired differences from {shorten(study.baseline)}"
    title = study_title(study, what, sample_size(rows["n"], "pair"))
    margin = 100 * study.margin
    return forest("differences", title, panels, margin, reach(rows, margin))


def forest(
    name: str,
    title: str,
    panels: Mapping[str, Sequence[tuple[SeriesStyle, Mapping[Any, Any]]]],
    margin: float,
    limit: float,
    better: str = "right",
) -> Figure:
    """Return a forest plot: differences with intervals, n and verdicts, a row each.

    Args:
        name: the figure's name.
        title: the figure's title.
        panels: the rows of each panel by its title, each with its style and the columns
            ``difference``, ``ci_low``, ``ci_high`` (fractions), ``n`` and ``verdict``.
        margin: shaded to either side of zero, in points.
        limit: the end of the scale to either side of zero, in points; an arrow is beyond it.
        better: the side of zero that is better.
    """
    counts = [len(rows) for rows in panels.values()]
    with figure_style():
        height = 0.55 + sum(0.6 + _ROW * count for count in counts)
        figure = new_figure(name, title, height)
        ratios = [1 + count for count in counts]
        grid = figure.subplots(
            len(panels), 1, squeeze=False, sharex=True, height_ratios=ratios
        ).ravel()
        for axes, (label, rows) in zip(grid, panels.items(), strict=True):
            for y, (style, row) in enumerate(rows):
                draw_difference(axes, y, row, style, limit)
                texts = (difference(row, points=True), str(row["n"]), str(row["verdict"]))
                for x, text in zip(_COLUMNS.values(), texts, strict=True):
                    _write_beside(axes, y, x, text)
            difference_axes(axes, [style.label for style, _ in rows], margin, limit)
            axes.set_title(label)
        for head, x in _COLUMNS.items():
            _write_beside(grid[0], 1, x, head, heading=True)
        grid[-1].xaxis.set_major_locator(steady_ticks())
        grid[-1].set_xlabel(f"difference, points ({better} is better)")
        return fix_layout(figure)


def typical_reach(rows: pd.DataFrame, margin: float) -> float:
    """Return a limit for ``forest`` that most rows are within, in points.

    It is at least twice the margin, and at most 1.5 times what three quarters of the intervals
    are within.
    """
    ends = 100 * rows[["difference", "ci_low", "ci_high"]].abs().max(axis=1).dropna()
    usual = min(ends.max(), 1.5 * ends.quantile(0.75)) if len(ends) else 0.0
    return float(1.06 * max(2 * margin, usual))


def reach(rows: pd.DataFrame, margin: float) -> float:
    """Return a limit for differences that all means are within, and most intervals, in points."""
    ends = 100 * rows[["difference", "ci_low", "ci_high"]].abs().max(axis=1).dropna()
    usual = min(ends.max(), 4 * ends.median())
    return float(1.06 * max(2 * margin, usual, 100 * rows["difference"].abs().max()))


def difference_axes(axes: Axes, labels: Sequence[str], margin: float, limit: float) -> None:
    """Prepare axes of differences in points: a labelled row each, zero, and the margin shaded."""
    axes.axvspan(-margin, margin, color=SHADE, linewidth=0, zorder=0)
    axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
    axes.set(xlim=(-limit, limit), ylim=(len(labels) - 0.4, -0.6))
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params(axis="y", length=0, pad=8)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)


def draw_difference(
    axes: Axes, y: int, row: Mapping[Any, Any], style: SeriesStyle, limit: float, gid: str = ""
) -> None:
    """Draw a difference and its interval; an end beyond the limit is an arrow.

    Args:
        axes: from −``limit`` to ``limit`` points.
        y: the row's position.
        row: with ``difference``, ``ci_low`` and ``ci_high``, fractions.
        style: the activation's style.
        limit: in points.
        gid: the id of all parts, from ``SeriesStyle.gid``; none unless given.
    """
    low, mean, high = (100 * float(row[name]) for name in ("ci_low", "difference", "ci_high"))
    mark: dict[str, Any] = {"color": style.colour, "gid": gid.partition("\n")[0] or None}
    if math.isfinite(low):
        axes.plot([max(low, -limit), min(high, limit)], [y, y], linewidth=2, **mark)
        for end, beyond, arrow in ((-limit, low < -limit, "<"), (limit, high > limit, ">")):
            if beyond:
                axes.plot(end, y, marker=arrow, markersize=6, clip_on=False, **mark)
    if math.isfinite(mean):
        size = 1.3 * style.size
        axes.plot(
            mean, y, **{**style.strokes(joined=False), "markersize": size, "gid": gid or None}
        )


def _write_beside(axes: Axes, y: float, points: float, text: str, *, heading: bool = False) -> None:
    """Write to the right of the axes, ``points`` from their edge: at y, or as a column's head."""
    axes.annotate(
        text,
        (1, y),
        (points, 5 if heading else 0),
        xycoords="axes fraction" if heading else axes.get_yaxis_transform(),
        textcoords="offset points",
        va="baseline" if heading else "center_baseline",
        fontsize=8.5,
        color=FAINT if heading else INK,
        annotation_clip=False,
    )
