"""Results in detail: paired differences by corruption and level, and accuracy by class."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from actbench.analysis.paired import ROUNDING, paired_differences, paired_t
from actbench.analysis.record_tables import trial_key
from actbench.analysis.verdicts import holm
from actbench.study.levels import level_labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from actbench.store.result import TrialResult

    Floats = NDArray[np.float64]
    Records = Sequence[TrialResult]
    BySeed = Mapping[int, Floats | float]

_INTERVAL = ("difference", "ci_low", "ci_high")
DIFFERENCE_COLUMNS = (
    "activation",
    "baseline",
    "corruption",
    "severity",
    "level",
    "n",
    *_INTERVAL,
    "p_value",
    "p_holm",
)
CLASS_COLUMNS = (
    "measured",
    "severity",
    "level",
    "epsilon",
    "class",
    "images",
    "correct",
    "accuracy",
)
SUMMARY_COLUMNS = (
    "activation",
    "measured",
    "epsilon",
    "class",
    "images",
    "n",
    "accuracy_mean",
    "accuracy_std",
    "n_pairs",
    *_INTERVAL,
)
_TYPES = {
    **dict.fromkeys(("activation", "baseline", "corruption", "level", "measured"), "object"),
    **dict.fromkeys(("seed", "class", "images", "correct", "n", "n_pairs"), "int64"),
    "severity": "Int64",
}


def corruption_differences(records: Records, baseline: str) -> pd.DataFrame:
    """Return the paired difference in accuracy from the baseline under each corruption and level.

    Returns:
        A row per activation other than the baseline × corruption × severity, in the order of the
        records, with the columns ``DIFFERENCE_COLUMNS``. ``n`` counts the pairs, ``difference`` is
        the mean over them of activation − baseline (a fraction), ``ci_low`` and ``ci_high`` its
        95 % t interval, not adjusted for the number of rows. ``p_value`` is the paired t-test's
        and ``p_holm`` the same after Holm's correction over all rows: whoever looks for the
        largest of them makes all these tests.
    """
    scores: dict[tuple[str, str], dict[int, dict[int, float]]] = {}
    for record in records:
        for score in record.corruptions:
            levels = scores.setdefault((record.activation, score.corruption), {})
            levels.setdefault(score.severity, {})[record.seed] = score.accuracy
    parts = []
    for (activation, corruption), levels in scores.items():
        if activation == baseline:
            continue
        labels = level_labels(corruption)
        for severity in sorted(levels):
            theirs = scores.get((baseline, corruption), {}).get(severity, {})
            names = {"activation": activation, "baseline": baseline, "corruption": corruption}
            at = {"severity": severity, "level": labels[severity - 1]}
            parts.append(pd.DataFrame({**names, **at, **_paired(levels[severity], theirs, 1)}))
    table = _stacked(parts, DIFFERENCE_COLUMNS[:-1])
    return table.assign(p_holm=holm(table["p_value"].to_numpy(np.float64)))


@dataclass(frozen=True)
class ClassScores:
    """The numbers of images by class, in all and classified correctly, in one measurement.

    Attributes:
        measured: ``clean``, a corruption or an attack.
        correct: the number of images classified correctly, by class.
        images: the number of images, by class.
        severity: the severity of a corruption.
        epsilon: the ε of an attack.
    """

    measured: str
    correct: Sequence[int]
    images: Sequence[int]
    severity: int | None = None
    epsilon: float | None = None

    @property
    def accuracies(self) -> Floats:
        """Accuracy by class, NaN for a class without images."""
        images = np.asarray(self.images, dtype=np.float64)
        accuracies = np.full_like(images, np.nan)
        np.divide(np.asarray(self.correct), images, out=accuracies, where=images > 0)
        return accuracies


def class_scores(result: TrialResult) -> list[ClassScores]:
    """Return a trial's numbers by class; empty if they are not stored."""
    images = result.class_images
    if not images:
        return []
    return [
        ClassScores("clean", result.class_correct, images),
        *(
            ClassScores(s.corruption, s.class_correct, images, severity=s.severity)
            for s in result.corruptions
        ),
        *(
            ClassScores(s.attack, s.class_correct, s.class_images, epsilon=s.epsilon)
            for s in result.attacks
        ),
    ]


