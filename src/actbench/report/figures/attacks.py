"""The figure of accuracy under attack against ε."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from actbench.analysis.metrics import epsilon_text
from actbench.report.figures.axes import (
    NO_RESULT,
    add_legend,
    draw_band,
    intervals,
    legend_height,
    of_activation,
    ok_rows,
    panel_rows,
    panels,
    percent_axis,
    series_styles_of,
    titled,
)
from actbench.report.figures.style import figure_style, fix_layout, new_figure, shorten
from actbench.report.formatting import MASKED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from actbench.analysis.frames import Frames


def attacks(frames: Frames) -> Figure | str | None:
    """Return accuracy against ε, a panel for each attack; 0 is the same images unchanged.

    The values of ε are evenly spaced, as they usually double. An activation with signs of masked
    gradients has the warning sign in the legend.
    """
    attacked = ok_rows(frames, frames.attacks)
    if attacked.empty:
        return NO_RESULT if frames.study.attacks else None
    epsilons = sorted(set(attacked["epsilon"]))
    positions = {epsilon: position for position, epsilon in enumerate([0.0, *epsilons])}
    radii = ["0", *map(epsilon_text, epsilons)]
    names = list(dict.fromkeys(attacked["attack"]))
    clean = frames.unattacked().assign(epsilon=0.0)
    columns = ["activation", "epsilon", "accuracy"]
    means = {}
    for name in names:
        part = pd.concat([clean[columns], attacked.loc[attacked["attack"] == name, columns]])
        part["position"] = part["epsilon"].map(positions)
        means[name] = intervals(part, "accuracy", "activation", "position", scale=100)
    of = {
        activation: style.with_label(f"{style.label}{MASKED}")
        if frames.masking(activation)
        else style
        for activation, style in series_styles_of(frames, attacked).items()
    }
    with figure_style():
        height = 0.6 + 2.4 * panel_rows(len(names)) + legend_height(of)
        figure = new_figure("attacks", titled(frames, "Accuracy under attack", attacked), height)
        grid = panels(figure, len(names), xlabel="ε", ylabel="test accuracy, %", share_y=True)
        for axes, name in zip(grid, names, strict=True):
            axes.set_title(shorten(name))
            for activation, style in of.items():
                part = of_activation(means[name], activation)
                draw_band(axes, style, part, lambda at: f"ε = {radii[int(at)]}", series=len(of))
        percent_axis(grid[0], *means.values())
        grid[0].set_xticks(range(len(positions)), radii)
        add_legend(figure, grid[0])
        return fix_layout(figure)
