"""The same trials under other studies, pair by pair: what a precision or a recipe changes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from actbench.errors import UsageError
from actbench.statistics import compare, holm, verdict_of
from actbench.tables import mixing_paragraphs, to_csv, to_markdown
from actbench.verdicts import DASH, probability, signed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from actbench.frames import Frames
    from actbench.metrics import Metric

COUNTERPART_COLUMNS = (
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
)
LEVEL = 0.05
ALL = "mean of all"
_SHOWN = ("clean_accuracy", "corrupted_accuracy", "clean_loss", "grad_norm_first")


def compare_counterparts(studies: Mapping[str, Frames]) -> pd.DataFrame:
    """Return how the trials of each study differ from those of the first, pair by pair.

    A pair is one activation with one seed in both studies, so it shares the batch order and, with
    the same network, the initial weights. Where two or more activations are shared, each seed's
    means over them are paired as well: what changes for all has a narrower interval there. The
    rule of the verdicts is that of ``statistics.compare`` at the level 0.05, with Holm's
    correction within a metric over all rows. The metrics are those that all studies have, without
    the accuracy at matched clean accuracy, which goes by each study's own line.

    Args:
        studies: two or more, by the name that the tables give them; the first is the reference,
            and its margin holds.

    Returns:
        A row per study but the first × activation × metric, activations in the first study's order
        and ``ALL`` after them, with the columns ``COUNTERPART_COLUMNS``: those of
        ``statistics.compare``, ``difference`` being study − reference.

    Raises:
        UsageError: a study shares no trial with the first.
    """
    reference, *others = studies
    first = studies[reference]
    metrics = {
        k: m
        for k, m in first.metrics.items()
        # accuracy at matched clean accuracy goes by each study's own line
        if k != "matched_accuracy" and all(k in f.metrics for f in studies.values())
    }
    parts = []
    for other in others:
        sides = {reference: first.values(), other: studies[other].values()}
        groups = _shared(list(sides.values()), first.study.activations, list(metrics))
        for activation, rows in groups.items():
            named = [r.assign(activation=side) for r, side in zip(rows, sides, strict=True)]
            part = compare(
                pd.concat(named),
                baseline=reference,
                metrics=metrics,
                margin=first.study.margin,
                level=LEVEL,
            )
            part = part.rename(columns={"activation": "study", "baseline": "reference"})
            parts.append(part.assign(activation=activation))
        if not any((part["study"] == other).any() for part in parts):
            raise UsageError(f"{other} shares no trial with {reference}")
    table = pd.concat(parts, ignore_index=True)
    table["p_holm"] = table.groupby("metric")["p_value"].transform(lambda p: holm(p.to_numpy()))
    table["verdict"] = [
        verdict_of(row, metrics[row["metric"]], LEVEL) for row in table.to_dict("records")
    ]
    for place, row in table.to_dict("index").items():
        both = (first, studies[row["study"]])
        mean_of_all = row["activation"] == ALL
        activations = first.study.activations if mean_of_all else (row["activation"],)
        masked = any(study.masking(name) for study in both for name in activations)
        if metrics[row["metric"]].guarded and masked:
            note = "; ".join(filter(None, [row["note"], "signs of masked gradients"]))
            table.loc[place, "note"] = note
    return table[list(COUNTERPART_COLUMNS)]


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


def counterpart_files(studies: Mapping[str, Frames]) -> dict[str, str]:
    """Return ``counterparts.md`` and ``counterparts.csv`` as text, by file name.

    Raises:
        UsageError: as ``compare_counterparts``.
    """
    table = compare_counterparts(studies)
    return {"counterparts.md": _markdown(studies, table), "counterparts.csv": to_csv(table)}


def _markdown(studies: Mapping[str, Frames], table: pd.DataFrame) -> str:
    reference, *others = studies
    first = studies[reference]
    parts = [
        "# The same trials under other studies",
        f"Each row pairs the trials of a study with those of {reference} that have the same "
        "activation and seed: the difference from it, with its 95 % t interval, n pairs, p after "
        "Holm's correction over a metric's rows, and the verdict; the margin is "
        f"±{100 * first.study.margin:g} points.",
        *(part for name, frames in studies.items() for part in mixing_paragraphs(frames, name)),
    ]
    for other in others:
        rows = [
            _row(row, first.metrics[row["metric"]])
            for row in table[table["study"] == other].to_dict("records")
            if row["metric"] in _SHOWN
        ]
        headers = ["activation", "metric", "difference", "n", "p (Holm)", "verdict"]
        parts += [
            f"## {other} against {reference}",
            _what_differs(first, studies[other]),
            to_markdown(rows, headers),
        ]
    return "\n\n".join(parts) + "\n"


def _what_differs(first: Frames, other: Frames) -> str:
    there, here = first.study.identity(), other.study.identity()
    changed = [f"{k} is {there[k]} there and {here[k]} here" for k in there if there[k] != here[k]]
    return f"{'; '.join(changed) or 'The studies have the same configuration'}."


def _row(row: Mapping[Any, Any], metric: Metric) -> list[str]:
    points = metric.kind == "fraction"
    label = f"{metric.label}{', points' if points else ''}"
    difference = signed(row["difference"], points=points)
    interval = [signed(row[end], points=points) for end in ("ci_low", "ci_high")]
    if DASH not in interval:
        difference += f" [{', '.join(interval)}]"
    p = probability(row["p_holm"])
    return [row["activation"], label, difference, str(row["n"]), p, row["verdict"]]
