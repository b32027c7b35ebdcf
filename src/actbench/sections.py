"""Robustness as tables of text cells with their notes, for Markdown, LaTeX, page and terminal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from actbench.metrics import epsilon_text
from actbench.robustness import LEAST_TRIALS
from actbench.verdicts import DASH, MASKED, interval, number, percent, probability, signed

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from actbench.frames import Frames


_NOTHING = (math.nan, math.nan, 0)  # mean, deviation and count where no trial has a value


@dataclass(frozen=True)
class Section:
    """A table with its title, what stands below it, and warnings that must not be missed.

    ``id`` is its name within a page; ``folded`` says that it is long and of second interest.
    """

    id: str
    title: str
    headers: list[str]
    rows: list[list[str]]
    note: str
    warnings: tuple[str, ...] = ()
    folded: bool = False


def means_over_seeds(
    frame: pd.DataFrame,
    frames: Frames,
    by: str,
    value: str,
    show: Callable[[float, float], str] = percent,
) -> tuple[list[list[str]], list[str]]:
    """Return rows and headers: a column's values down, activations across, mean ± std over seeds.

    Corruptions and epochs are down, as there may be many of them. A dash: no trial has a value.
    """
    by_seed = frame.groupby(["activation", by, "seed"], sort=False)[value].mean()
    groups = by_seed.groupby(["activation", by], sort=False).agg(["mean", "std"])
    cells = {key: show(*row) for key, row in zip(groups.index, groups.to_numpy(), strict=True)}
    known = {activation for activation, _ in cells}
    across = [activation for activation in frames.study.activations if activation in known]
    rows = [
        [str(down).replace("_", " "), *(cells.get((name, down), DASH) for name in across)]
        for down in frame[by].unique()
    ]
    return rows, [by, *across]


def robustness_sections(frames: Frames) -> list[Section]:
    """Return the sections that the study has data for, in their order."""
    made = (
        attack_section(frames),
        _matched_section(frames),
        _mechanism_section(frames),
        _calibration_section(frames, "ece", "Calibration error", ", %", percent),
        _calibration_section(frames, "loss", "Negative log-likelihood", ", nats", number),
    )
    return [section for section in made if section is not None]


def attack_section(frames: Frames) -> Section | None:
    """Return accuracy under each attack by ε, beside that of the same images unchanged.

    A cell bears the warning sign where the guard found masked gradients in one of its trials.
    """
    if frames.attacks.empty:
        return None
    study = frames.study
    unchanged = _over_seeds(frames.unattacked(), ["activation"])
    attacked = _over_seeds(frames.attacks, ["activation", "attack", "epsilon"])
    epsilons = sorted(study.epsilons)
    rows = []
    for attack in study.attacks:
        for activation in frames.attacks["activation"].unique():
            mean, spread, n = unchanged.get((activation,), _NOTHING)
            hits = len(frames.masking(activation))
            cells = [percent(mean, spread)]
            for epsilon in epsilons:
                mean, spread, found = attacked.get((activation, attack, epsilon), _NOTHING)
                n = max(n, found)
                cells.append(percent(mean, spread) + MASKED * bool(hits and found))
            found = f"{hits} of {n} trials{MASKED}" if hits else "none found"
            rows.append([activation, attack, f"{n}", *cells, found])
    images = frames.attacked_images()
    return Section(
        id="attacks",
        title="Accuracy under attack, %",
        headers=[
            *("activation", "attack", "n", "unchanged"),
            *(f"ε = {epsilon_text(epsilon)}" for epsilon in epsilons),
            "masked gradients",
        ],
        rows=rows,
        note=f"Mean ± standard deviation over n seeds, on the first {images} test images. An "
        "attack changes an image by at most ε, in its norm, to have it misclassified; all trials "
        "meet the same random numbers. A stronger attack can only lower these figures. "
        "comparisons.csv has the paired differences with their verdicts.",
        warnings=tuple(masking_warnings(frames)),
    )


def _matched_section(frames: Frames) -> Section | None:
    """Return robustness that is not bought by clean accuracy: relative mCE, matched accuracy."""
    if not np.isfinite(frames.summary["corrupted_accuracy_mean"]).any():
        return None
    compared = frames.comparisons
    compared = compared[compared["metric"] == "matched_accuracy"].set_index("activation")
    verdicts = compared.to_dict("index")
    rows = []
    for row in frames.summary.to_dict("records"):
        pair = verdicts.get(row["activation"], {})
        errors = (row["mce"], row["relative_mce"])
        rows.append(
            [
                row["activation"],
                str(row["matched_accuracy_n"]),
                *(f"{error:.1f}" if math.isfinite(error) else DASH for error in errors),
                percent(row["matched_accuracy_mean"], row["matched_accuracy_std"]),
                signed(pair.get("difference", math.nan), points=True),
                interval(pair.get("ci_low", math.nan), pair.get("ci_high", math.nan), points=True),
                probability(pair.get("p_holm", math.nan)),
                pair.get("verdict", DASH),
            ]
        )
    matched = frames.matched
    line = (
        f"over {matched.n} trials, {matched.slope:.2f} points per point of clean accuracy"
        if math.isfinite(matched.slope)
        else f"which takes {LEAST_TRIALS} trials of different clean accuracy"
    )
    return Section(
        id="matched",
        title="Robustness at matched clean accuracy",
        headers=[
            *("activation", "n", "mCE, %", "relative mCE, %", "matched accuracy, %"),
            *("difference, points", "95 % interval", "p (Holm)", "verdict"),
        ],
        rows=rows,
        note="Relative mCE compares what corruption adds to the clean error. Matched accuracy is "
        "corrupted accuracy at the study's mean clean accuracy, mean ± standard deviation over n "
        f"seeds: each trial's is moved along the regression of one on the other ({line}). "
        f"Differences from {frames.study.baseline} are those of the residuals, pair by pair; their "
        "intervals take the line as given.",
    )


_MECHANISM_LABELS = {
    "inactive_fraction": "inactive units",
    "grad_norm_ratio": "gradient norm, first / last layer",
    "logit_margin": "logit margin",
    "input_gradient_norm": "input gradient norm",
}


def _mechanism_section(frames: Frames) -> Section | None:
    """Return how mechanisms go with corrupted accuracy, by rank."""
    table = frames.mechanism
    if not np.isfinite(table[["rank_correlation", "within_seeds"]]).any(axis=None):
        return None
    rows = [
        [
            _MECHANISM_LABELS[row["mechanism"]],
            str(row["n_trials"]),
            signed(row["rank_correlation"], points=False),
            str(row["n_seeds"]),
            signed(row["within_seeds"], points=False),
            interval(row["within_ci_low"], row["within_ci_high"], points=False),
        ]
        for row in table.to_dict("records")
    ]
    return Section(
        id="mechanism",
        title="Mechanism beside outcome",
        headers=[
            "mechanism",
            "trials",
            "ρ over trials",
            "seeds",
            "ρ within seeds",
            "95 % interval",
        ],
        rows=rows,
        note="Spearman's rank correlation with corrupted accuracy. Trials of a seed are not "
        "independent, as they share weights and batches, so ρ over trials has no interval. ρ "
        "within seeds is the mean over seeds of that among the activations of one seed, with the t "
        "interval over seeds: for further seeds with these activations. A dash: a side does not "
        "vary, or there are too few. None of this shows a cause.",
    )


def _calibration_section(
    frames: Frames, column: str, name: str, unit: str, show: Callable[[float, float], str]
) -> Section | None:
    """Return a measure of how far to trust the probabilities, by corruption and severity."""
    if frames.corruptions.empty:
        return None
    cells = frames.corruptions.groupby(["corruption", "severity", "activation"], sort=False)
    spread = {key: (part.mean(), part.std()) for key, part in cells[column]}
    activations = list(frames.corruptions["activation"].unique())
    places = dict.fromkeys((corruption, severity) for corruption, severity, _ in spread)
    rows = [
        [
            str(corruption).replace("_", " "),
            str(severity),
            *(
                show(*spread.get((corruption, severity, name), _NOTHING[:2]))
                for name in activations
            ),
        ]
        for corruption, severity in places
    ]
    counts = frames.corruptions.groupby("activation")["seed"].nunique()
    least, most = counts.min(), counts.max()
    return Section(
        id=f"corrupted-{column}",
        title=f"{name} by corruption and severity{unit}",
        headers=["corruption", "severity", *activations],
        rows=rows,
        note="Mean ± standard deviation over "
        + (f"n = {most} seeds." if least == most else f"n = {least} to {most} seeds."),
        folded=True,
    )


def _over_seeds(frame: pd.DataFrame, by: list[str]) -> dict[tuple[object, ...], Any]:
    """Return the mean, standard deviation and count of the accuracy in each group."""
    return {
        key: (part.mean(), part.std(), len(part)) for key, part in frame.groupby(by)["accuracy"]
    }


def masking_warnings(frames: Frames) -> list[str]:
    """Return a sentence for each activation whose robust accuracy may be feigned, with its n."""
    found = []
    for activation in frames.study.activations:
        by_seed = frames.masking(activation)
        if not by_seed:
            continue
        trained = int(frames.unattacked()["activation"].eq(activation).sum())
        seed, (first, *_) = next(iter(by_seed.items()))
        found.append(
            f"{activation}: accuracy under attack may be overstated, as {len(by_seed)} of "
            f"{trained} trials show signs of masked gradients. Seed {seed}: {first}. "
            "attacks.csv has them all."
        )
    return found
