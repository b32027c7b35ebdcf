"""The same trials in several studies, pair by pair: the effect of a precision or a recipe."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from actbench.analysis.comparison_notes import add_note
from actbench.analysis.comparisons import compare
from actbench.analysis.sequential import LEVEL
from actbench.analysis.verdicts import NO_VERDICT, SEEDS_COLUMNS, decide
from actbench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from actbench.analysis.frames import Frames

PAIRED_COLUMNS = (
    "study",
    "reference",
    "activation",
    "metric",
    "n",
    "difference",
    "ci_low",
    "ci_high",
    "p_value",
    "p_holm",
    "p_equivalence",
    "margin",
    "pair_correlation",
    "seeds_needed",
    "verdict",
    "note",
    "p_equivalence_holm",
    "seeds_needed_low",
    "seeds_needed_high",
)
ALL = "mean of all"
_RELATIVE = ("matched_accuracy", "mce", "relative_mce")  # to each study's own baseline


def compare_paired_studies(studies: Mapping[str, Frames]) -> pd.DataFrame:
    """Return how the trials of each study differ from those of the first, pair by pair.

    A pair is one activation with one seed in both studies, so it shares the batch order and, with
    the same network, the initial weights. If two or more activations are shared, each seed's means
    over them are paired as well: an effect on all of them has a narrower interval there. The
    verdicts follow the rule of ``compare`` at the level 0.05, with Holm's correction within a
    metric over all rows. The metrics are those that all studies have, without those that are
    relative to each study's own baseline.

    Args:
        studies: two or more, by their names in the tables. The first is the reference; its margin
            is used.

    Returns:
        A row per study but the first × activation × metric, activations in the first study's order
        and ``ALL`` after them, with the columns ``PAIRED_COLUMNS``: those of
        ``compare``, with study − reference as ``difference``.

    Raises:
        UsageError: a study shares no trial with the first.
    """
    reference, *others = studies
    first = studies[reference]
    metrics = {
        k: m
        for k, m in first.metrics.items()
        if k not in _RELATIVE and all(k in f.metrics for f in studies.values())
    }
    values = {name: frames.metric_values for name, frames in studies.items()}
    shared = {
        other: _shared([values[reference], values[other]], first.study.activations, list(metrics))
        for other in others
    }
    parts = []
    for other, groups in shared.items():
        sides = (reference, other)
        for activation, rows in groups.items():
            named = [r.assign(activation=side) for r, side in zip(rows, sides, strict=True)]
            part = compare(
                pd.concat(named),
                baseline=reference,
                metrics=metrics,
                margin=first.study.margin,
                level=LEVEL,
                tests=sum(map(len, shared.values())),
            )
            part = part.rename(columns={"activation": "study", "baseline": "reference"})
            parts.append(part.assign(activation=activation))
        if not any((part["study"] == other).any() for part in parts):
            raise UsageError(f"{other} shares no trial with {reference}")
    table = decide(pd.concat(parts, ignore_index=True), metrics, LEVEL)
    for label, row in table.to_dict("index").items():
        mean_of_all = row["activation"] == ALL
        activations = first.study.activations if mean_of_all else (row["activation"],)
        at_chance = any(map(first.mostly_at_chance, activations))
        if metrics[row["metric"]].direction != "none" and at_chance:
            table.loc[label, "verdict"] = NO_VERDICT
            table.loc[label, list(SEEDS_COLUMNS)] = pd.NA
            add_note(table, [label], f"{reference} is at chance")
        both = (first, studies[row["study"]])
        masked = any(study.masking(name) for study in both for name in activations)
        if metrics[row["metric"]].guarded and masked:
            add_note(table, [label], "signs of masked gradients")
    return table[list(PAIRED_COLUMNS)]


def _shared(
    sides: Sequence[pd.DataFrame], activations: Sequence[str], columns: list[str]
) -> dict[str, list[pd.DataFrame]]:
    """Return both studies' rows of each activation with a shared seed, and their means by seed.

    A mean is over all of these activations; it is missing if one of them has no value.
    """
    found = {}
    for activation in activations:
        rows = [side[side["activation"] == activation] for side in sides]
        if set(rows[0]["seed"]) & set(rows[1]["seed"]):
            found[activation] = rows
    if len(found) > 1:
        parts = [pd.concat(side) for side in zip(*found.values(), strict=True)]
        means = [
            part.groupby("seed")[columns].agg(
                lambda v: v.mean(skipna=False) if len(v) == len(found) else math.nan
            )
            for part in parts
        ]
        found[ALL] = [mean.reset_index() for mean in means]
    return found
