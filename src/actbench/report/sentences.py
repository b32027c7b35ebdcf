"""Comparisons → the sentences that state the result of a study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from actbench.analysis.comparisons import IDENTICAL, ranks_disagree
from actbench.report.formatting import DASH, interval, probability, signed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actbench.analysis.frames import Frames
    from actbench.study.study import Study


def verdict_sentences(frames: Frames) -> list[str]:
    """Return a line per activation: what its primary metrics do against the baseline, how surely.

    Corrupted accuracy comes first where it was measured, then clean accuracy.
    """
    study = frames.study
    if len(study.activations) == 1:
        return [f"{study.baseline} alone was run, so there is nothing to compare it with."]
    rows = {
        (row["activation"], row["metric"]): row for row in frames.comparisons.to_dict("records")
    }
    sentences = []
    for activation in study.activations:
        if activation == study.baseline:
            continue
        parts = [
            _sentence(frames, rows[activation, metric], first=position == 0)
            for position, metric in enumerate(reversed(frames.primary()))
            if (activation, metric) in rows
        ]
        parts += _without_result(frames, activation) if parts else []
        sentences.append(f"{activation} — {' '.join(parts) or 'no trial is stored.'}")
    return sentences


def lost_trials(frames: Frames, activation: str) -> str:
    """Return how many of an activation's stored trials diverged or crashed; empty where none."""
    stored = int((frames.trials["activation"] == activation).sum())
    told = ""
    for status in ("diverged", "crashed"):
        count = frames.lost(activation, status)
        if count and told:
            told += f" and {count} {status}"
        elif count:
            told = f"{count} of {stored} seed{'s' * (stored != 1)} of {activation} {status}"
    return told


def _without_result(frames: Frames, activation: str) -> list[str]:
    """Return what became of the pair's lost trials, and the verdicts with diverged ones scored."""
    sides = (activation, frames.study.baseline)
    lost = [told for side in sides if (told := lost_trials(frames, side))]
    if not lost:
        return []
    sentences = [f"Left out: {', '.join(lost)}."]
    scored = frames.sensitivity[frames.sensitivity["activation"] == activation]
    if len(scored):
        parts = [
            f"{frames.metrics[row['metric']].label} {signed(row['difference'], points=True)} points"
            f"{_between(row)}, n = {row['n']}: {row['verdict']}"
            for row in reversed(scored.to_dict("records"))
        ]
        sentences.append(f"With diverged trials scored as chance: {'; '.join(parts)}.")
    return sentences


def _between(row: Mapping[Any, Any]) -> str:
    shown = interval(row["ci_low"], row["ci_high"], points=True)
    return "" if shown == DASH else f" {shown}"


def _sentence(frames: Frames, row: Mapping[Any, Any], *, first: bool) -> str:
    label = frames.metrics[row["metric"]].label
    label = label if first else label.capitalize()
    if row["n"] == 0:
        return f"{label}: no seed has a result for both."
    difference = signed(row["difference"], points=True)
    over = f" over {row['baseline']}" if first else ""
    n = f"n = {row['n']}"
    if any(lost_trials(frames, row[side]) for side in ("activation", "baseline")):
        n += f" of {len(frames.study.seeds)} seeds"
    if row["n"] == 1:
        return f"{label} {difference} points{over}, {n}: no verdict from a single pair."
    text = f"{label} {difference} points{_between(row)}{over}, {n}, "
    text += _equals("p (Holm)", row["p_holm"])
    return f"{text}: {_verdict(row)}{' as the baseline is at chance' * frames.baseline_at_chance}."


def _equals(name: str, value: float) -> str:
    shown = probability(value)
    return f"{name} {shown if shown.startswith('<') else f'= {shown}'}"


def _verdict(row: Mapping[Any, Any]) -> str:
    ranks = ""
    if ranks_disagree(row):
        p = _equals("p (Holm)", row["p_wilcoxon_holm"])
        ranks = f"; by ranks (Wilcoxon) {row['verdict_wilcoxon']}, {p}"
    if row["verdict"] == "equivalent":
        return f"equivalent within ±{100 * row['margin']:g} points"
    if row["verdict"] == "undecided" and (needed := seeds_range(row)) != DASH:
        margin = f"{100 * row['margin']:g} points"
        return f"undecided (about {needed} seeds needed at a margin of {margin}){ranks}"
    if row["verdict"] == IDENTICAL:
        return "identical to the last bit in every pair, so this is no comparison (see the warning)"
    return f"{row['verdict']}{ranks}"


def seeds_range(row: Mapping[Any, Any]) -> str:
    """Return the range of seeds that a verdict needs, ``40–90``, or a dash.

    Above 99 both ends are rounded up to two digits: they are never below what they were.
    """
    low, high = (row[f"seeds_needed_{end}"] for end in ("low", "high"))
    if pd.isna(low):
        return DASH
    if pd.isna(high):
        return f"{_rounded_up(low)} or more"
    low, high = _rounded_up(low), _rounded_up(high)
    return f"{low}–{high}" if low < high else f"{low}"


def _rounded_up(count: int) -> int:
    unit: int = 10 ** max(0, len(str(count)) - 2)
    return -(-count // unit) * unit


def describe_recipe(study: Study) -> str:
    """Return how the study's trials were trained, as sentences."""
    count = len(study.seeds)
    data = f"the first {study.train_images} training images, " if study.train_images else ""
    decay = ""
    if study.weight_decay:
        decay = f", weight decay {study.weight_decay:g} (not of the parameters of activations)"
    weights = "initial weights"
    if study.init == "slope_aware":
        weights = "the draws of the initial weights, which each activation's gain scales (Kaiming)"
    return (
        f"{count} seed{'s' * (count > 1)}, {data}{study.epochs} "
        f"epoch{'s' * (study.epochs > 1)} of batch {study.batch_size}, SGD with {_rates(study)} "
        f"and momentum {study.momentum:g}{decay}. The trials of a seed "
        f"share {weights}, batch order, augmentation and corrupted test images."
    )


def _rates(study: Study) -> str:
    rates = [f"{study.learning_rate_of(name):g} for {name}" for name in study.activations]
    if study.tune_lr:
        grid = ", ".join(f"{rate:g}" for rate in study.tune_lr)
        return (
            f"the learning rate that was best of {grid} on held-out training images "
            f"({', '.join(rates)})"
        )
    if study.learning_rates:
        return f"a learning rate for each activation ({', '.join(rates)})"
    return f"learning rate {study.learning_rate:g}"


def variant_label(study: Study) -> str:
    """Return how the study treats activations differently, for the captions of its tables.

    Empty where all activations have the network's own initial weights and one learning rate.
    """
    parts = [
        *["slope-aware initial weights"] * (study.init == "slope_aware"),
        *["learning rate tuned for each activation"] * bool(study.tune_lr),
        *["learning rate given for each activation"]
        * bool(study.learning_rates and not study.tune_lr),
    ]
    return " and ".join(parts)
