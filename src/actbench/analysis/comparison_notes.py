"""Tables of comparisons → with verdicts withheld at chance, notes, and lost trials scored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from actbench.analysis.comparisons import NO_VERDICT, compare, ranks_disagree

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from actbench.analysis.metrics import Metric


def withhold_at_chance(table: pd.DataFrame, metrics: Mapping[str, Metric]) -> None:
    """Take the verdicts about accuracy, loss and calibration away, in place, and note why."""
    judged = [name for name, metric in metrics.items() if metric.direction != "none"]
    places = table.index[table["metric"].isin(judged)]
    table.loc[places, ["verdict", "verdict_wilcoxon"]] = NO_VERDICT
    seeds = [name for name in map(str, table.columns) if name.startswith("seeds_needed")]
    table.loc[places, seeds] = pd.NA
    add_note(table, places, "the baseline is at chance")


def note_ranks(table: pd.DataFrame) -> None:
    """Note in place where Wilcoxon's test contradicts the verdict."""
    for place, row in table.to_dict("index").items():
        if ranks_disagree(row):
            found = row["verdict_wilcoxon"]
            told = "finds no difference" if found == "undecided" else f"says {found}"
            add_note(table, [place], f"the signed-rank test {told}")


def add_note(table: pd.DataFrame, places: Iterable[object], note: str) -> None:
    """Add a note, in place, to the rows with these index labels."""
    labels = list(places)
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

    Leaving diverged trials out keeps only the seeds on which an activation did well. Here they
    count with the accuracy of a network that ignores its input.

    Args:
        values: as for ``compare``.
        diverged: which of its rows are diverged trials.
        chance: their accuracy in these metrics; None where it is not known.
        baseline: as for ``compare``, as are ``margin`` and ``level``.
        metrics: accuracies.
        margin: see above.
        level: see above.

    Returns:
        Only the rows of activations with a diverged trial, all where the baseline has one; none
        where ``chance`` is None.
    """
    scored = values[["activation", "seed"]].copy()
    for name in metrics:
        scored[name] = values[name].astype(float).mask(diverged, chance)
    table = compare(scored, baseline=baseline, metrics=metrics, margin=margin, level=level)
    hit = set(values.loc[diverged, "activation"]) if chance is not None else set()
    wanted = table["activation"].isin(hit) | (baseline in hit)
    return table[wanted].reset_index(drop=True)
