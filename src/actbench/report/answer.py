"""The answer of a study: each activation's verdicts in the metrics that matter most.

The first screen of the report, the terminal and notebooks show it.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actbench.analysis.verdicts import NO_VERDICT, VERDICTS
from actbench.report.claims import claim_line
from actbench.report.formatting import (
    DASH,
    MASKED,
    difference,
    interval,
    p_value_of,
    percent,
    signed,
)
from actbench.report.sentences import lost_trials, seeds_range
from actbench.report.table import Table
from actbench.report.tuning import tuning_line
from actbench.study.run_options import MAX_SEEDS_UNTIL_DECIDED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from actbench.analysis.frames import Frames

# the headline metrics of every study, with their names in a narrow table
HEADLINES = {
    "clean_accuracy": "clean",
    "corrupted_accuracy": "corrupted",
    "matched_accuracy": "matched",
}
UNDER_ATTACK = "under attack"
MANY = 1000  # seeds beyond which nobody is advised to run them
MATCHED = "corrupted accuracy, at matched clean accuracy"


@dataclass(frozen=True)
class Cell:
    """A comparison with the baseline, or the count of several, as documents show it.

    Attributes:
        verdict: one of ``VERDICTS``; of several comparisons, how many have which.
        difference: the difference, in points for a fraction; a dash if there is none.
        interval: its 95 % interval, or a dash.
        n: pairs; of several comparisons, empty.
        mean: the activation's own mean, in percent for a fraction, or a dash.
        detail: a sentence with everything that is known of it.
        ends: the interval's low end, the difference and the high end, in the unit shown.
        masked: whether masked gradients may have raised the value.
        counts: how many of several comparisons have which verdict.
    """

    verdict: str
    difference: str
    interval: str
    n: str
    mean: str
    detail: str
    ends: tuple[float, float, float]
    masked: bool = False
    counts: tuple[tuple[str, int], ...] = ()

    @property
    def kind(self) -> str:
        """The verdict as one word, for a style; ``several`` if there are several."""
        return self.verdict.replace(" ", "-") if self.verdict in VERDICTS else "several"

    @property
    def order(self) -> str:
        """The difference as a number, for sorting; a dash if there is none."""
        return f"{self.ends[1]:.6g}" if math.isfinite(self.ends[1]) else DASH


@dataclass(frozen=True)
class Answer:
    """Headline comparisons of all activations but the baseline.

    Attributes:
        columns: the headline metrics, by their label.
        rows: by activation: a cell for each column, ``None`` where nothing was measured.
        baseline: the baseline's mean ± standard deviation for each column.
        tally: for each column, how many activations have which verdict.
    """

    columns: list[str]
    rows: dict[str, list[Cell | None]]
    baseline: list[str]
    tally: list[str]


def answer_of(frames: Frames) -> Answer:
    """Return the headline comparisons: clean, corrupted, at equal clean accuracy, under attack.

    If several attacks or ε were run, the last column counts verdicts instead of choosing one.
    """
    study = frames.study
    measured = [name for name in HEADLINES if name in ("clean_accuracy", *_corrupted(frames))]
    attacked = [name for name, metric in frames.metrics.items() if metric.guarded]
    labels = [_label(frames, name) for name in measured]
    labels += [UNDER_ATTACK] if attacked else []
    found = {(row["activation"], row["metric"]): row for row in _rows(frames.comparisons)}
    cells: dict[str, list[Cell | None]] = {}
    for activation in study.activations:
        if activation == study.baseline:
            continue
        of = [found.get((activation, name)) for name in measured]
        cells[activation] = [cell_of(frames, row) if row else None for row in of]
        if attacked:
            several = [found[key] for name in attacked if (key := (activation, name)) in found]
            cells[activation].append(_counted(frames, several) if several else None)
    means = frames.summary.set_index("activation")
    baseline = [_mean(means, study.baseline, name) for name in measured]
    if attacked:
        baseline.append(_mean(means, study.baseline, attacked[0]) if len(attacked) == 1 else DASH)
    columns = list(zip(*cells.values(), strict=True)) or [()] * len(labels)
    return Answer(labels, cells, baseline, [_tally(column) for column in columns])


def _label(frames: Frames, metric: str) -> str:
    return MATCHED if metric == "matched_accuracy" else frames.metrics[metric].label


def _corrupted(frames: Frames) -> tuple[str, ...]:
    return tuple(HEADLINES) if frames.study.corruptions else ()


def _rows(table: pd.DataFrame) -> list[dict[Any, Any]]:
    return table.to_dict("records")


def _mean(means: pd.DataFrame, activation: str, metric: str) -> str:
    """Return the mean ± standard deviation of a fraction in percent, or a dash."""
    if activation not in means.index or metric == "matched_accuracy":
        return DASH
    mean, spread = (means[f"{metric}_{part}"] for part in ("mean", "std"))
    return percent(mean[activation], spread[activation])


def cell_of(frames: Frames, row: Mapping[Any, Any]) -> Cell:
    """Return a row of ``frames.comparisons`` as a cell."""
    metric = frames.metrics[row["metric"]]
    points = metric.kind == "fraction"
    scale = 100 if points else 1
    sides = (row["activation"], row["baseline"])
    masked = metric.guarded and any(map(frames.masking, sides))
    low, middle, high = (scale * float(row[name]) for name in ("ci_low", "difference", "ci_high"))
    means = frames.summary.set_index("activation")[f"{row['metric']}_mean"]
    p = [
        p_value_of(name, row[column])
        for name, column in (("p (Holm)", "p_holm"), ("p (equivalent)", "p_equivalence_holm"))
        if math.isfinite(row[column])
    ]
    needed = seeds_range(row)
    ends = row["ci_low"], row["ci_high"]
    parts = [
        difference(row, points=points, unit="points" if points else ""),
        f"n = {row['n']}",
        *p,
        *([f"about {needed} seeds needed"] if needed != DASH else []),
        *([row["note"]] if row["note"] else []),
    ]
    return Cell(
        verdict=row["verdict"],
        difference=signed(row["difference"], points=points, ends=ends),
        interval=interval(*ends, points=points),
        n=str(row["n"]),
        mean=percent(means[row["activation"]]) if points else DASH,
        detail=f"{row['activation']}, {metric.label}: {row['verdict']}. {', '.join(parts)}",
        ends=(low, middle, high),
        masked=masked,
    )


def _counted(frames: Frames, rows: Sequence[Mapping[Any, Any]]) -> Cell:
    """Return one comparison as it is, several as the count of their verdicts."""
    cells = [cell_of(frames, row) for row in rows]
    if len(cells) == 1:
        return cells[0]
    return Cell(
        verdict=_tally(cells),
        difference=f"{len(cells)} comparisons",
        interval=DASH,
        n="",
        mean=DASH,
        detail=f"{rows[0]['activation']}, over {len(frames.study.attacks)} attacks and "
        f"{len(frames.study.epsilons)} values of ε: {_tally(cells)}",
        ends=(math.nan, math.nan, math.nan),
        masked=any(cell.masked for cell in cells),
        counts=_counts(cells),
    )


def _counts(cells: Sequence[Cell | None]) -> tuple[tuple[str, int], ...]:
    counts = Counter(cell.verdict for cell in cells if cell)
    return tuple((verdict, counts[verdict]) for verdict in VERDICTS if counts[verdict])


def _tally(cells: Sequence[Cell | None]) -> str:
    """Return how many cells have which verdict, ``2 better, 1 undecided``."""
    return ", ".join(f"{count} {verdict}" for verdict, count in _counts(cells))


@dataclass(frozen=True)
class Remedy:
    """What would decide the undecided comparisons: a sentence, and the options of a run."""

    sentence: str
    options: str

    def __str__(self) -> str:
        return f"{self.sentence}; run with {self.options}" if self.options else self.sentence


def remedy(frames: Frames) -> Remedy | None:
    """Return what would decide the undecided primary comparisons; ``None`` if all are decided."""
    rows = frames.primary_comparisons
    undecided = rows[rows["verdict"] == "undecided"]
    if undecided.empty or frames.baseline_at_chance:
        return None
    study, ends = frames.study, undecided[["seeds_needed_low", "seeds_needed_high"]]
    needed = seeds_range(ends.max().mask(ends.isna().any()).to_dict())
    sentence = f"{len(undecided)} of {len(rows)} comparisons undecided: "
    sentence += f"about {needed} seeds needed" if needed != DASH else "more seeds needed"
    planned = study.interim_analyses
    if planned and len(study.seeds) >= planned[-1]:
        return Remedy(f"{sentence}, in a new study", "")
    most = needed.removesuffix(" or more").rpartition("–")[2]
    if planned or not most.isdigit() or int(most) <= MAX_SEEDS_UNTIL_DECIDED:
        return Remedy(sentence, "--until-decided")
    affordable = int(most) <= MANY and not needed.endswith("or more")
    return Remedy(sentence, f"--until-decided --max-seeds {most}" if affordable else "")


def answer_table(frames: Frames) -> Table:
    """Return the answer as one table, a row for each activation and headline metric."""
    found, study = answer_of(frames), frames.study
    short = {_label(frames, name): text for name, text in HEADLINES.items()}
    short[UNDER_ATTACK] = "attacked"
    labels = [short[column] for column in found.columns]
    n = _n(frames, study.baseline, str(frames.with_result(study.baseline)))
    rows = [
        [study.baseline, label, n, mean.partition(" ")[0], "", "", "baseline"]
        for label, mean in zip(labels, found.baseline, strict=True)
        if mean != DASH
    ]
    rows += [
        [
            activation,
            label,
            _n(frames, activation, cell.n),
            cell.mean if cell.mean != DASH else "",
            cell.difference,
            cell.interval,
            cell.verdict + (MASKED if cell.masked else ""),
        ]
        for activation, cells in found.rows.items()
        for label, cell in zip(labels, cells, strict=True)
        if cell is not None
    ]
    return Table(
        title=f"{study.data_label}, {study.model}: differences from {study.baseline} in points",
        headers=[
            "activation",
            "accuracy",
            "n",
            "mean, %",
            "difference",
            "95 % interval",
            "verdict",
        ],
        rows=rows,
        id="answer",
    )


def interim_analysis(frames: Frames) -> str:
    """Return which interim analysis of the study this is, at which level, and what follows."""
    study = frames.study
    planned, seeds = study.interim_analyses, len(study.seeds)
    lead = f"interim analysis {planned.index(seeds) + 1} of {len(planned)}, after {seeds} seeds, "
    lead += f"at the level {frames.level:.3g}: "
    rows = frames.primary_comparisons
    still = int(rows["verdict"].isin(["undecided", NO_VERDICT]).sum())
    if frames.baseline_at_chance:
        return f"{lead}stops, as the baseline is at chance and more seeds do not help"
    if not frames.undecided():
        return f"{lead}stops: all {len(rows)} comparisons are decided"
    lead += f"{still} of {len(rows)} comparisons undecided; "
    if seeds == planned[-1]:
        return f"{lead}stops, as it is the last"
    return f"{lead}the next is after {planned[planned.index(seeds) + 1]} seeds"


def answer_lines(frames: Frames) -> list[str]:
    """Return what to know of the answer, a line each: what it left out, and what to do next."""
    study = frames.study
    lines = [claim_line(frames)] if study.claim else []
    if len(study.activations) == 1:
        lines.append(f"Only {study.baseline} was run, so there is nothing to compare it with.")
    if study.corruptions and len(study.activations) > 1:
        lines.append("matched: corrupted accuracy at matched clean accuracy")
    hits = {name: len(frames.masking(name)) for name in study.activations}
    if masked := [f"{name} {n}/{frames.with_result(name)}" for name, n in hits.items() if n]:
        lines.append(
            f"{MASKED.strip()} accuracy under attack may be overstated, as there are signs of "
            f"masked gradients in trials of {', '.join(masked)}; the report has the reasons"
        )
    if study.tune_lr and study.learning_rates:
        rates = ", ".join(f"{name} {rate:g}" for name, rate in study.learning_rates)
        lines.append(f"learning rates chosen: {rates}")
    if study.tune and study.tuned:
        chosen = ", ".join(
            f"{name} {study.learning_rate_of(name):g} ({study.weight_decay_of(name):g})"
            for name in study.activations
        )
        lines.append(f"learning rates (weight decays) chosen: {chosen}")
    if line := tuning_line(frames):
        lines.append(line)
    if study.interim_analyses:
        lines.append(interim_analysis(frames))
    if found := remedy(frames):
        lines.append(str(found))
    return lines


def _n(frames: Frames, activation: str, n: str) -> str:
    """Return the number of pairs, ``4/5`` if some of five seeds have no result."""
    lost = lost_trials(frames, activation) or lost_trials(frames, frames.study.baseline)
    return f"{n}/{len(frames.study.seeds)}" if n and lost else n
