"""The same trials under other studies, pair by pair: what a precision or a recipe changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from actbench.errors import UsageError
from actbench.statistics import compare, holm, verdict_of
from actbench.tables import to_csv, to_markdown
from actbench.verdicts import DASH, probability, signed

if TYPE_CHECKING:
    from collections.abc import Mapping

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
_SHOWN = ("clean_accuracy", "corrupted_accuracy", "clean_loss", "grad_norm_first")


def compare_counterparts(studies: Mapping[str, Frames]) -> pd.DataFrame:
    """Return how the trials of each study differ from those of the first, pair by pair.

    A pair is one activation with one seed in both studies, so it shares the batch order and, with
    the same network, the initial weights. The rule of the verdicts is that of
    ``statistics.compare`` at the level 0.05, with Holm's correction within a metric over all
    studies and activations. The metrics are those that all studies have, without the accuracy at
    matched clean accuracy, which goes by each study's own line.

    Args:
        studies: two or more, by the name that the tables give them; the first is the reference,
            and its margin holds.

    Returns:
        A row per study but the first × activation × metric, activations in the first study's order,
        with the columns ``COUNTERPART_COLUMNS``: those of ``statistics.compare``, ``difference``
        being study − reference.

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
        theirs = studies[other].values()
        for activation in first.study.activations:
            sides = {reference: first.values(), other: theirs}
            rows = [v[v["activation"] == activation].assign(activation=k) for k, v in sides.items()]
            if not set(rows[0]["seed"]) & set(rows[1]["seed"]):
                continue
            part = compare(
                pd.concat(rows),
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
        if metrics[row["metric"]].guarded and any(s.masking(row["activation"]) for s in both):
            note = "; ".join(filter(None, [row["note"], "signs of masked gradients"]))
            table.loc[place, "note"] = note
    return table[list(COUNTERPART_COLUMNS)]


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
