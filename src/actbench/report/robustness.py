"""The tables about robustness, with their notes and warnings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from actbench.analysis.metrics import epsilon_text
from actbench.report.breakdowns import class_table, level_table
from actbench.report.formatting import (
    MASKED,
    correlation,
    correlation_interval,
    interval,
    number,
    p_value,
    percent,
    signed,
)
from actbench.report.once import once
from actbench.report.table import Table
from actbench.report.tuning import tuning_table
from actbench.study.levels import level_labels, name_label

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from actbench.analysis.frames import Frames

_NOTHING = (math.nan, math.nan, 0)  # mean, deviation and count where no trial has a value


@once
def robustness_tables(frames: Frames) -> tuple[Table, ...]:
    """Return the tables that the study has data for, in their order."""
    tables = (
        tuning_table(frames),
        attack_table(frames),
        _error_table(frames),
        _matched_table(frames),
        _mechanism_table(frames),
        level_table(frames),
        class_table(frames),
        _calibration_table(frames, "ece", "Calibration error", ", %", percent),
        _calibration_table(frames, "loss", "Negative log-likelihood", ", nats", number),
    )
    return tuple(table for table in tables if table is not None)


def attack_table(frames: Frames) -> Table | None:
    """Return accuracy under each attack by ε, and on the same images unchanged.

    A cell has the warning sign if one of its trials has signs of masked gradients.
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
                cells.append(percent(mean, spread) + (MASKED if hits and found else ""))
            found = f"{hits} of {n} trials{MASKED}" if hits else "none found"
            rows.append([activation, attack, f"{n}", *cells, found])
    images = frames.attacked_images()
    return Table(
        id="attacks",
        title="Accuracy under attack, %",
        headers=[
            "activation",
            "attack",
            "n",
            "unchanged",
            *(f"ε = {epsilon_text(epsilon)}" for epsilon in epsilons),
            "masked gradients",
        ],
        rows=rows,
        note=f"Mean ± standard deviation over n seeds, on the first {images} test images. An "
        "attack changes an image by at most ε, in its norm, to have it misclassified; all trials "
        "use the same random numbers. A stronger attack can only lower these figures. "
        "comparisons.csv has the paired differences with their verdicts.",
        warnings=tuple(masking_warnings(frames)),
    )


def _error_table(frames: Frames) -> Table | None:
    """Return the error under corruption relative to the baseline's, with verdicts."""
    rows = []
    for name, label in (("mce", "mCE"), ("relative_mce", "relative mCE")):
        compared = frames.comparisons[frames.comparisons["metric"] == name]
        found = frames.summary.set_index("activation")[name]
        rows += [
            [
                row["activation"],
                label,
                str(row["n"]),
                f"{found[row['activation']]:.1f}",
                interval(100 + row["ci_low"], 100 + row["ci_high"], form=".1f"),
                p_value(row["p_holm"]),
                row["verdict"],
            ]
            for row in compared.to_dict("records")
            if math.isfinite(found[row["activation"]])
        ]
    if not rows:
        return None
    return Table(
        id="errors",
        title="Error under corruption relative to the baseline's",
        headers=["activation", "metric", "n", "value, %", "95 % interval", "p (Holm)", "verdict"],
        rows=rows,
        note=f"{frames.study.baseline} is 100 %; lower is better. mCE is the mean, over "
        "corruptions, of the error divided by the baseline's; relative mCE subtracts the clean "
        "error from both first. The t intervals are over n pairs, of the linearised ratios.",
    )


