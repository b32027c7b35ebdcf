"""The same trials under other studies, pair by pair: what a precision or a recipe changes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from actbench.analysis.comparisons import NO_VERDICT, compare, decide
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
LEVEL = 0.05
ALL = "mean of all"
_RELATIVE = ("matched_accuracy", "mce", "relative_mce")  # to each study's own baseline
_SHOWN = ("clean_accuracy", "corrupted_accuracy", "clean_loss", "grad_norm_first")


def compare_paired_studies(studies: Mapping[str, Frames]) -> pd.DataFrame:
    """Return how the trials of each study differ from those of the first, pair by pair.

    A pair is one activation with one seed in both studies, so it shares the batch order and, with
    the same network, the initial weights. Where two or more activations are shared, each seed's
    means over them are paired as well: what changes for all has a narrower interval there. The
    rule of the verdicts is that of ``statistics.compare`` at the level 0.05, with Holm's
    correction within a metric over all rows. The metrics are those that all studies have, without
    those that are relative to each study's own baseline.

    Args:
        studies: two or more, by the name that the tables give them; the first is the reference,
            and its margin holds.

    Returns:
        A row per study but the first × activation × metric, activations in the first study's order
        and ``ALL`` after them, with the columns ``PAIRED_COLUMNS``: those of
        ``statistics.compare``, ``difference`` being study − reference.

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
    values = {name: frames.values() for name, frames in studies.items()}
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
    for place, row in table.to_dict("index").items():
        mean_of_all = row["activation"] == ALL
        arms = first.study.activations if mean_of_all else (row["activation"],)
        if metrics[row["metric"]].direction != "none" and any(map(first.mostly_at_chance, arms)):
            note = "; ".join(filter(None, [row["note"], f"{reference} is at chance"]))
            table.loc[place, ["verdict", "note"]] = [NO_VERDICT, note]
            table.loc[place, "seeds_needed"] = pd.NA
            row["note"] = note
        both = (first, studies[row["study"]])
        masked = any(study.masking(name) for study in both for name in arms)
        if metrics[row["metric"]].guarded and masked:
            note = "; ".join(filter(None, [row["note"], "signs of masked gradients"]))
            table.loc[place, "note"] = note
    return table[list(PAIRED_COLUMNS)]


def _shared(
    sides: Sequence[pd.DataFrame], activations: Sequence[str], columns: list[str]
) -> dict[str, list[pd.DataFrame]]:
    """Return both sides' rows of each activation with a seed in common, and their means by seed.

    A mean is over all of these activations; it is missing where one of them has no value.
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
