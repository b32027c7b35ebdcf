"""The figure of paired differences by corruption."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from actbench.report.figures.axes import panel_rows, panels, steady_ticks
from actbench.report.figures.forest import NO_PAIR, difference_axes, draw_difference, reach
from actbench.report.figures.series import series_styles
from actbench.report.figures.style import (
    GRID,
    figure_style,
    fix_layout,
    new_figure,
    sample_size,
    shorten,
    study_title,
)
from actbench.report.formatting import difference
from actbench.study.levels import corruption_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from actbench.analysis.frames import Frames

_ROW = 0.19  # inches
_SUMMARIES = {"clean_accuracy": "clean images", "corrupted_accuracy": "all corruptions"}
ONE_CORRUPTION = (
    "The study has one corruption, so its difference is that of the corrupted accuracy. A table "
    "below has the differences at each severity."
)


def corruption_differences(frames: Frames) -> Figure | str | None:
    """Return the paired differences by corruption, a panel for each activation, on one scale.

    Above them are the differences on clean images and in the mean over all corruptions.
    """
    study = frames.study
    if not study.corruptions or len(study.activations) == 1:
        return None
    if len(study.corruptions) == 1:
        return ONE_CORRUPTION
    labels = {name: shorten(text) for name, text in _SUMMARIES.items()}
    labels |= {f"accuracy_{name}": shorten(corruption_label(name)) for name in study.corruptions}
    rows = frames.comparisons[frames.comparisons["metric"].isin(labels)]
    rows = rows[np.isfinite(rows["difference"])]
    if rows.empty:
        return NO_PAIR
    of = {
        name: style
        for name, style in series_styles(study.activations).items()
        if name in set(rows["activation"])
    }
    margin = 100 * study.margin
    limit = reach(rows, margin)
    what = f"Differences from {shorten(study.baseline)} by corruption"
    title = study_title(study, what, sample_size(rows["n"], "pair"))
    with figure_style():
        height = 0.55 + panel_rows(len(of)) * (0.6 + _ROW * len(labels))
        figure = new_figure("corruption_differences", title, height)
        grid = panels(figure, len(of), xlabel="difference, points", share_y=True)
        for axes, (activation, style) in zip(grid, of.items(), strict=True):
            part = rows[rows["activation"] == activation].set_index("metric").to_dict("index")
            for y, (metric, label) in enumerate(labels.items()):
                if metric in part:
                    text = f"{style.label}, {label}: {difference(part[metric], points=True)}"
                    draw_difference(axes, y, part[metric], style, limit, style.gid([text]))
            difference_axes(axes, list(labels.values()), margin, limit)
            axes.axhline(len(_SUMMARIES) - 0.5, color=GRID)
            axes.xaxis.set_major_locator(steady_ticks())
            axes.set_title(style.label)
        return fix_layout(figure)
