"""Every comparison of a study as a grid of metric × activation, in groups, with interval bars."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from actbench.report.answer import cell_of
from actbench.report.formatting import metric_label

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from actbench.analysis.frames import Frames
    from actbench.analysis.metrics import Metric
    from actbench.report.answer import Cell

ACCURACY, CORRUPTIONS, ATTACKS, CALIBRATION, MECHANISM = METRIC_GROUPS = (
    "accuracy",
    "by corruption",
    "under attack",
    "error and calibration",
    "gradients and units",
)
_HALF = 50  # the bar's width to either side of zero, in its own units


@dataclass(frozen=True)
class Row:
    """A metric's comparisons.

    Attributes:
        label: the metric's name and unit.
        cells: one for each activation but the baseline, ``None`` where it has no trial.
        bars: an inline SVG for each cell, empty without an interval.
    """

    label: str
    cells: list[Cell | None]
    bars: list[Markup]


@dataclass(frozen=True)
class Group:
    """Metrics of one kind; ``reach`` is the value at the end of a bar, if it is the same in all."""

    name: str
    reach: str
    rows: list[Row]


def comparison_groups(frames: Frames) -> list[Group]:
    """Return the metrics that have a difference in some activation, by group.

    Bars of metrics in points have one scale within a group, so that they can be compared; those of
    other metrics have a scale each.
    """
    activations = [name for name in frames.study.activations if name != frames.study.baseline]
    cells: dict[str, dict[str, list[Cell | None]]] = {name: {} for name in METRIC_GROUPS}
    found = {(r["activation"], r["metric"]): r for r in frames.comparisons.to_dict("records")}
    for metric in frames.metrics.values():
        of = [found.get((activation, metric.name)) for activation in activations]
        if any(row and math.isfinite(row["difference"]) for row in of):
            group = cells[_group_of(metric)]
            group[metric.name] = [cell_of(frames, row) if row else None for row in of]
    margin = 100 * frames.study.margin
    groups = []
    for name, by_metric in cells.items():
        with_margin = [m for m in by_metric if frames.metrics[m].has_margin]
        shared = _reach((c for m in with_margin for c in by_metric[m]), margin)
        rows = []
        for metric_name, of_metric in by_metric.items():
            has_margin = metric_name in with_margin
            reach = shared if has_margin else _reach(of_metric, 0)
            bars = [interval_bar(cell, reach, margin if has_margin else 0) for cell in of_metric]
            rows.append(Row(_label(frames.metrics[metric_name]), of_metric, bars))
        if rows:
            text = f"points; bars from −{shared:.2g} to +{shared:.2g}" if with_margin else ""
            groups.append(Group(name, text, rows))
    return groups


def _label(metric: Metric) -> str:
    """Return the metric's name within its group; the groups of accuracies have points only."""
    if metric.has_margin:
        return metric.label.removeprefix("accuracy under ")
    return metric_label(metric)


def _group_of(metric: Metric) -> str:
    if metric.guarded:
        return ATTACKS
    if metric.name.startswith("accuracy_") and metric.name != "accuracy_drop":
        return CORRUPTIONS
    if metric.has_margin:
        return ACCURACY
    return MECHANISM if metric.direction == "none" else CALIBRATION


def _reach(cells: Iterable[Cell | None], margin: float) -> float:
    """Return the value at the end of a bar, beyond all means and all but very wide intervals."""
    ends = [np.abs(cell.ends) for cell in cells if cell and math.isfinite(cell.ends[1])]
    if not ends:
        return 2 * margin or 1.0
    widest = [float(np.nanmax(of)) for of in ends]
    usual = 4 * float(np.median(widest))
    usual = max(widest) if max(widest) <= 2 * usual else usual
    return max(2 * margin, usual, *(float(middle) for _, middle, _ in ends)) or 1.0


def interval_bar(cell: Cell | None, reach: float, margin: float) -> Markup:
    """Return a difference and its interval as a bar about zero, from −``reach`` to ``reach``.

    A band shows ± ``margin``. An end beyond the bar is an arrow. Empty without a difference.
    """
    if cell is None or not math.isfinite(cell.ends[1]):
        return Markup()
    low, middle, high = (_HALF * end / reach for end in cell.ends)
    parts = []
    if margin:
        half = min(_HALF, _HALF * margin / reach)
        parts.append(f'<rect class="margin" x="{-half:.1f}" width="{2 * half:.1f}" height="12"/>')
    parts.append('<path class="zero" d="M0 0v12"/>')
    if math.isfinite(low + high):
        ends = max(low, -_HALF), min(high, _HALF)
        parts.append(f'<path class="interval" d="M{ends[0]:.1f} 6H{ends[1]:.1f}"/>')
        if low < -_HALF - 0.05:
            parts.append('<path class="end" d="M-50 6l4-3v6z"/>')
        if high > _HALF + 0.05:
            parts.append('<path class="end" d="M50 6l-4-3v6z"/>')
    parts.append(f'<circle cx="{middle:.1f}" cy="6" r="3"/>')
    opening = 'class="bar" viewBox="-53 0 106 12" preserveAspectRatio="xMinYMid" aria-hidden="true"'
    return Markup(f"<svg {opening}>{''.join(parts)}</svg>")  # noqa: S704 - numbers only


def headline_bars(frames: Frames, rows: Sequence[Sequence[Cell | None]]) -> list[list[Markup]]:
    """Return the bars of the headline comparisons, on one scale."""
    margin = 100 * frames.study.margin
    reach = _reach((cell for row in rows for cell in row), margin)
    return [[interval_bar(cell, reach, margin) for cell in row] for row in rows]
