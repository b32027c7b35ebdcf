"""Data frames → matplotlib figures, each with its n, units and 95 % intervals.

Trials that diverged or crashed are left out. ``axes`` has the rules for the ranges of axes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from actbench.report.figures.attacks import attacks
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
    seeds_of,
    series_styles_of,
    steady_ticks,
    titled,
)
from actbench.report.figures.by_corruption import corruption_differences
from actbench.report.figures.forest import differences
from actbench.report.figures.layers import gradient_depth, gradient_norms, inactive_units
from actbench.report.figures.replication import replication
from actbench.report.figures.style import (
    FAINT,
    figure_style,
    fix_layout,
    new_figure,
    sample_size,
    shorten,
)
from actbench.report.robustness import masking_warnings
from actbench.study.levels import has_levels, level_axis, level_labels, panel_label
from actbench.study.registry import Entry, Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from actbench.analysis.frames import Frames

MAX_SEED_LINES = 12
STRIP = "corruptions"
SLOPE = re.compile(r"leaky_relu(?::(?:negative_slope=)?(?P<slope>-?\d+(?:\.\d+)?(?:e-?\d+)?))?")
DEFAULT_SLOPE = 0.01  # torch.nn.LeakyReLU's


def figures(frames: Frames) -> dict[str, Figure | str]:
    """Return the study's figures by file name without its ending.

    In place of a figure that would show nothing is a sentence that says why.
    """
    drawn = {name: entry.target(frames) for name, entry in FIGURES.items()}
    return {name: figure for name, figure in drawn.items() if figure is not None}


def caption(name: str, frames: Frames) -> str:
    """Return sentences on what the figure shows and how to read it, with its n."""
    if name == STRIP:
        return (
            "The first test image, clean and under each corruption and level: the pixels that "
            "every trial was tested on."
        )
    study = frames.study
    text = FIGURES[name].help.replace("{margin}", f"{100 * study.margin:g}")
    text = text.replace("{baseline}", study.baseline)
    text = text.replace("{scored}", "validation" if study.validation else "test")
    if name == "attacks":
        text = " ".join([text, *masking_warnings(frames)])
    if name in ("differences", "corruption_differences"):
        return f"{text} {sample_size(frames.primary_comparisons['n'], 'pair')}."
    return f"{text} {seeds_of(ok_rows(frames, frames.trials))}."


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


def corruption_strip(
    images: Mapping[tuple[str, int], NDArray[np.uint8]],
    title: str = "One test image under each corruption",
) -> Figure:
    """Return one image under each corruption (down) and severity or level (across).

    Args:
        images: uint8 of shape (S, S, 3) by corruption and severity; severity 0 is the clean image.
        title: shown above.
    """
    names = list(dict.fromkeys(name for name, _ in images))
    columns = 1 + max(level for _, level in images)
    alike = not any(map(has_levels, names))
    side, _, _ = next(iter(images.values())).shape
    gap = max(2, side // 10)
    pitch, down = side + gap, side + (gap if alike else side // 3)
    mosaic = np.zeros((down * len(names), pitch * columns, 4), dtype=np.uint8)
    for (name, level), image in images.items():
        y, x = down * names.index(name), pitch * level
        mosaic[y : y + side, x : x + side] = np.dstack([image, np.full((side, side), 255)])
    with figure_style():
        height = 0.65 + (0.95 if alike else 1.2) * len(names)
        figure = new_figure(STRIP, title, height)
        axes = figure.subplots()
        axes.imshow(mosaic[: side - down, : side - pitch], interpolation="none")
        middles = [pitch * i + side / 2 for i in range(columns)]
        headers = ["clean", *(f"severity {level}" for level in range(1, columns))]
        axes.set_xticks(middles if alike else middles[:1], headers if alike else headers[:1])
        rows = [down * i + side / 2 for i in range(len(names))]
        axes.set_yticks(rows, [shorten(panel_label(name)) for name in names])
        if not alike:
            for name, level in images:
                if level:
                    label, values = level_axis(name)
                    value = values[level - 1]
                    named = f"severity {value}" if label == "severity" else f"{label} = {value}"
                    text = shorten(value if "," in label else named, 14)
                    bottom = down * names.index(name) + side
                    axes.text(middles[level], bottom, text, ha="center", va="top", fontsize=6)
        axes.tick_params(length=0, top=True, labeltop=True, labelbottom=False)
        axes.grid(visible=False)
        axes.set_frame_on(False)
        return fix_layout(figure)


FIGURES: Registry[Callable[[Frames], Figure | str | None]] = Registry(
    "figure",
    differences=Entry(
        differences,
        "Each activation less {baseline}, seed by seed, with the 95 % t interval of the mean. The "
        "grey band is ±{margin} points, differences that do not matter. An arrow is an interval "
        "that extends beyond the frame.",
    ),
    replication=Entry(
        replication,
        "Each activation less {baseline}, as published (grey: its source's verdict) and as found "
        "here (the result of the comparison with it), with 95 % t intervals: of independent runs "
        "in the source, of pairs here. The grey band is ±{margin} points.",
    ),
    severity=Entry(
        severity,
        "Test accuracy as a corruption grows, or by its levels. Bands are 95 % t intervals of each "
        "mean. The results of a seed vary together, so bands can overlap although the paired "
        "difference is clear: use the paired differences.",
    ),
    corruption_differences=Entry(
        corruption_differences,
        "Each activation less {baseline} under each corruption, the mean over its severities or "
        "levels, seed by seed, with the 95 % t interval; right is better. The grey band is "
        "±{margin} points, differences that do not matter. Intervals are not corrected for the "
        "number of corruptions: of twenty, one excludes zero by chance. A table has the "
        "differences at each severity.",
    ),
    attacks=Entry(
        attacks,
        "Accuracy on the attacked test images against the attack's limit ε; 0 is the same "
        "images unchanged. Bands are 95 % t intervals of each mean. A stronger attack can only be "
        "lower.",
    ),
    slope=Entry(
        slope,
        "Leaky ReLU by its negative slope, ReLU at 0: means with 95 % t intervals. Thin lines "
        "follow single seeds.",
    ),
    gradient_depth=Entry(
        gradient_depth,
        "The L2 norm of the loss gradient in each layer's weight, averaged over the steps of the "
        "last epoch, with 95 % t intervals. Gradients vanish if a line falls towards the left.",
    ),
    gradient_norms=Entry(
        gradient_norms,
        "The same norm by layer over the epochs of training: means over each epoch's steps with "
        "95 % t intervals. Each layer has its own axis.",
    ),
    training=Entry(
        training,
        "Mean training loss over each epoch and {scored} accuracy after it, with 95 % t intervals.",
    ),
    inactive_units=Entry(
        inactive_units,
        "The share of inactive units (dead ReLUs): their pre-activation is ≤ 0 at every "
        "position of every test image. Means with 95 % t intervals.",
    ),
)
