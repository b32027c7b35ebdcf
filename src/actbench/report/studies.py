"""Several studies side by side, as Markdown and CSV."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from actbench.analysis.metrics import metrics_for
from actbench.analysis.studies import (
    AGREEMENTS,
    _same_corruptions,
    compare_studies,
    shared_activations,
)
from actbench.report.formatting import DASH, signed
from actbench.report.markdown import escape_markdown, to_markdown
from actbench.report.tables import to_csv
from actbench.report.warnings import study_warnings

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from actbench.analysis.frames import Frames


def studies_files(studies: Mapping[str, Frames]) -> dict[str, str]:
    """Return ``compare.md`` and ``compare.csv`` as text, by file name.

    Raises:
        UsageError: as ``compare_studies``.
    """
    table = compare_studies(studies)
    return {"compare.md": _markdown(studies, table), "compare.csv": to_csv(table)}


def _markdown(studies: Mapping[str, Frames], table: pd.DataFrame) -> str:
    first = next(iter(studies.values())).study
    questions = table.drop_duplicates(["activation", "metric"])
    counts = questions["agreement"].value_counts()
    counted = ", ".join(f"{counts.get(word, 0)} {word}" for word in AGREEMENTS)
    parts = [
        "# Studies side by side",
        f"{len(questions)} comparisons: {counted}.",
        *warnings_markdown(studies),
        to_markdown(*_comparison_rows(studies, table)),
        "Each cell is the difference from the baseline, paired by seed, with its 95 % t interval, "
        f"n pairs and the study's verdict; the margin is ±{100 * first.margin:g} points. Verdicts "
        "*agree* where every study is decided and says the same, *differ* where two are decided "
        "and say different things, and are *open* otherwise. This is no test of whether the "
        "differences differ: look at the intervals.",
        "## The studies",
        to_markdown(*_recipe_rows(studies)),
    ]
    if not _same_corruptions(studies):
        parts.append(
            "Corrupted accuracy is left out, as the studies have different corruptions and it "
            "means something else in each."
        )
    left_out = _left_out_rows(studies)
    if left_out:
        parts += [
            "## Activations that not all studies have",
            to_markdown(left_out, ["activation", "study"]),
        ]
    return "\n\n".join(parts) + "\n"


def warnings_markdown(studies: Mapping[str, Frames]) -> list[str]:
    """Return each study's warnings as paragraphs of Markdown."""
    return [
        f"**Warning:** {escape_markdown(f'{name}: {warning}')}"
        for name, frames in studies.items()
        for warning in study_warnings(frames)
    ]


def _comparison_rows(
    studies: Mapping[str, Frames], table: pd.DataFrame
) -> tuple[list[list[str]], list[str]]:
    metrics = metrics_for(())
    rows = []
    for _, part in table.groupby(["activation", "metric"], sort=False):
        of_studies = part.to_dict("records")
        activation, agreement = (of_studies[0][column] for column in ("activation", "agreement"))
        metric = metrics[of_studies[0]["metric"]]
        points = metric.kind == "fraction"
        label = f"{metric.label}{', points' if points else ''}"
        rows.append([activation, label, *(_cell(row, points) for row in of_studies), agreement])
    baseline = next(iter(studies.values())).study.baseline
    return rows, [f"activation against {baseline}", "metric", *studies, "verdicts"]


def _cell(row: Mapping[Any, Any], points: bool) -> str:
    if row["n"] == 0:
        return DASH
    difference = signed(row["difference"], points=points)
    if math.isfinite(row["ci_low"]):
        low, high = (signed(row[end], points=points) for end in ("ci_low", "ci_high"))
        difference += f" [{low}, {high}]"
    return f"{difference}, n = {row['n']}: {row['verdict']}"


def _recipe_rows(studies: Mapping[str, Frames]) -> tuple[list[list[str]], list[str]]:
    shown = [
        "epochs",
        "batch_size",
        "learning_rate",
        "momentum",
        "weight_decay",
        "augmentation",
        "device",
        "precision",
        "kernels",
        "init",
    ]
    rows = []
    for name, frames in studies.items():
        study = frames.study
        recipe = {field: getattr(study, field) for field in shown}
        if study.learning_rates:
            recipe["learning_rate"] = "tuned" if study.tune_lr else "each activation's own"
        rows.append(
            [
                name,
                str(len(study.seeds)),
                str(study.train_images or "all"),
                *map(str, recipe.values()),
            ]
        )
    return rows, [
        "study",
        "seeds",
        "training images",
        *(field.replace("_", " ") for field in shown),
    ]


def _left_out_rows(studies: Mapping[str, Frames]) -> list[list[str]]:
    shared = shared_activations(studies)
    return [
        [activation, name]
        for name, frames in studies.items()
        for activation in frames.study.activations
        if activation not in (frames.study.baseline, *shared)
    ]
