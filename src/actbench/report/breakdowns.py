"""The tables of results in detail: by corruption and level, and by class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from actbench.analysis.sequential import LEVEL
from actbench.report.formatting import DASH, difference, percent
from actbench.report.table import Table
from actbench.study.levels import level_labels, name_label

if TYPE_CHECKING:
    from actbench.analysis.frames import Frames

MAX_CLASSES = 50


def level_table(frames: Frames) -> Table | None:
    """Return the paired differences under each corruption at each severity or level."""
    table = frames.corruption_differences
    if not np.isfinite(table["difference"]).any():
        return None
    activations = list(table["activation"].unique())
    cells: dict[tuple[str, int], dict[str, str]] = {}
    for row in table.to_dict("records"):
        of = cells.setdefault((row["corruption"], row["severity"]), {})
        of[row["activation"]] = difference(row, points=True)
    beyond = int(((table["ci_low"] > 0) | (table["ci_high"] < 0)).sum())
    tested = int(np.isfinite(table["ci_low"]).sum())
    corrected = int((table["p_holm"] <= LEVEL).sum())
    pairs = table["n"]
    return Table(
        id="by-level",
        title=f"Differences from {frames.study.baseline} by corruption and severity, points",
        headers=["corruption", "severity", *activations],
        rows=[
            [
                name_label(corruption),
                level_labels(corruption)[severity - 1].removeprefix("severity "),
                *(of.get(name, DASH) for name in activations),
            ]
            for (corruption, severity), of in cells.items()
        ],
        note="Mean of the paired differences in accuracy with its 95 % t interval, "
        f"n = {_range(pairs.min(), pairs.max())} pairs. Of {tested} intervals {beyond} exclude "
        f"zero; if no activation differed, about {LEVEL * tested:.1f} would. Significant at "
        f"5 % after Holm's correction over all of them: {corrected}. corruption_differences.csv "
        "has the p-values.",
        folded=True,
    )


def class_table(frames: Frames) -> Table | None:
    """Return accuracy by class, the baseline's and how others differ; none of many classes."""
    table = frames.class_summary
    table = table[table["measured"].isin(["clean", "corrupted"]) & (table["images"] > 0)]
    if table.empty or table["class"].nunique() > MAX_CLASSES:
        return None
    baseline = frames.study.baseline
    cells: dict[tuple[str, int], dict[str, str]] = {}
    images: dict[int, int] = {}
    for row in table.to_dict("records"):
        of = cells.setdefault((row["measured"], row["class"]), {})
        images[row["class"]] = row["images"]
        of[row["activation"]] = (
            percent(row["accuracy_mean"], row["accuracy_std"])
            if row["activation"] == baseline
            else difference(row, points=True)
        )
    activations = [name for name in frames.study.activations if name != baseline]
    trials = table["n"]
    return Table(
        id="by-class",
        title="Accuracy by class",
        headers=[
            "measured on",
            "class",
            "images",
            f"{baseline}, %",
            *(f"{name}, points" for name in activations),
        ],
        rows=[
            [
                measured,
                str(label),
                str(images[label]),
                *(of.get(name, DASH) for name in (baseline, *activations)),
            ]
            for (measured, label), of in cells.items()
        ],
        note=f"{baseline}: mean ± standard deviation over n = {_range(trials.min(), trials.max())} "
        "seeds. Others: the mean of the paired differences with its 95 % t interval, which is not "
        "corrected for the number of classes. Corrupted is the mean over all corruptions and "
        "levels. class_summary.csv has accuracy under attack as well.",
        folded=True,
    )


def _range(least: int, most: int) -> str:
    return str(most) if least == most else f"{least} to {most}"
