"""Changes to tables of comparisons: withheld verdicts, notes, diverged trials scored as chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from actbench.analysis.comparisons import compare
from actbench.analysis.verdicts import NO_VERDICT, SEEDS_COLUMNS, ranks_disagree

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from actbench.analysis.metrics import Metric


def withhold_at_chance(table: pd.DataFrame, metrics: Mapping[str, Metric]) -> None:
    """Remove the verdicts about accuracy, loss and calibration, in place, and note the reason."""
    affected = [name for name, metric in metrics.items() if metric.direction != "none"]
    labels = table.index[table["metric"].isin(affected)]
    table.loc[labels, ["verdict", "verdict_wilcoxon"]] = NO_VERDICT
    table.loc[labels, list(SEEDS_COLUMNS)] = pd.NA
    add_note(table, labels, "the baseline is at chance")


def note_ranks(table: pd.DataFrame) -> None:
    """Note in place where Wilcoxon's test contradicts the verdict."""
    for label, row in table.to_dict("index").items():
        if ranks_disagree(row):
            verdict = row["verdict_wilcoxon"]
            result = "finds no difference" if verdict == "undecided" else f"says {verdict}"
            add_note(table, [label], f"the signed-rank test {result}")


def note_masking(
    table: pd.DataFrame, metrics: Mapping[str, Metric], masked: Mapping[str, int]
) -> None:
    """Note in place, in each row about robust accuracy, which trials have masked gradients.

    Args:
        table: the comparisons.
        metrics: their metrics by name.
        masked: the number of trials with signs of masked gradients by activation.
    """
    for label, row in table.to_dict("index").items():
        if not metrics[row["metric"]].guarded:
            continue
        names = (row["activation"], row["baseline"])
        counted = ", ".join(f"{masked[name]} of {name}" for name in names if masked[name])
        if counted:
            add_note(table, [label], f"signs of masked gradients in {counted}")


def add_note(table: pd.DataFrame, labels: Iterable[object], note: str) -> None:
    """Add a note, in place, to the rows with these index labels."""
    labels = list(labels)
    notes = [f"{before}; {note}" if before else note for before in table.loc[labels, "note"]]
    table.loc[labels, "note"] = notes


def scored_as_chance(
    values: pd.DataFrame,
    diverged: pd.Series[bool],
    chance: float | None,
    *,
    baseline: str,
    metrics: Mapping[str, Metric],
    margin: float,
    level: float,
) -> pd.DataFrame:
    """Return comparisons as ``compare`` does, with diverged trials scored as chance.

    Without the diverged trials, only the seeds on which an activation trained would count. Here
    they have the accuracy of a network that ignores its input.

    Args:
        values: as for ``compare``.
        diverged: which of its rows are diverged trials.
        chance: their accuracy in these metrics; None if it is not known.
        baseline: as for ``compare``.
        metrics: accuracies, by name.
        margin: as for ``compare``.
        level: as for ``compare``.

    Returns:
        Only the rows of activations with a diverged trial, or all if the baseline has one; none if
        ``chance`` is None.
    """
    scored = values[["activation", "seed"]].copy()
    for name in metrics:
        scored[name] = values[name].astype(float).mask(diverged, chance)
    table = compare(scored, baseline=baseline, metrics=metrics, margin=margin, level=level)
    affected = set(values.loc[diverged, "activation"]) if chance is not None else set()
    selected = table["activation"].isin(affected) | (baseline in affected)
    return table[selected].reset_index(drop=True)
