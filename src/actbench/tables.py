"""Data frames → CSV, Markdown, LaTeX and the terminal's table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd
from pandas.api.types import is_numeric_dtype
from tabulate import tabulate

from actbench.latex import latex_document, to_latex
from actbench.sections import means_over_seeds, robustness_sections
from actbench.verdicts import (
    DASH,
    MASKED,
    METRICS_ALONE,
    arm,
    describe_recipe,
    interval,
    number,
    percent,
    probability,
    signed,
    verdict_sentences,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from actbench.frames import Frames

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def to_csv(frame: pd.DataFrame) -> str:
    """Return the frame as CSV, text cells defused that a spreadsheet would run as a formula."""
    safe = frame.copy()
    for column in safe.columns[[not is_numeric_dtype(kind) for kind in safe.dtypes]]:
        cells = safe[column].unique()
        defused = {cell: safer for cell in cells if (safer := _defused(cell)) is not cell}
        if defused:
            changed = [defused.get(cell, cell) for cell in safe[column]]
            safe[column] = pd.Series(changed, safe.index, dtype=object)
    return safe.to_csv(index=False, lineterminator="\n")


def _defused(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    safe = f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell
    return safe.replace("\r", "\n")  # csv quotes a line feed, but not every version a lone return


def to_markdown(rows: Iterable[Sequence[str]], headers: Sequence[str]) -> str:
    """Return a Markdown table of text cells; ``|`` and line breaks in them are escaped."""
    table = [[_escaped(cell) for cell in row] for row in rows]
    return tabulate(
        table,
        headers=[_escaped(header) for header in headers],
        tablefmt="pipe",
        disable_numparse=True,
        colalign=("left", *["right"] * (len(headers) - 1)),
    )


def _escaped(cell: str) -> str:
    for old, new in (("\\", "\\\\"), ("|", "\\|"), ("<", "&lt;"), ("`", "\\`"), ("*", "\\*")):
        cell = cell.replace(old, new)
    return " ".join(cell.split())


def summary_rows(frames: Frames) -> tuple[list[list[str]], list[str]]:
    """Return the rows and headers of the main table."""
    rows = []
    for row in frames.summary.to_dict("records"):

        def spread(metric: str, row: dict[str, float] = row) -> tuple[float, float]:  # type: ignore[assignment]
            return row[f"{metric}_mean"], row[f"{metric}_std"]

        rows.append(
            [
                str(row["activation"]),
                str(row["n"]),
                percent(*spread("clean_accuracy")),
                percent(*spread("corrupted_accuracy")),
                percent(*spread("accuracy_drop")),
                DASH if math.isnan(row["mce"]) else f"{row['mce']:.1f}",
                number(*spread("grad_norm_first")),
                number(*spread("grad_norm_ratio")),
                percent(*spread("inactive_fraction")),
            ]
        )
    headers = [
        "activation",
        "n",
        "clean accuracy, %",
        "corrupted accuracy, %",
        "drop, points",
        "mCE, %",
        "first-layer gradient norm",
        "first / last layer",
        "inactive units, %",
    ]
    return rows, headers


def compact_rows(frames: Frames) -> tuple[list[list[str]], list[str]]:
    """Return the rows and headers of the main table's part about accuracy, for narrow places."""
    headers = ["activation", "n", "clean %", "corrupted %", "drop", "mCE %"]
    rows, _ = summary_rows(frames)
    return [row[: len(headers)] for row in rows], headers


