"""Figures of gradient norms and inactive units by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from actbench.report.figures.axes import (
    NO_RESULT,
    add_legend,
    axis_from_zero,
    decades,
    dodge,
    draw_by_epoch,
    draw_points,
    intervals,
    legend_height,
    log_axis,
    of_activation,
    ok_rows,
    panel_rows,
    panels,
    series_styles_of,
    titled,
)
from actbench.report.figures.style import figure_style, fix_layout, new_figure, shorten

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from actbench.analysis.frames import Frames

MAX_LAYERS = 9
MIN_DECADES_FOR_LOG_AXIS = 2
GRADIENT_NORM = "gradient norm"


def gradient_norms(frames: Frames) -> Figure | str | None:
    """Return the gradient norm by epoch, a panel for each layer (nine at most, evenly chosen)."""
    part = ok_rows(frames, frames.gradients)
    if part.empty:
        return NO_RESULT
    layers = list(dict.fromkeys(part["layer"]))
    picks = np.linspace(0, len(layers) - 1, min(len(layers), MAX_LAYERS)).round().astype(int)
    means = intervals(part, "grad_norm", "layer", "activation", "epoch")
    of = series_styles_of(frames, part)
    what = "Gradient norms by epoch"
    if len(picks) < len(layers):
        what += f", {len(picks)} of {len(layers)} layers"
    with figure_style():
        height = 0.6 + 2.1 * panel_rows(len(picks)) + legend_height(of)
        figure = new_figure("gradient_norms", titled(frames, what, part), height)
        wide = means.groupby(level="layer").apply(decades).max() >= MIN_DECADES_FOR_LOG_AXIS
        ylabel = f"{GRADIENT_NORM}{', log scale' if wide else ''}"
        grid = panels(figure, len(picks), xlabel="epoch", ylabel=ylabel)
        for axes, pick in zip(grid, picks, strict=True):
            axes.set_title(shorten(layers[pick]))
            draw_by_epoch(axes, of, means.loc[layers[pick]])
            (log_axis if wide else axis_from_zero)(axes, means.loc[layers[pick]])
        add_legend(figure, grid[0])
        return fix_layout(figure)


def gradient_depth(frames: Frames) -> Figure | str | None:
    """Return the gradient norm by layer in the last epoch, on a logarithmic axis."""
    part = ok_rows(frames, frames.gradients)
    last = part[part["epoch"] == part["epoch"].max()]
    if last["layer"].nunique() < 2:
        return NO_RESULT if part.empty else None
    part = last[last["grad_norm"] > 0]
    if part.empty:
        return "Every gradient norm of the last epoch is zero."
    with figure_style():
        title = titled(frames, "Gradient norm by layer, last epoch", part)
        figure, axes, means = _by_layer(frames, part, "grad_norm", "gradient_depth", title)
        log_axis(axes, means)
        axes.set(xlabel="layer, from input to output", ylabel=f"{GRADIENT_NORM}, log scale")
        return fix_layout(figure)


def inactive_units(frames: Frames) -> Figure | str | None:
    """Return the share of inactive units by layer."""
    part = ok_rows(frames, frames.inactive)
    if part.empty:
        return NO_RESULT if ok_rows(frames, frames.trials).empty else None
    if not part["inactive_fraction"].any():
        return "No unit was inactive in any trial."
    with figure_style():
        title = titled(frames, "Inactive units by layer", part)
        figure, axes, means = _by_layer(frames, part, "inactive_fraction", "inactive_units", title)
        axis_from_zero(axes, means, percent=True)
        axes.set(xlabel="activation layer, from input to output", ylabel="inactive units, %")
        return fix_layout(figure)


def _by_layer(
    frames: Frames, part: pd.DataFrame, value: str, name: str, title: str
) -> tuple[Figure, Axes, pd.DataFrame]:
    """Return a figure with layers across, its axes, and the means that it shows."""
    norms = value == "grad_norm"
    layers = list(dict.fromkeys(part["layer"]))
    part = part.assign(position=part["layer"].map({layer: i for i, layer in enumerate(layers)}))
    means = intervals(part, value, "activation", "position", scale=1 if norms else 100)
    of = series_styles_of(frames, part)
    figure = new_figure(name, title, 3.5 + legend_height(of))
    axes = figure.subplots()
    # points that lines connect are not shifted: a line would slope sideways
    shifts = dodge(len(of), 0 if norms else 0.6)
    for (activation, style), shift in zip(of.items(), shifts, strict=True):
        part = of_activation(means, activation)
        draw_points(
            axes,
            style,
            part,
            lambda at: str(layers[int(at)]),
            shift,
            joined=norms,
            percent=not norms,
        )
    ticks = range(0, len(layers), -(-len(layers) // 26))
    labels = [shorten(layers[i].removesuffix(".activation"), 18) for i in ticks]
    crowded = sum(map(len, labels)) + 2 * len(labels) > 80
    axes.set_xticks(ticks, labels, rotation=60 if crowded else 0)
    axes.set_xlim(-0.5, len(layers) - 0.5)
    axes.grid(visible=False, axis="x")
    add_legend(figure, axes)
    return figure, axes, means
