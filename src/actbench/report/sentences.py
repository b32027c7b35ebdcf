"""Comparisons → the sentences that state the result of a study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from actbench.analysis.verdicts import IDENTICAL, ranks_disagree
from actbench.report.formatting import DASH, difference, p_value_of, signed
from actbench.study.notes import REPLACED
from actbench.study.recipe import OPTIMIZERS, SGDSettings
from actbench.study.specs import setting_text
from actbench.study.tuning import tuning_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actbench.analysis.frames import Frames
    from actbench.study.study import Study
    from actbench.study.tuning import Random


def verdict_sentences(frames: Frames) -> list[str]:
    """Return a line per activation other than the baseline, ``activation — its verdicts``."""
    study = frames.study
    if len(study.activations) == 1:
        return [f"Only {study.baseline} was run, so there is nothing to compare it with."]
    return [f"{name} — {text}" for name, text in verdicts_by_activation(frames).items()]


def verdicts_by_activation(frames: Frames) -> dict[str, str]:
    """Return the primary comparisons of each activation other than the baseline, as sentences.

    First corrupted accuracy, if it was measured, then clean accuracy.
    """
    rows = {
        (row["activation"], row["metric"]): row for row in frames.comparisons.to_dict("records")
    }
    texts = {}
    for activation in frames.study.activations:
        if activation == frames.study.baseline:
            continue
        parts = [
            _sentence(frames, rows[activation, metric], first=position == 0)
            for position, metric in enumerate(reversed(frames.primary_metrics))
            if (activation, metric) in rows
        ]
        if parts:
            parts += _without_result(frames, activation)
        texts[activation] = " ".join(parts) or "no trial is stored."
    return texts


def lost_trials(frames: Frames, activation: str) -> str:
    """Return how many of an activation's stored trials diverged or crashed; empty if none did."""
    stored = sum(record.activation == activation for record in frames.records)
    seeds = "seed" if stored == 1 else "seeds"
    counts = {status: frames.lost(activation, status) for status in ("diverged", "crashed")}
    first, *rest = [(count, status) for status, count in counts.items() if count] or [(0, "")]
    if not first[0]:
        return ""
    text = f"{first[0]} of {stored} {seeds} of {activation} {first[1]}"
    return " and ".join([text, *(f"{count} {status}" for count, status in rest)])


def _without_result(frames: Frames, activation: str) -> list[str]:
    """Return the lost trials of both activations, and the verdicts with diverged trials scored."""
    sides = (activation, frames.study.baseline)
    lost = [text for side in sides if (text := lost_trials(frames, side))]
    if not lost:
        return []
    sentences = [f"Left out: {', '.join(lost)}."]
    scored = frames.sensitivity[frames.sensitivity["activation"] == activation]
    if len(scored):
        parts = [
            f"{frames.metrics[row['metric']].label} {difference(row, points=True, unit='points')}, "
            f"n = {row['n']}: {row['verdict']}"
            for row in reversed(scored.to_dict("records"))
        ]
        sentences.append(f"With diverged trials scored as chance: {'; '.join(parts)}.")
    return sentences


def _sentence(frames: Frames, row: Mapping[Any, Any], *, first: bool) -> str:
    label = frames.metrics[row["metric"]].label
    label = label if first else label.capitalize()
    if row["n"] == 0:
        return f"{label}: no seed has a result for both."
    over = f" over {row['baseline']}" if first else ""
    n = f"n = {row['n']}"
    if any(lost_trials(frames, row[side]) for side in ("activation", "baseline")):
        n += f" of {len(frames.study.seeds)} seeds"
    if row["n"] == 1:
        shown = signed(row["difference"], points=True)
        return f"{label} {shown} points{over}, {n}: no verdict from a single pair."
    shown = difference(row, points=True, unit="points")
    reason = " as the baseline is at chance" if frames.baseline_at_chance else ""
    p = p_value_of("p (Holm)", row["p_holm"])
    return f"{label} {shown}{over}, {n}, {p}: {_verdict(row)}{reason}."