def summary_markdown(frames: Frames) -> str:
    """Return ``summary.md``: the answer in sentences, then the tables."""
    study = frames.study
    baseline = _escaped(study.baseline)
    parts = [
        f"# {_escaped(study.data_label)}, {_escaped(study.model)}: activations compared with "
        f"{baseline}{f' ({arm(study)})' * bool(arm(study))}",
        "\n".join(f"- {_escaped(sentence)}" for sentence in verdict_sentences(frames)),
        *mixing_paragraphs(frames),
        f"Differences are paired by seed, with their 95 % t interval. {describe_recipe(study)}",
        "## Summary",
        "Each cell is the mean ± standard deviation over n seeds.",
        to_markdown(*summary_rows(frames)),
        "Corrupted accuracy is the plain mean over the corruptions and severities below; drop is "
        f"clean less corrupted; mCE is the error under corruption relative to {baseline}'s, which "
        "is 100. Gradient norms are means over the last epoch's steps. A unit is inactive when its "
        "pre-activation is ≤ 0 at every position of every test image.",
        *_failures(frames),
        *_sections(frames, folded=False),
        "## Paired differences from the baseline",
        to_markdown(*comparison_rows(frames, frames.comparisons)),
        *_margin_note(frames),
        "## Where the uncertainty comes from",
        to_markdown(*variance_rows(frames)),
        "Standard errors of the difference, in points: for other seeds on the same test images, "
        "for other test images under the same networks, and for both new.",
    ]
    if study.corruptions and len(frames.corruptions):
        parts += [
            "## Accuracy by corruption, %",
            to_markdown(*means_over_seeds(frames.corruptions, frames, "corruption", "accuracy")),
            "## Accuracy by severity, %",
            to_markdown(*means_over_seeds(frames.corruptions, frames, "severity", "accuracy")),
        ]
    parts += _sections(frames, folded=True)
    if len(frames.gradients):
        parts.append("## Mean gradient norm by layer and epoch")
        for layer, part in frames.gradients.groupby("layer", sort=False):
            parts += [
                f"### {_escaped(str(layer))}",
                to_markdown(*means_over_seeds(part, frames, "epoch", "grad_norm", number)),
            ]
    return "\n\n".join(parts) + "\n"


def _margin_note(frames: Frames) -> list[str]:
    margin = f"{100 * frames.study.margin:g}"
    return [
        f"p (Holm) is the paired t-test's, corrected over the activations; p (equivalent) is that "
        f"of two one-sided tests against ±{margin} points, and a dash there means that the metric "
        "has no natural margin. MDE is the difference that this many pairs detect with 80 % power; "
        f"seeds needed is how many detect {margin} points. Tests are at the level "
        f"{frames.level():.3g}. {METRICS_ALONE}"
    ]


def comparison_rows(frames: Frames, comparisons: pd.DataFrame) -> tuple[list[list[str]], list[str]]:
    """Return the rows and headers of a table of paired differences, all or some of the study's."""
    rows = []
    for row in comparisons.to_dict("records"):
        metric = frames.metrics[row["metric"]]
        points = metric.kind == "fraction"
        rows.append(
            [
                row["activation"],
                f"{metric.label}{', points' if points else ''}",
                str(row["n"]),
                signed(row["difference"], points=points),
                interval(row["ci_low"], row["ci_high"], points=points),
                probability(row["p_holm"]),
                probability(row["p_equivalence"]),
                number(row["pair_correlation"]),
                number(row["minimum_detectable_effect"] * (100 if points else 1)),
                DASH if pd.isna(row["seeds_needed"]) else str(row["seeds_needed"]),
                row["verdict"] + MASKED * _is_masked(frames, row),
            ]
        )
    headers = [
        "activation",
        "metric",
        "n",
        "difference",
        "95 % interval",
        "p (Holm)",
        "p (equivalent)",
        "pair correlation",
        "MDE",
        "seeds needed",
        "verdict",
    ]
    return rows, headers


def _is_masked(frames: Frames, row: Mapping[Any, Any]) -> bool:
    """Return whether a difference is one in robust accuracy that masked gradients may feign."""
    sides = (row["activation"], row["baseline"])
    return frames.metrics[row["metric"]].guarded and any(map(frames.masking, sides))


