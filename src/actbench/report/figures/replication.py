"""Published differences from the baseline beside a study's own, as a forest plot."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from actbench.analysis.claims import read_claim
from actbench.report.figures.forest import forest, typical_reach
from actbench.report.figures.series import series_styles
from actbench.report.figures.style import FAINT, sample_size, shorten

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    import pandas as pd
    from matplotlib.figure import Figure

    from actbench.analysis.frames import Frames


def replication(frames: Frames) -> Figure | str | None:
    """Return each published difference, in grey, above the one that the study found.

    Only rows that the study measures are shown; a panel is a table of the source.
    """
    study = frames.study
    if not study.claim:
        return None
    table = frames.replication
    table = table[(table["baseline"] != "") & np.isfinite(table["here"].astype(float))]
    if table.empty:
        return "No published difference was measured here, so there is none to show beside it."
    styles = series_styles(study.activations)
    claim = read_claim(study.claim)
    labels = {each.table.title: each.label for each in claim.tables}
    panels = {}
    for title, part in table.groupby("table", sort=False):
        rows = []
        for row in part.to_dict("records"):
            style = styles[row["activation"]]
            published = replace(style, colour=FAINT, label=f"{shorten(row['row'], 18)}, source")
            rows += [
                (published, _side(row, "source", row["source_verdict"])),
                (style.with_label("here"), _side(row, "here", row["result"])),
            ]
        panels[labels[str(title)] or f"against {shorten(study.baseline)}"] = rows
    margin = 100 * study.margin
    found = sample_size(table["here_n"], "pair")
    title = f"Published and found here: {shorten(claim.title, 30)}, {found}"
    return forest("replication", title, panels, margin, typical_reach(_both(table), margin))


def _side(row: Mapping[Any, Any], side: str, verdict: str) -> dict[str, Any]:
    ends = {name: row[f"{side}_{name}"] for name in ("ci_low", "ci_high", "n")}
    return {"difference": row[side], **ends, "verdict": verdict}


def _both(table: pd.DataFrame) -> pd.DataFrame:
    """Return the ends of the intervals of both sides below each other."""
    import pandas as pd

    names = ("", "_ci_low", "_ci_high")
    columns = ["difference", "ci_low", "ci_high"]
    parts = [
        table[[f"{side}{name}" for name in names]].set_axis(columns, axis=1).astype(float)
        for side in ("source", "here")
    ]
    return pd.concat(parts)