def class_rows(scores: Sequence[ClassScores], names: Sequence[Any] = ()) -> pd.DataFrame:
    """Return a row per measurement × class with ``CLASS_COLUMNS``.

    Args:
        scores: the scores of one trial or network, one at least.
        names: the names of the classes; their numbers from 0 unless given.
    """
    labels = [
        "" if s.severity is None else level_labels(s.measured)[s.severity - 1] for s in scores
    ]
    where = pd.DataFrame(
        {
            "measured": [s.measured for s in scores],
            "severity": pd.array([s.severity for s in scores], dtype="Int64"),
            "level": labels,
            "epsilon": np.array([s.epsilon for s in scores], dtype=np.float64),
        }
    )
    classes = list(names or range(len(scores[0].images)))
    rows = where.loc[np.repeat(np.arange(len(scores)), len(classes))].reset_index(drop=True)
    rows["class"] = classes * len(scores)
    rows["images"] = np.concatenate([s.images for s in scores])
    rows["correct"] = np.concatenate([s.correct for s in scores])
    rows["accuracy"] = np.concatenate([s.accuracies for s in scores])
    return rows


def classes_table(records: Records) -> pd.DataFrame:
    """Return a row per trial × measurement × class: ``activation``, ``seed``, ``CLASS_COLUMNS``."""
    parts = []
    for record in records:
        if scores := class_scores(record):
            activation, seed = trial_key(record)
            rows = class_rows(scores)
            rows.insert(0, "activation", activation)
            rows.insert(1, "seed", seed)
            parts.append(rows)
    return _stacked(parts, ("activation", "seed", *CLASS_COLUMNS))


def class_summary(records: Records, baseline: str, versions: int) -> pd.DataFrame:
    """Return accuracy by class over the seeds, and its paired difference from the baseline.

    Args:
        records: the results of the study's trials.
        baseline: the activation that all others are compared with.
        versions: the number of corruptions × severities that ``corrupted`` is the mean over; a
            trial that lacks some has no value there.

    Returns:
        A row per measurement × activation × class with ``SUMMARY_COLUMNS``. ``measured`` is
        ``clean``, ``corrupted`` or an attack, which has an ``epsilon``. ``accuracy_mean`` and
        ``accuracy_std`` are over ``n`` trials; ``difference`` and its 95 % t interval are over
        ``n_pairs`` seeds, not adjusted for the number of rows, and NaN for the baseline itself.
    """
    found: dict[tuple[str, float | None], dict[str, dict[int, Floats]]] = {}
    images: dict[tuple[str, float | None], Sequence[int]] = {}
    for record in records:
        scores = class_scores(record)
        corrupted = [s.accuracies for s in scores if s.severity is not None]
        values = {(s.measured, s.epsilon): s.accuracies for s in scores if s.severity is None}
        sizes = {(s.measured, s.epsilon): s.images for s in scores if s.severity is None}
        if len(corrupted) == versions > 0:
            values["corrupted", None] = np.mean(corrupted, axis=0)
            sizes["corrupted", None] = record.class_images
        for key, accuracies in values.items():
            images.setdefault(key, sizes[key])
            by_activation = found.setdefault(key, {})
            by_activation.setdefault(record.activation, {})[record.seed] = accuracies
    order = sorted(found, key=lambda key: (key[1] is not None, key[0] != "clean"))
    parts = []
    for measured, epsilon in order:
        by_activation = found[measured, epsilon]
        for activation, ours in by_activation.items():
            theirs = {} if activation == baseline else by_activation.get(baseline, {})
            of = np.array(list(ours.values()))
            paired = _paired(ours, theirs, of.shape[1])
            parts.append(
                pd.DataFrame(
                    {
                        "activation": activation,
                        "measured": measured,
                        "epsilon": math.nan if epsilon is None else epsilon,
                        "class": range(of.shape[1]),
                        "images": images[measured, epsilon],
                        "n": len(of),
                        "accuracy_mean": of.mean(axis=0),
                        "accuracy_std": _exact(of.std(axis=0, ddof=1)) if len(of) > 1 else math.nan,
                        "n_pairs": paired.pop("n"),
                        **{name: _exact(paired[name]) for name in _INTERVAL},
                    }
                )
            )
    return _stacked(parts, SUMMARY_COLUMNS)


def _exact(values: Floats) -> Floats:
    """Return accuracies' spread or difference, with 0 in place of what is only rounding."""
    return np.where(np.abs(values) < ROUNDING, 0.0, values)


def _paired(ours: BySeed, theirs: BySeed, length: int) -> dict[str, Any]:
    """Return the columns ``n``, difference, interval and p-value.

    The values of a seed have the shape (length,), or are one number if ``length`` is 1.
    """
    seeds = [seed for seed in ours if seed in theirs]
    sides = [
        np.array([side[seed] for seed in seeds]).reshape(len(seeds), length).T
        for side in (ours, theirs)
    ]
    test = paired_t(paired_differences(*sides))
    values = {name: getattr(test, name) for name in (*_INTERVAL, "p_value")}
    return {"n": len(seeds), **values}


def _stacked(parts: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    """Return these columns of all parts, of the same types with rows and without."""
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(columns))
    return table[list(columns)].astype({name: _TYPES.get(name, "float64") for name in columns})