def _verdict(row: Mapping[Any, Any]) -> str:
    ranks = ""
    if ranks_disagree(row):
        p = p_value_of("p (Holm)", row["p_wilcoxon_holm"])
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

    Above 99 both ends are rounded up to two digits.
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
    seeds = f"{len(study.seeds)} seed{'' if len(study.seeds) == 1 else 's'}"
    epochs = f"{study.epochs} epoch{'' if study.epochs == 1 else 's'}"
    if study.steps:
        epochs = f"{study.steps:,} step{'' if study.steps == 1 else 's'} ({epochs})"
    data = f"the first {study.train_images} training images, " if study.train_images else ""
    weights = "initial weights"
    if study.init == "slope_aware":
        weights = "the draws of the initial weights, scaled by each activation's gain (Kaiming)"
    return (
        f"{seeds}, {data}{epochs} of batch {study.batch_size}, {_optimizer(study)}"
        f"{_further_settings(study)}. {_validation(study)}The trials of a seed share {weights}, "
        f"batch order{', ' if study.corruptions else ' and '}augmentation"
        f"{' and corrupted test images' if study.corruptions else ''}."
    )


def _optimizer(study: Study) -> str:
    rates = _rates(study)
    optimizer = OPTIMIZERS.resolve(study.optimizer)
    if not isinstance(optimizer, SGDSettings):
        return f"{study.optimizer} with {rates}"
    kind = "Nesterov momentum" if optimizer.nesterov else "momentum"
    return f"SGD with {rates} and {kind} {optimizer.momentum:g}"


def _further_settings(study: Study) -> str:
    """Return the settings of the recipe that are not the defaults, each after a comma."""
    parts = []
    if study.schedule != "constant":
        parts.append(f"schedule {study.schedule}")
    decays = {name: study.weight_decay_of(name) for name in study.activations}
    if any(decays.values()):
        which = "of the weights of layers only"
        if study.decay == "all-but-activations":
            which = "not of the parameters of activations"
        different = ", ".join(f"{decay:g} for {name}" for name, decay in decays.items())
        value = f"{decays[study.baseline]:g}" if len(set(decays.values())) == 1 else different
        parts.append(f"weight decay {value} ({which})")
    if study.clip_gradients:
        parts.append(f"gradients clipped to norm {study.clip_gradients:g}")
    if study.label_smoothing:
        parts.append(f"label smoothing {study.label_smoothing:g}")
    if study.augment != ("auto",):
        parts.append(f"augmentation {setting_text(study.augment)}")
    if study.normalise == "dataset":
        parts.append("images normalised by the statistics of the training images")
    if study.train_against != "none":
        parts.append(f"adversarial training {study.train_against}")
    return "".join(f", {part}" for part in parts)


def _validation(study: Study) -> str:
    if not study.validation:
        return ""
    which = "the epoch with the best accuracy on them" if study.select == "best" else "the last one"
    return (
        f"{100 * study.validation:g} % of the training images of each class are held out, and the "
        f"weights after {which} are measured. "
    )


def describe_study(frames: Frames) -> str:
    """Return the recipe, and what was replaced in a network that is written with its own ReLU."""
    notes = dict.fromkeys(note for record in frames.records for note in record.notes)
    network = [
        f"The network is {frames.study.model}; {note}."
        for note in notes
        if note.startswith(REPLACED)
    ]
    return " ".join([describe_recipe(frames.study), *network])


def _rates(study: Study) -> str:
    rates = [f"{study.learning_rate_of(name):g} for {name}" for name in study.activations]
    if study.tune_lr:
        grid = ", ".join(f"{rate:g}" for rate in study.tune_lr)
        return f"the best learning rate of {grid} on held-out training images ({', '.join(rates)})"
    if search := tuning_of(study):
        return (
            f"the best learning rate{_and_decay(search)} of {search.trials} random ones on "
            f"held-out training images in tuning study 1 of {search.studies} ({', '.join(rates)})"
        )
    if study.learning_rates or study.tuned:
        return f"a learning rate for each activation ({', '.join(rates)})"
    return f"learning rate {study.learning_rate:g}"


def _and_decay(search: Random) -> str:
    return " and weight decay" if search.weight_decay else ""


def variant_label(study: Study) -> str:
    """Return which settings differ between the study's activations, for the captions of its tables.

    Empty if all activations have the network's own initial weights and one learning rate.
    """
    parts = []
    if study.init == "slope_aware":
        parts.append("slope-aware initial weights")
    if study.tune_lr:
        parts.append("learning rate tuned for each activation")
    elif search := tuning_of(study):
        parts.append(f"learning rate{_and_decay(search)} tuned for each activation")
    elif study.learning_rates or study.tuned:
        parts.append("learning rate given for each activation")
    return " and ".join(parts)
