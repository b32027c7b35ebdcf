"""Activations over several settings: a table and a figure of `actbench compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from actbench.analysis.metrics import metrics_for
from actbench.analysis.settings import MIN_SETTINGS
from actbench.analysis.studies import compare_studies
from actbench.report.figures.forest import forest, typical_reach
from actbench.report.figures.series import series_styles
from actbench.report.figures.style import shorten, to_svg
from actbench.report.formatting import difference, interval, metric_label, p_value, signed
from actbench.report.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from actbench.analysis.frames import Frames

CHOSEN_NOT_DRAWN = (
    "Interval and verdict are for settings like these, as if these had been drawn at random from "
    "them; settings that were chosen, because they were available or known to differ, show what "
    "happens in these settings and not how often it happens elsewhere."
)


def settings_table(studies: Mapping[str, Frames], table: pd.DataFrame) -> Table:
    """Return the table of activations over settings.

    Args:
        studies: the settings.
        table: the table that ``compare_settings`` returns.
    """
    first = next(iter(studies.values())).study
    metrics = metrics_for(())
    rows = [
        [
            row["activation"],
            metric_label(metrics[row["metric"]]),
            f"{row['positive']} of {row['settings']}",
            *(str(row[word]) for word in ("better", "worse", "equivalent", "undecided")),
            difference(row, points=True),
            signed(row["between_sd"], points=True).lstrip("+"),
            interval(row["prediction_low"], row["prediction_high"], points=True),
            p_value(row["p_holm"]),
            row["verdict"],
        ]
        for row in table.to_dict("records")
    ]
    about = (
        "The mean over settings has the 95 % t interval of the settings' mean differences, one per "
        "setting; sd between is the part of their standard deviation that seeds do not explain; a "
        "further setting is the interval for the difference that one more study of this size would "
        f"show. {CHOSEN_NOT_DRAWN}"
    )
    if (table["settings"] < MIN_SETTINGS).all():
        about = f"With fewer than {MIN_SETTINGS} settings there is no interval over settings."
    headers = [f"activation against {first.baseline}", "metric", "positive", "better", "worse"]
    headers += ["equivalent", "undecided", "mean over settings", "sd between"]
    headers += ["a further setting", "p (Holm)", "verdict"]
    return Table(
        "Over settings",
        headers,
        rows,
        note=f"Better, worse, equivalent and undecided count the studies' own verdicts. {about}",
    )


def settings_svgs(studies: Mapping[str, Frames], over: pd.DataFrame) -> dict[str, str]:
    """Return a forest plot per metric as SVG, by file name: each setting, and the mean over all.

    Args:
        studies: the settings.
        over: the table that ``compare_settings`` returns.
    """
    table = compare_studies(studies)
    margin = 100 * next(iter(studies.values())).study.margin
    metrics = metrics_for(())
    found = {}
    for metric in dict.fromkeys(over["metric"]):
        panels: dict[str, Any] = {}
        parts = table[table["metric"] == metric]
        mean = over[over["metric"] == metric].set_index("activation").to_dict("index")
        styles = series_styles(list(mean))
        for activation, overall in mean.items():
            style = styles[activation]
            rows = parts[parts["activation"] == activation].to_dict("records")
            panel = [(style.with_label(shorten(row["study"])), row) for row in rows]
            panel.append((style.with_label("over settings"), {**overall, "n": overall["settings"]}))
            panels[shorten(activation)] = panel
        if not np.isfinite(parts["difference"]).any():
            continue
        title = f"Differences from {shorten(over['baseline'].iloc[0])}: {metrics[metric].label}"
        name = f"settings_{metric}"
        reach = typical_reach(parts, margin)
        figure = forest(name.replace("_", "-"), title, panels, margin, reach)
        found[f"{name}.svg"] = to_svg(figure)
    return found
