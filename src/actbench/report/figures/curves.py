"""Accuracy by severity, metrics against the slope of leaky ReLU, and training by epoch."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pandas as pd

from actbench.report.figures.axes import (
    NO_RESULT,
    add_legend,
    axis_from_zero,
    draw_band,
    draw_by_epoch,
    draw_points,
    intervals,
    legend_height,
    of_activation,
    ok_rows,
    panel_rows,
    panels,
    percent_axis,
    series_styles_of,
    steady_ticks,
    titled,
)
from actbench.report.figures.style import (
    FAINT,
    figure_style,
    fix_layout,
    new_figure,
    shorten,
)
from actbench.study.levels import has_levels, level_axis, level_labels, panel_label

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from actbench.analysis.frames import Frames

MAX_SEED_LINES = 12
SLOPE = re.compile(r"leaky_relu(?::(?:negative_slope=)?(?P<slope>-?\d+(?:\.\d+)?(?:e-?\d+)?))?")
DEFAULT_SLOPE = 0.01  # torch.nn.LeakyReLU's


def severity(frames: Frames) -> Figure | str | None:
    """Return accuracy against severity or level, a panel for each corruption."""
    corrupted = ok_rows(frames, frames.corruptions)
    if corrupted.empty:
        return NO_RESULT if frames.study.corruptions else None
    names = list(dict.fromkeys(corrupted["corruption"]))
    clean = ok_rows(frames, frames.trials).rename(columns={"clean_accuracy": "accuracy"})
    clean["severity"] = 0
    columns = ["activation", "severity", "accuracy"]
    means = {
        name: intervals(
            pd.concat([clean[columns], corrupted.loc[corrupted["corruption"] == name, columns]]),
            "accuracy",
            *columns[:2],
            scale=100,
        )
        for name in names
    }
    of = series_styles_of(frames, corrupted)
    with figure_style():
        alike = not any(map(has_levels, names))
        height = 0.6 + (2.15 if alike else 2.5) * panel_rows(len(names)) + legend_height(of)
        figure = new_figure("severity", titled(frames, "Accuracy by severity", corrupted), height)
        grid = panels(
            figure,
            len(names),
            xlabel="severity",
            ylabel="test accuracy, %",
            share_x=alike,
            share_y=True,
        )
        for axes, name in zip(grid, names, strict=True):
            axes.set_title(shorten(panel_label(name)))
            if not alike:
                _level_axis(axes, name)
            label_of = _named(("clean", *level_labels(name)))
            for activation, style in of.items():
                part = of_activation(means[name], activation)
                draw_band(axes, style, part, label_of, series=len(of))
        percent_axis(grid[0], *means.values())
        if alike:
            grid[0].set_xticks(range(6), ["clean", *"12345"])
        add_legend(figure, grid[0])
        return fix_layout(figure)


def _named(labels: Sequence[str]) -> Callable[[float], str]:
    return lambda severity: labels[round(severity)]


def _level_axis(axes: Axes, corruption: str) -> None:
    """Label the x axis by the levels of a corruption, of which at most eight have a text."""
    label, levels = level_axis(corruption)
    step = -(-len(levels) // 8)
    texts = [shorten(level, 10) if i % step == 0 else "" for i, level in enumerate(levels)]
    axes.set_xlabel(label)
    axes.set_xticks(range(len(levels) + 1), ["clean", *texts])


def slope(frames: Frames) -> Figure | None:
    """Return metrics against leaky ReLU's negative slope, if two or more slopes have values."""
    values = ok_rows(frames, frames.metric_values)
    slopes = {
        activation: float(found["slope"] or DEFAULT_SLOPE)
        for activation in dict.fromkeys(values["activation"])
        if (found := SLOPE.fullmatch(activation))
    }
    if len(slopes) < 2:
        return None
    values = values.assign(slope=values["activation"].map({"relu": 0.0, **slopes}))
    values = values.dropna(subset="slope").sort_values("slope")
    shown = ("clean_accuracy", "corrupted_accuracy", "grad_norm_first", "inactive_fraction")
    names = [name for name in shown if values[name].notna().any()]
    of = series_styles_of(frames, values)
    with figure_style():
        height = 0.6 + 2.3 * panel_rows(len(names))
        figure = new_figure("slope", titled(frames, "The negative slope", values), height)
        grid = panels(figure, len(names), xlabel="negative slope (0 is ReLU)")
        scales = {name: 100 if frames.metrics[name].kind == "fraction" else 1 for name in names}
        means = {
            name: intervals(values, name, "activation", "slope", scale=scales[name])
            for name in names
        }
        accuracies = [means[name] for name in names if name.endswith("accuracy")]
        few = values["seed"].nunique() <= MAX_SEED_LINES
        singles = {name: scales[name] * values[[name]] for name in names} if few else {}
        accuracies += [single for name, single in singles.items() if name.endswith("accuracy")]
        for axes, name in zip(grid, names, strict=True):
            percent = scales[name] == 100
            axes.set_ylabel(f"{frames.metrics[name].label}{', %' if percent else ''}")
            for _, seed in values.groupby("seed") if few else ():
                line = scales[name] * seed[name]
                axes.plot(seed["slope"], line, color=FAINT, linewidth=0.6, alpha=0.5)
            joined = means[name].droplevel("activation").sort_index()
            axes.plot(joined.index, joined["mean"], color=FAINT, linewidth=1.4)
            for activation, style in of.items():
                part = of_activation(means[name], activation)
                draw_points(axes, style, part, "slope {:g}".format, joined=False, percent=percent)
            axes.xaxis.set_major_locator(steady_ticks())
            if name.endswith("accuracy"):
                percent_axis(axes, *accuracies)
            else:
                shown_values = [means[name]]
                if few:
                    shown_values.append(singles[name].set_axis(["mean"], axis="columns"))
                axis_from_zero(axes, pd.concat(shown_values), percent=percent)
        return fix_layout(figure)


def training(frames: Frames) -> Figure | str:
    """Return training loss by epoch, and accuracy on the test images or the held-out ones."""
    part = ok_rows(frames, frames.epochs)
    if part.empty:
        return NO_RESULT
    of = series_styles_of(frames, part)
    loss = intervals(part, "train_loss", "activation", "epoch")
    scored = "validation" if frames.study.validation else "test"
    accuracy = intervals(part, f"{scored}_accuracy", "activation", "epoch", scale=100)
    with figure_style():
        figure = new_figure("training", titled(frames, "Training", part), 2.9 + legend_height(of))
        left, right = panels(figure, 2, xlabel="epoch")
        draw_by_epoch(left, of, loss)
        axis_from_zero(left, loss)
        left.set_ylabel("mean training loss, nats")
        draw_by_epoch(right, of, accuracy, percent=True)
        percent_axis(right, accuracy)
        right.set_ylabel(f"{scored} accuracy, %")
        add_legend(figure, left)
        return fix_layout(figure)