def variance_rows(frames: Frames) -> tuple[list[list[str]], list[str]]:
    """Return the rows and headers of the table of the two sources of variance."""
    rows = [
        [
            row["activation"],
            frames.metrics[row["metric"]].label,
            str(row["n_seeds"]),
            str(row["n_images"]),
            *(percent(row[f"standard_error_{of}"]) for of in ("seeds", "images", "total")),
            row["sharpen"] or DASH,
        ]
        for row in frames.variance.to_dict("records")
    ]
    headers = ["activation", "metric", "seeds", "test images", "from seeds", "from images", "total"]
    return rows, [*headers, "what would sharpen it"]


def mixing_paragraphs(frames: Frames, name: str = "") -> list[str]:
    """Return the warnings of mixed environments as Markdown, after the study's name if given."""
    before = f"{name}: " if name else ""
    return [f"**Warning:** {_escaped(before + warning)}" for warning in frames.mixing()]


def _sections(frames: Frames, *, folded: bool) -> list[str]:
    parts = []
    for section in robustness_sections(frames):
        if section.folded != folded:
            continue
        parts += [f"## {section.title}"]
        parts += [f"**Warning:** {_escaped(warning)}" for warning in section.warnings]
        parts += [to_markdown(section.rows, section.headers), _escaped(section.note)]
    return parts


def _failures(frames: Frames) -> list[str]:
    failed = frames.trials[frames.trials["status"] != "ok"]
    if failed.empty:
        return []
    rows = failed[["activation", "seed", "status", "reason"]].astype(str).to_numpy().tolist()
    return [
        "## Trials without a result",
        "They are left out of every mean; n says how many remain.",
        to_markdown(rows, ["activation", "seed", "status", "reason"]),
    ]


def summary_latex(frames: Frames) -> str:
    """Return ``summary.tex``: the main table and the primary metrics' verdicts, as a document."""
    study = frames.study
    name = ", ".join(filter(None, [study.data_label, study.model, arm(study)]))
    recipe = describe_recipe(study)
    tables = [
        to_latex(
            *compact_rows(frames),
            columns="lrrrrr",
            caption=f"{name}: accuracy, clean and under corruption, mean ± standard deviation "
            "over n seeds. Drop, in points, is clean less corrupted; mCE is the error under "
            f"corruption relative to that of {study.baseline}. "
            + " ".join([*frames.mixing(), recipe]),
        )
    ]
    tables += [
        to_latex(
            section.rows,
            section.headers,
            columns="ll" + "r" * (len(section.headers) - 2),
            caption=" ".join(
                [f"{name}: {section.title}.", *section.warnings, section.note, recipe]
            ),
        )
        for section in robustness_sections(frames)
        if not section.folded
    ]
    primary = frames.comparisons["metric"].isin(frames.primary())
    if primary.any():
        wanted = ["activation", "metric", "n", "difference", "95 % interval", "p (Holm)", "verdict"]
        rows, headers = comparison_rows(frames, frames.comparisons[primary])
        places = [headers.index(header) for header in wanted]
        tables.append(
            to_latex(
                [[row[place] for place in places] for row in rows],
                wanted,
                columns="llrrrrl",
                caption=f"{name}: differences from {study.baseline}, paired by seed, with n pairs. "
                f"Tests are at the level {frames.level():.3g}; equivalent means within "
                f"±{100 * study.margin:g} points. {recipe}",
            )
        )
    return latex_document(tables)


def derived_files(frames: Frames) -> dict[str, str]:
    """Return every table of the results folder as text, by file name."""
    return {
        "trials.csv": to_csv(frames.trials),
        "corruptions.csv": to_csv(frames.corruptions),
        "gradients.csv": to_csv(frames.gradients),
        "attacks.csv": to_csv(frames.attacks),
        "mechanism.csv": to_csv(frames.mechanism),
        "summary.csv": to_csv(frames.summary),
        "comparisons.csv": to_csv(frames.comparisons),
        "summary.md": summary_markdown(frames),
        "summary.tex": summary_latex(frames),
    }
