"""Data frames → Markdown: `summary.md`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tabulate import tabulate

from actbench.report.claims import RULE, claim_facts_of, replication_tables
from actbench.report.formatting import METRICS_NOT_CORRECTED, number
from actbench.report.printable import printable
from actbench.report.robustness import robustness_tables
from actbench.report.sentences import describe_study, variant_label, verdict_sentences
from actbench.report.tables import (
    accuracy_tables,
    comparison_table,
    failures_table,
    means_table,
    sensitivity_table,
    summary_table,
    variance_table,
)
from actbench.report.warnings import chance_note, study_warnings

if TYPE_CHECKING:
    from actbench.analysis.frames import Frames
    from actbench.report.table import Table


# What Markdown takes for markup. A bracket is one where a link's address or label can follow; other
# brackets, such as an interval's, stay readable in the source.
_MARKUP = re.compile(r"[|`*~]|!(?=\[)|\](?=[(\[:])|(?<!\w)_|_(?!\w)")


def to_markdown(table: Table) -> str:
    """Return the headers and cells in Markdown; ``|`` and line breaks in them are escaped."""
    return tabulate(
        [[escape_markdown(cell) for cell in row] for row in table.rows],
        headers=[escape_markdown(header) for header in table.headers],
        tablefmt="pipe",
        disable_numparse=True,
        colalign=("left", *["right"] * (len(table.headers) - 1)),
    )


def summary_markdown(frames: Frames) -> str:
    """Return ``summary.md``: the verdicts as sentences, then the tables."""
    study = frames.study
    variant = variant_label(study)
    baseline = escape_markdown(study.baseline)
    parts = [
        f"# {escape_markdown(f'{study.data_label}, {study.model}')}: activations compared with "
        f"{baseline}{f' ({variant})' if variant else ''}",
        *(f"**Warning:** {escape_markdown(warning)}" for warning in study_warnings(frames)),
        "\n".join(f"- {escape_markdown(sentence)}" for sentence in verdict_sentences(frames)),
        "Differences are paired by seed, with their 95 % t interval. "
        f"{escape_markdown(describe_study(frames))}",
        *_claim(frames),
        "## Summary",
        "Each cell is the mean ± standard deviation over n seeds.",
        to_markdown(summary_table(frames)),
        f"{_corruptions_note(frames)}Gradient norms are means over the last epoch's steps. A unit "
        "is inactive when its pre-activation is ≤ 0 at every position of every test image. "
        f"{chance_note(frames)}",
        *_failures(frames),
        *_sections(frames, folded=False),
        "## Paired differences from the baseline",
        METRICS_NOT_CORRECTED,
        to_markdown(comparison_table(frames, frames.comparisons)),
        _comparison_note(frames),
        *_sensitivity(frames),
        "## Where the uncertainty comes from",
        to_markdown(variance_table(frames)),
        "Standard errors of the difference, in points: for other seeds on the same test images, "
        "for other test images under the same networks, and for both new.",
    ]
    for table in accuracy_tables(frames):
        parts += [f"## {table.title}", to_markdown(table)]
    parts += _sections(frames, folded=True)
    if len(frames.gradients):
        parts.append("## Mean gradient norm by layer and epoch")
        for layer, part in frames.gradients.groupby("layer", sort=False):
            parts += [
                f"### {escape_markdown(str(layer))}",
                to_markdown(means_table(frames, part, "epoch", "grad_norm", number)),
            ]
    return "\n\n".join(parts) + "\n"


def _claim(frames: Frames) -> list[str]:
    parts = [f"{name}: {escape_markdown(text)}" for name, text in claim_facts_of(frames)]
    if parts:
        parts = [f"## The published claim {frames.study.claim}", *parts, RULE]
    for table in replication_tables(frames):
        parts += [f"### {escape_markdown(table.title)}", to_markdown(table)]
    return parts


def _corruptions_note(frames: Frames) -> str:
    if not frames.study.corruptions:
        return ""
    return (
        "Corrupted accuracy is the plain mean over the corruptions and severities below; drop is "
        "clean less corrupted; mCE is the error under corruption relative to "
        f"{escape_markdown(frames.study.baseline)}'s, which is 100. "
    )


def _comparison_note(frames: Frames) -> str:
    margin = f"{100 * frames.study.margin:g}"
    return (
        "p (Holm) is the paired t-test's and p (equivalent) that of two one-sided tests against "
        f"±{margin} points, each corrected over the activations; a dash means that the metric has "
        "no natural margin, or that there is nothing to test. p (ranks) is Wilcoxon's signed-rank "
        "test's, corrected likewise, from six pairs on. MDE is the difference that this many pairs "
        "detect with 80 % power, uncorrected; seeds needed, where there is no verdict yet, is how "
        "many pairs lead to one with 80 % power, whatever the true difference, for the 80 % "
        f"interval of the standard deviation. Tests are at the level {frames.level:.3g}."
    )


def _sections(frames: Frames, *, folded: bool) -> list[str]:
    parts = []
    for table in robustness_tables(frames):
        if table.folded == folded:
            parts.append(f"## {table.title}")
            parts += [f"**Warning:** {escape_markdown(warning)}" for warning in table.warnings]
            parts += [to_markdown(table), escape_markdown(table.note)]
    return parts


def _failures(frames: Frames) -> list[str]:
    table = failures_table(frames)
    if not table.rows:
        return []
    return ["## Trials without a result", f"{table.title}.", to_markdown(table)]


def escape_markdown(cell: str) -> str:
    """Return Markdown that shows exactly this text, in one line, without links or images."""
    cell = " ".join(printable(cell).split())
    for old, new in (("\\", "\\\\"), ("&", "&amp;"), ("<", "&lt;")):
        cell = cell.replace(old, new)
    return _MARKUP.sub(r"\\\g<0>", cell)


def _sensitivity(frames: Frames) -> list[str]:
    table = sensitivity_table(frames)
    return [f"## {table.title}", to_markdown(table), table.note] if table.rows else []
