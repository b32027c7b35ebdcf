"""How far the comparisons of a study depend on its tuning: a table and sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from actbench.report.formatting import DASH, interval, p_value, percent, signed
from actbench.report.table import Table

if TYPE_CHECKING:
    import pandas as pd

    from actbench.analysis.frames import Frames


def tuning_table(frames: Frames) -> Table | None:
    """Return the comparisons with the settings of each tuning study; None without further ones."""
    table = frames.tuning_studies
    if table.empty:
        return None
    rows = [
        [
            row["activation"],
            frames.metrics[row["metric"]].label,
            str(row["study"]),
            f"{row['learning_rate']:g}",
            f"{row['weight_decay']:g}",
            str(row["n"]),
            percent(row["mean"]),
            signed(row["difference"], points=True),
            interval(row["ci_low"], row["ci_high"], points=True),
            p_value(row["p_holm"]),
            row["verdict"] or DASH,
        ]
        for row in table.to_dict("records")
    ]
    return Table(
        id="tuning",
        title="How far the choice of the settings matters",
        headers=[
            "activation",
            "metric",
            "tuning study",
            "learning rate",
            "weight decay",
            "n",
            "mean, %",
            "difference, points",
            "95 % interval",
            "p (Holm)",
            "verdict",
        ],
        rows=rows,
        note=f"{' '.join(_sentences(frames))} Each tuning study chose the settings of all "
        "activations anew, from points and with seeds of its own, and all were then trained with "
        "the same seeds. The study's other tables are those of tuning study 1. An interval is for "
        "other seeds with the same settings and does not contain the choice of the settings: that "
        "is the spread over the tuning studies.",
    )


def _sentences(frames: Frames) -> list[str]:
    """Return for each comparison in how many tuning studies its verdict is the same."""
    found = []
    for metric, activation, part in _comparisons(frames):
        differences = part["difference"]
        text = f"The verdict on {frames.metrics[metric].label} of {activation}, "
        text += f"{part['verdict'].iloc[0]}, is the same in {part['same_verdict'].sum()} of "
        text += f"{len(part)} tuning studies"
        if differences.notna().all():
            low, high = (signed(end, points=True) for end in (differences.min(), differences.max()))
            median = signed(differences.median(), points=True)
            text += f", the sign of the difference in {_same_signs(part)}; the difference is from "
            text += f"{low} to {high} points, with median {median}"
        found.append(f"{text}.")
    return found


def tuning_line(frames: Frames) -> str:
    """Return how many verdicts and signs all tuning studies share; empty without further ones."""
    parts, count = [part for *_, part in _comparisons(frames)], _count(frames)
    if not parts:
        return ""
    verdicts = sum(bool(part["same_verdict"].all()) for part in parts)
    signs = sum(_same_signs(part) == count for part in parts)
    return (
        f"the same in all {count} tuning studies: {verdicts} of {len(parts)} verdicts, {signs} of "
        f"{len(parts)} signs of the difference"
    )


def _same_signs(part: pd.DataFrame) -> int:
    """Return in how many tuning studies a difference has the sign that it has in the first."""
    signs = np.sign(part["difference"])
    return int((signs == signs.iloc[0]).sum())


def tuning_warnings(frames: Frames) -> list[str]:
    """Return a sentence that names the verdicts that depend on the tuning study, if some do."""
    parts = [
        f"{activation}, {frames.metrics[metric].label}: {', '.join(part['verdict'])}"
        for metric, activation, part in _comparisons(frames)
        if not part["same_verdict"].all()
    ]
    if not parts:
        return []
    which = "1 verdict depends" if len(parts) == 1 else f"{len(parts)} verdicts depend"
    return [
        f"{which} on the settings that tuning chose. In tuning studies 1 to {_count(frames)}: "
        f"{'; '.join(parts)}."
    ]


def _count(frames: Frames) -> int:
    return 1 + len(frames.retuned)


def _comparisons(frames: Frames) -> list[tuple[str, str, pd.DataFrame]]:
    """Return the metric, the activation and the rows of each comparison with the baseline."""
    table = frames.tuning_studies
    table = table[table["activation"] != frames.study.baseline]
    groups = table.groupby(["metric", "activation"], sort=False)
    return [(str(metric), str(activation), part) for (metric, activation), part in groups]
