"""Panels, axes, legends and series, shared by all figures.

The rules for axes keep a figure from exaggerating differences. Accuracies span at least ten points,
so that a difference of one point looks small; starting at zero would hide the differences. Losses,
norms and shares start at zero. Values over several decades are on a logarithmic axis of at least
one decade.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from scipy import special

from actbench.report.figures.series import series_styles
from actbench.report.figures.style import WIDTH, sample_size, study_title, text_width
from actbench.report.formatting import interval, with_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from actbench.analysis.frames import Frames
    from actbench.report.figures.series import SeriesStyle

MAX_MARKED = 15
NO_RESULT = "There is nothing to draw yet, as no trial has a result."


def intervals(frame: pd.DataFrame, value: str, *by: str, scale: float = 1) -> pd.DataFrame:
    """Return ``mean``, ``low`` and ``high``, its 95 % t interval over the trials, by group.

    No value is below zero, so the interval is cut there, and at 100 if ``scale`` is 100, which
    turns fractions into percent. NaN if a group has too few trials.
    """
    usable = frame.assign(**{value: frame[value].where(frame[value].abs() < 1e100)})
    table = usable.groupby(list(by))[value].agg(["mean", "std", "count"])
    quantile = special.stdtrit(np.maximum(table["count"] - 1, 1), 0.975)
    half = quantile * table["std"] / np.sqrt(table["count"].clip(lower=1))
    mean = table["mean"]
    found = scale * pd.DataFrame({"mean": mean, "low": mean - half, "high": mean + half})
    return found.clip(0, 100 if scale == 100 else math.inf)


def ok_rows(frames: Frames, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of trials with the status ok."""
    ok = frames.trials.loc[frames.trials["status"] == "ok", ["activation", "seed"]]
    return frame.merge(ok, on=["activation", "seed"])


def _counts(part: pd.DataFrame) -> pd.Series[int]:
    return part.groupby("activation")["seed"].nunique()


def seeds_of(part: pd.DataFrame) -> str:
    """Return the part's n as text, such as ``n = 5 seeds``."""
    return sample_size(_counts(part), "seed")


def titled(frames: Frames, what: str, part: pd.DataFrame) -> str:
    """Return a figure's title with the n of the part of the frames that it shows."""
    return study_title(frames.study, what, seeds_of(part))


def series_styles_of(frames: Frames, part: pd.DataFrame) -> dict[str, SeriesStyle]:
    """Return the styles of the activations in ``part``, labelled with their n if these differ."""
    counts = _counts(part)
    differ = len(set(counts)) > 1
    return {
        name: style.with_label(f"{style.label} (n = {counts[name]})" if differ else style.label)
        for name, style in series_styles(frames.study.activations).items()
        if name in counts.index
    }