def _matched_table(frames: Frames) -> Table | None:
    """Return corrupted accuracy at matched clean accuracy, with verdicts."""
    if not np.isfinite(frames.summary["corrupted_accuracy_mean"]).any():
        return None
    compared = frames.comparisons
    compared = compared[compared["metric"] == "matched_accuracy"].set_index("activation")
    means = frames.summary.set_index("activation")["matched_accuracy_mean"]
    slopes = frames.matched.groupby("activation")["slope"].first()
    rows = []
    for activation, row in compared.to_dict("index").items():
        estimated = math.isfinite(row["difference"])
        rows.append(
            [
                str(activation),
                str(row["n"]),
                percent(means.get(activation, math.nan)),
                signed(row["difference"], points=True),
                interval(row["ci_low"], row["ci_high"], points=True),
                number(slopes.get(activation, math.nan)),
                p_value(row["p_holm"]),
                row["verdict"] if estimated else "not estimable",
            ]
        )
    return Table(
        id="matched",
        title="Robustness at matched clean accuracy",
        headers=[
            "activation",
            "n",
            "matched accuracy, %",
            "difference, points",
            "95 % interval",
            "slope",
            "p (Holm)",
            "verdict",
        ],
        rows=rows,
        note="Corrupted accuracy at equal clean accuracy: the intercept of the line of the paired "
        f"differences from {frames.study.baseline} in corrupted accuracy on those in clean "
        "accuracy, with n pairs. The slope is in points per point; the interval "
        "contains its uncertainty. Not estimable: fewer than five pairs with a difference in clean "
        "accuracy, clean differences that vary too little over the seeds, or all pairs on one "
        "line; comparisons.csv has the reason.",
    )


_MECHANISM_LABELS = {
    "inactive_fraction": "inactive units",
    "grad_norm_ratio": "gradient norm, first / last layer",
    "logit_margin": "logit margin",
    "input_gradient_norm": "input gradient norm",
}


def _mechanism_table(frames: Frames) -> Table | None:
    """Return the rank correlations of the mechanisms with corrupted accuracy."""
    table = frames.mechanism
    if not np.isfinite(table[["rank_correlation", "within_seeds"]]).any(axis=None):
        return None
    rows = [
        [
            _MECHANISM_LABELS[row["mechanism"]],
            str(row["n_trials"]),
            correlation(row["rank_correlation"]),
            str(row["n_seeds"]),
            correlation(row["within_seeds"]),
            correlation_interval(row["within_ci_low"], row["within_ci_high"]),
        ]
        for row in table.to_dict("records")
    ]
    return Table(
        id="mechanism",
        title="Correlation of mechanisms with corrupted accuracy",
        headers=[
            "mechanism",
            "trials",
            "ρ over trials",
            "seeds",
            "ρ within seeds",
            "95 % interval",
        ],
        rows=rows,
        note="Spearman's rank correlation. Trials of a seed are not independent, as they share "
        "weights and batches, so ρ over trials has no interval. ρ within seeds is the mean over "
        "seeds of that among the activations of one seed, with the t interval over seeds: for "
        "further seeds with these activations. A seed in which one of the two does not vary is "
        "left out. A dash: one of the two does not vary, or there are too few values. Correlation "
        "does not show a cause.",
    )


def _calibration_table(
    frames: Frames, column: str, name: str, unit: str, show: Callable[[float, float], str]
) -> Table | None:
    """Return a measure of the calibration, by corruption and severity."""
    if frames.corruptions.empty:
        return None
    cells = frames.corruptions.groupby(["corruption", "severity", "activation"], sort=False)
    spread = {key: (part.mean(), part.std()) for key, part in cells[column]}
    activations = list(frames.corruptions["activation"].unique())
    severities: dict[Any, None] = dict.fromkeys(
        (corruption, severity) for corruption, severity, _ in spread
    )
    rows = [
        [
            name_label(corruption),
            level_labels(corruption)[severity - 1].removeprefix("severity "),
            *(
                show(*spread.get((corruption, severity, name), _NOTHING[:2]))
                for name in activations
            ),
        ]
        for corruption, severity in severities
    ]
    counts = frames.corruptions.groupby("activation")["seed"].nunique()
    least, most = counts.min(), counts.max()
    return Table(
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
    """Return a sentence for each activation with signs of masked gradients, with its n."""
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
