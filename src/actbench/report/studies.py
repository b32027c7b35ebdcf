"""Several studies side by side, as Markdown and CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actbench.analysis.metrics import metrics_for
from actbench.analysis.settings import compare_settings
from actbench.analysis.studies import (
    AGREEMENTS,
    compare_studies,
    have_same_corruptions,
    shared_activations,
)
from actbench.report.formatting import DASH, difference, metric_label
from actbench.report.markdown import escape_markdown, to_markdown
from actbench.report.settings import settings_svgs, settings_table
from actbench.report.table import Table
from actbench.report.tables import to_csv
from actbench.report.warnings import study_warnings
from actbench.study.specs import setting_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from actbench.analysis.frames import Frames


def studies_files(studies: Mapping[str, Frames]) -> dict[str, str]:
    """Return ``compare.md``, ``compare.csv`` and ``settings.csv`` as text, by file name.

    Raises:
        UsageError: as ``compare_studies``.
    """
    table, over = compare_studies(studies), compare_settings(studies)
    return {
        "compare.md": _markdown(studies, table, over),
        "compare.csv": to_csv(table),
        "settings.csv": to_csv(over),
    }


def studies_figures(studies: Mapping[str, Frames]) -> dict[str, str]:
    """Return the figures of a comparison of studies as SVG, by file name."""
    return settings_svgs(studies, compare_settings(studies))


def _markdown(studies: Mapping[str, Frames], table: pd.DataFrame, over: pd.DataFrame) -> str:
    first = next(iter(studies.values())).study
    parts = [
        "# Studies side by side",
        _counted(table),
        *warnings_markdown(studies),
        to_markdown(_comparison_table(studies, table)),
        "Each cell is the difference from the baseline, paired by seed, with its 95 % t interval, "
        f"n pairs and the study's verdict; the margin is ±{100 * first.margin:g} points. Verdicts "
        "*agree* if every study is decided and has the same verdict, *differ* if two are decided "
        "and have different ones, and are *open* otherwise. This does not test whether the "
        "differences differ: look at the intervals.",
        *_over_settings(studies, over),
        "## The studies",
        to_markdown(_recipe_table(studies)),
    ]
    if not have_same_corruptions(studies):
        parts.append(
            "Corrupted accuracy is left out, as it is not the same quantity in studies with "
            "different corruptions."
        )
    left_out = _left_out_table(studies)
    if left_out.rows:
        parts += [f"## {left_out.title}", to_markdown(left_out)]
    return "\n\n".join(parts) + "\n"


def studies_terminal(studies: Mapping[str, Frames]) -> tuple[list[str], list[Table]]:
    """Return the comparison for a terminal: the lines above, and a table with a row per study.

    Raises:
        UsageError: as ``compare_studies``.
    """
    table, metrics = compare_studies(studies), metrics_for(())
    numbers = {name: str(number) for number, name in enumerate(studies, start=1)}
    rows = []
    for _, part in table.groupby(["activation", "metric"], sort=False):
        for position, row in enumerate(part.to_dict("records")):
            metric, first = metrics[row["metric"]], position == 0
            rows.append(
                [
                    row["activation"],
                    metric_label(metric) if first else "",
                    numbers[row["study"]],
                    difference(row, points=metric.kind == "fraction") if row["n"] else DASH,
                    row["verdict"],
                    row["agreement"] if first else "",
                ]
            )
    baseline = next(iter(studies.values())).study.baseline
    headers = ["activation", "metric", "#", "difference [95 %]", "verdict", "verdicts"]
    least = table.groupby("study")["n"].min()
    most = table.groupby("study")["n"].max()
    lines = [
        f"#{number}: {name}, n = {least[name]}"
        + (f" to {most[name]}" if least[name] < most[name] else "")
        for name, number in numbers.items()
    ]
    lines += warnings_text(studies)
    lines.append(_counted(table))
    return lines, [Table(f"differences from {baseline}", headers, rows)]


def _over_settings(studies: Mapping[str, Frames], over: pd.DataFrame) -> list[str]:
    shown = settings_table(studies, over)
    return [f"## {shown.title}", to_markdown(shown), escape_markdown(shown.note)]


def warnings_text(studies: Mapping[str, Frames]) -> list[str]:
    """Return each study's warnings as lines."""
    return [
        f"⚠ {name}: {warning}"
        for name, frames in studies.items()
        for warning in study_warnings(frames)
    ]


def _counted(table: pd.DataFrame) -> str:
    questions = table.drop_duplicates(["activation", "metric"])
    counts = questions["agreement"].value_counts()
    counted = ", ".join(f"{counts.get(word, 0)} {word}" for word in AGREEMENTS)
    return f"{len(questions)} comparisons: {counted}."


def warnings_markdown(studies: Mapping[str, Frames]) -> list[str]:
    """Return each study's warnings as paragraphs of Markdown."""
    return [
        f"**Warning:** {escape_markdown(f'{name}: {warning}')}"
        for name, frames in studies.items()
        for warning in study_warnings(frames)
    ]


def _comparison_table(studies: Mapping[str, Frames], table: pd.DataFrame) -> Table:
    metrics = metrics_for(())
    rows = []
    for _, part in table.groupby(["activation", "metric"], sort=False):
        of_studies = part.to_dict("records")
        activation, agreement = (of_studies[0][column] for column in ("activation", "agreement"))
        metric = metrics[of_studies[0]["metric"]]
        points = metric.kind == "fraction"
        cells = [_cell(row, points=points) for row in of_studies]
        rows.append([activation, metric_label(metric), *cells, agreement])
    baseline = next(iter(studies.values())).study.baseline
    headers = [f"activation against {baseline}", "metric", *studies, "verdicts"]
    return Table("Studies side by side", headers, rows)


def _cell(row: Mapping[Any, Any], *, points: bool) -> str:
    if row["n"] == 0:
        return DASH
    return f"{difference(row, points=points)}, n = {row['n']}: {row['verdict']}"


def _recipe_table(studies: Mapping[str, Frames]) -> Table:
    shown = [
        "batch_size",
        "optimizer",
        "learning_rate",
        "schedule",
        "weight_decay",
        "augment",
        "train_against",
        "device",
        "precision",
        "kernels",
        "init",
    ]
    rows = []
    for name, frames in studies.items():
        study = frames.study
        recipe = {field: getattr(study, field) for field in shown}
        recipe["augment"] = setting_text(study.augment)
        if study.learning_rates:
            recipe["learning_rate"] = "tuned" if study.tune_lr else "each activation's own"
        if study.tuned:
            recipe["learning_rate"] = recipe["weight_decay"] = "tuned"
        rows.append(
            [
                name,
                str(len(study.seeds)),
                str(study.train_images or "all"),
                f"{study.steps} steps" if study.steps else f"{study.epochs} epochs",
                *map(str, recipe.values()),
            ]
        )
    fields = [field.replace("_", " ") for field in shown]
    return Table("The studies", ["study", "seeds", "training images", "length", *fields], rows)


def _left_out_table(studies: Mapping[str, Frames]) -> Table:
    shared = shared_activations(studies)
    rows = [
        [activation, name]
        for name, frames in studies.items()
        for activation in frames.study.activations
        if activation not in (frames.study.baseline, *shared)
    ]
    return Table("Activations that not all studies have", ["activation", "study"], rows)