def panel_rows(count: int) -> int:
    """Return the number of rows of ``panels``."""
    return -(-count // _across(count))


def _across(count: int) -> int:
    return {1: 1, 2: 2, 4: 2}.get(count, 3)


def panels(
    figure: Figure,
    count: int,
    *,
    xlabel: str,
    ylabel: str = "",
    share_x: bool = True,
    share_y: bool = False,
) -> list[Axes]:
    """Return ``count`` axes, in rows of two, or of three if there are many.

    The first of each row have the ticks and label of y. If x is shared, the lowest of each column
    have those of x, else all have.
    """
    across, down = _across(count), panel_rows(count)
    grid = figure.subplots(down, across, squeeze=False, sharex=share_x, sharey=share_y).ravel()
    for spare in grid[count:]:
        spare.remove()
    for position, axes in enumerate(grid[:count]):
        lowest = position + across >= count or not share_x
        axes.tick_params(labelbottom=lowest)
        axes.set_xlabel(xlabel if lowest else "")
        axes.set_ylabel("" if position % across else ylabel)
    return list(grid[:count])


def _legend_columns(labels: Sequence[str]) -> int:
    points = 50 + 9 * max(map(text_width, labels), default=1)  # the handle, the gaps, the text
    return max(1, min(len(labels), int(72 * WIDTH / points)))


def legend_height(of: Mapping[str, SeriesStyle]) -> float:
    """Return the inches that the legend of these series needs."""
    labels = [style.label for style in of.values()]
    return 0.2 + 0.2 * -(-len(labels) // _legend_columns(labels))


def add_legend(figure: Figure, axes: Axes) -> None:
    """Put the legend of ``axes`` under the figure, in rows."""
    handles, labels = axes.get_legend_handles_labels()
    columns = _legend_columns(labels)
    order = [i for column in range(columns) for i in range(column, len(labels), columns)]
    figure.legend(
        [handles[i] for i in order],
        [labels[i] for i in order],
        loc="outside lower center",
        ncols=columns,
    )


def dodge(count: int, width: float) -> list[float]:
    """Return each series' shift along x, so that points that no line connects do not overlap."""
    return [width * (i - (count - 1) / 2) / max(count, 2) for i in range(count)]


def draw_band(
    axes: Axes,
    style: SeriesStyle,
    means: pd.DataFrame,
    label_of: Callable[[float], str],
    *,
    series: int,
    percent: bool = True,
) -> None:
    """Draw means by their index as a line with its interval as a band, one of ``series``.

    ``label_of`` names a value of the index, for the values at the pointer. At most
    ``MAX_MARKED`` points have a marker.
    """
    means = means.sort_index()
    x = means.index.to_numpy(dtype=float)
    if means["low"].notna().any():
        alpha = min(0.12, 0.6 / series)  # many bands overlap
        axes.fill_between(
            x,
            means["low"],
            means["high"],
            color=style.colour,
            alpha=alpha,
            linewidth=0,
            gid=style.gid(),
        )
    every = -(-len(x) // MAX_MARKED)
    axes.plot(
        x, means["mean"], label=style.label, markevery=every, **style.strokes(), gid=style.gid()
    )
    _add_values(axes, style, means.iloc[::every], label_of, percent=percent)


def draw_points(
    axes: Axes,
    style: SeriesStyle,
    means: pd.DataFrame,
    label_of: Callable[[float], str],
    shift: float = 0,
    *,
    joined: bool,
    percent: bool,
) -> None:
    """Draw means by their index as points with their intervals as lines."""
    x = means.index.to_numpy(dtype=float) + shift
    axes.vlines(x, means["low"], means["high"], color=style.colour, linewidth=1.1, gid=style.gid())
    strokes = style.strokes(joined=joined)
    axes.plot(x, means["mean"], label=style.label, **strokes, gid=style.gid())
    _add_values(axes, style, means, label_of, shift, percent=percent)


def _add_values(
    axes: Axes,
    style: SeriesStyle,
    means: pd.DataFrame,
    label_of: Callable[[float], str],
    shift: float = 0,
    *,
    percent: bool,
) -> None:
    """Add an invisible line whose points have their values as text."""
    form, unit = (".2f", " %") if percent else (".3g", "")
    texts = [
        f"{style.label}, {label_of(at)}: "
        + with_interval(f"{mean:{form}}{unit}", interval(low, high, form=form))
        for at, mean, low, high in means[["mean", "low", "high"]].itertuples()
    ]
    x = means.index.to_numpy(dtype=float) + shift
    axes.plot(x, means["mean"], linestyle="none", gid=style.gid(texts))


def draw_by_epoch(
    axes: Axes, of: Mapping[str, SeriesStyle], means: pd.DataFrame, *, percent: bool = False
) -> None:
    """Draw a band for each activation; ``means`` is indexed by activation and epoch."""
    for activation, style in of.items():
        part = of_activation(means, activation)
        draw_band(axes, style, part, "epoch {:g}".format, series=len(of), percent=percent)
    last = int(means.index.get_level_values("epoch").max())
    axes.set_xlim(0.6, last + 0.4)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))


def steady_ticks() -> MaxNLocator:
    """Return ticks whose number does not depend on the length of the axis, set by the layout."""
    return MaxNLocator(6, steps=[1, 2, 2.5, 5, 10])


def of_activation(means: pd.DataFrame, activation: str) -> pd.DataFrame:
    """Return one activation's rows of ``intervals``, without that level; empty if it has none."""
    rows = means.index.get_level_values("activation") == activation
    return means[rows].droplevel("activation")


def percent_axis(axes: Axes, *means: pd.DataFrame) -> None:
    """Set the y axis to show all means and intervals, in percent, over at least ten points."""
    shown = pd.concat(means)
    low, high = float(shown.min().min()), float(shown.max().max())
    if not math.isfinite(high - low):
        low, high = 0.0, 100.0
    missing = max(0.0, 10 - (high - low)) / 2
    low, high = low - missing, high + missing
    low, high = low - max(0.0, high - 100), high - min(0.0, low)
    padding = 0.04 * (high - low)
    axes.set_ylim(max(low, 0) - padding, min(high, 100) + padding)
    axes.yaxis.set_major_locator(steady_ticks())


def axis_from_zero(axes: Axes, means: pd.DataFrame, *, percent: bool = False) -> None:
    """Start the y axis at zero; an interval of few seeds may extend beyond its other end."""
    high = float(means[["mean", "high"]].max().max())
    cut = min(high, 2 * float(means["mean"].max())) or 1.0
    high = max(10.0, high) if percent else cut
    axes.set_ylim(-0.03 * high, 1.05 * high)
    axes.yaxis.set_major_locator(steady_ticks())


def decades(means: pd.DataFrame) -> float:
    """Return the powers of ten between the smallest and the largest mean above zero."""
    above = means["mean"][means["mean"] > 0]
    return 0.0 if above.empty else math.log10(above.max() / above.min())


def log_axis(axes: Axes, means: pd.DataFrame) -> None:
    """Make the y axis logarithmic, over at least a decade; zeros are below it.

    An interval far below the smallest mean, or far above the largest, extends beyond the axis.
    """
    centre = means["mean"][means["mean"] > 0]
    if centre.empty:
        axis_from_zero(axes, means)
        return
    ends = means[["low", "high"]].to_numpy()
    least, most = float(centre.min()), float(centre.max())
    low = min(float(np.nanmin(ends[ends > least / 4], initial=least)), least)
    high = max(float(np.nanmax(ends[ends < most * 4], initial=most)), most)
    widen = 1.1 * max(1.0, (10 * low / high) ** 0.5)
    low, high = low / widen, high * widen
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    subs = (1, 2, 5) if high / low < 300 else (1,)
    axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=9))
    axes.yaxis.set_major_formatter(FuncFormatter(_plain))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _plain(value: float, _: Any) -> str:
    """Return 0.02 as it is and 0.00002 as 2·10⁻⁵."""
    if 1e-3 <= value < 1e5:
        return f"{value:g}"
    mantissa, power = f"{value:.0e}".split("e")
    raised = str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{'' if mantissa == '1' else f'{mantissa}·'}10{raised}"
