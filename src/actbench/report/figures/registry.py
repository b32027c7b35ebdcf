"""Data frames → matplotlib figures, each with its n, units and 95 % intervals.

Trials that diverged or crashed are left out. ``axes`` has the rules for the ranges of axes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actbench.report.figures.attacks import attacks
from actbench.report.figures.axes import (
    ok_rows,
    seeds_of,
)
from actbench.report.figures.by_corruption import corruption_differences
from actbench.report.figures.curves import severity, slope, training
from actbench.report.figures.forest import differences
from actbench.report.figures.layers import gradient_depth, gradient_norms, inactive_units
from actbench.report.figures.replication import replication
from actbench.report.figures.strip import STRIP
from actbench.report.figures.style import (
    sample_size,
)
from actbench.report.robustness import masking_warnings
from actbench.study.registry import Entry, Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

    from actbench.analysis.frames import Frames


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
