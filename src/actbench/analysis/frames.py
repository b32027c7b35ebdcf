"""Records → data frames: one row per trial, corruption, attack, epoch or comparison."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from actbench.analysis.comparison_notes import (
    add_note,
    note_ranks,
    scored_as_chance,
    withhold_at_chance,
)
from actbench.analysis.comparisons import (
    IDENTICAL,
    compare,
    spending_level,
    summarise,
    variance_sources,
)
from actbench.analysis.corruption_error import corruption_error_by_trial
from actbench.analysis.environments import mixing_warnings
from actbench.analysis.metrics import metrics_for, robust_metric
from actbench.analysis.robustness import (
    beyond_clean_error,
    matched_accuracies,
    mechanism_correlations,
)
from actbench.analysis.trial_checks import KNOWN_CLASS_SHARES, flags_of_activation
from actbench.errors import ResultsFolderError
from actbench.store.record import unpack_counts
from actbench.store.record_files import gc_paused
from actbench.study.study import SEVERITIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from actbench.store.record import TrialRecord
    from actbench.store.store import Store
    from actbench.study.study import Study

_ROUNDING = 1e-12  # of a mean of accuracies; one test image is far more
_NOT_FLOATS = {
    *("activation", "seed", "status", "epochs", "reason", "flag"),
    *("corruption", "severity", "epoch", "layer", "attack", "warning"),
}
TRIAL_COLUMNS = (
    "activation",
    "seed",
    "status",
    "epochs",
    "train_loss",
    "clean_accuracy",
    "clean_loss",
    "clean_ece",
    "corrupted_accuracy",
    "accuracy_drop",
    "grad_norm_first",
    "grad_norm_last",
    "grad_norm_ratio",
    "inactive_fraction",
    "logit_margin",
    "input_gradient_norm",
    "reason",
    "flag",
)


class Frames:
    """The study's tables as data frames, built from its stored records.

    Attributes:
        study: the study.
        environments: the entries of ``environment.json``.
        records: the stored records, activation by activation in the study's order.
        metrics: the study's metrics by name (see ``metrics_for``).
        trials: a row per stored trial, with the columns of ``trials.csv``.
        corruptions: a row per activation × seed × corruption × severity.
        epochs: a row per activation × seed × epoch: training loss, test loss, test accuracy.
        gradients: a row per activation × seed × epoch × layer: mean gradient norm.
        inactive: a row per activation × seed × activation layer: share of inactive units.
        attacks: a row per activation × seed × attack × ε: accuracy, masking warning.
        summary: a row per activation: means, standard deviations, 95 % intervals, mCE.
        comparisons: a row per activation × metric: paired difference and verdict.
        sensitivity: primary comparisons once more, with diverged trials scored as chance.
        class_share: the largest class's share of the test images, None where it is not known.
        matched: a row per trial: corrupted accuracy at matched clean accuracy, and the slope
            (see ``matched_accuracies``).
        mechanism: a row per mechanism: its rank correlation with corrupted accuracy, with n.
        variance: a row per activation × primary metric: uncertainty from seeds and test images.
    """

    def __init__(
        self,
        study: Study,
        records: Mapping[str, TrialRecord],
        environments: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self.study, self.environments = study, environments
        found = {_key(record): record for record in records.values()}
        order = [(activation, seed) for activation in study.activations for seed in study.seeds]
        self.records = [found[pair] for pair in order if pair in found]
        self.metrics = metrics_for(study.corruptions, study.attacks, study.epsilons)
        scores = len(study.corruptions) * len(SEVERITIES)
        self.trials = self._frame(TRIAL_COLUMNS, [_trial_row(r, scores) for r in self.records])
        self.corruptions = self._frame(
            ("activation", "seed", "corruption", "severity", "accuracy", "loss", "ece"),
            [(*_key(r), *vars(s).values()) for r in self.records for s in r.corruptions],
        )
        self.epochs = self._frame(
            ("activation", "seed", "epoch", "train_loss", "test_loss", "test_accuracy"),
            [
                (*_key(r), e.epoch, e.train_loss, e.test_loss, e.test_accuracy)
                for r in self.records
                for e in r.history
            ],
        )
        self.gradients = self._frame(
            ("activation", "seed", "epoch", "layer", "grad_norm"),
            [
                (*_key(r), e.epoch, layer, norm)
                for r in self.records
                for e in r.history
                for layer, norm in e.grad_norms.items()
            ],
        )
        self.inactive = self._frame(
            ("activation", "seed", "layer", "inactive_fraction"),
            [(*_key(r), layer, share) for r in self.records for layer, share in r.inactive.items()],
        )
        self.attacks = self._frame(
            ("activation", "seed", "attack", "epsilon", "accuracy", "warning"),
            [
                (*_key(r), s.attack, s.epsilon, s.accuracy, "; ".join(_warnings(r)))
                for r in self.records
                for s in r.attacks
            ],
        )
        self.matched = matched_accuracies(self.trials, study.baseline)
        self.class_share = self._class_share()
        self._at_chance: dict[str, NDArray[np.bool_]] = {}
        self._flag_trials()
        values = self.values()
        self.summary = summarise(values, self.metrics)
        for place, name in enumerate(("mce", "relative_mce"), start=2):
            self.summary.insert(place, name, self.summary[f"{name}_mean"])
        self.comparisons = compare(
            values,
            baseline=study.baseline,
            metrics=self.metrics,
            margin=study.margin,
            level=self.level(),
        )
        self.sensitivity = scored_as_chance(
            values,
            self.trials["status"] == "diverged",
            self.class_share,
            baseline=study.baseline,
            metrics={name: self.metrics[name] for name in self.primary()},
            margin=study.margin,
            level=self.level(),
        )
        for table in (self.comparisons, self.sensitivity):
            if self.mostly_at_chance(study.baseline):
                withhold_at_chance(table, self.metrics)
            note_ranks(table)
        self._identical: dict[str, int] = {}
        self._mark_identical()
        self._add_masking_warnings()
        self.mechanism = mechanism_correlations(values)
        self.variance = self._variance()

    @staticmethod
    def _frame(columns: tuple[str, ...], rows: list[object]) -> pd.DataFrame:
        frame = pd.DataFrame(rows, columns=list(columns))
        # a column with a None among its numbers, or without any, would hold objects
        return frame.astype({name: "float64" for name in columns if name not in _NOT_FLOATS})

    def level(self) -> float:
        """Return the level of every test: 0.05, or this look's part of it."""
        interim_analyses = self.study.interim_analyses
        return (
            spending_level(len(self.study.seeds), interim_analyses[0], interim_analyses[-1])
            if interim_analyses
            else 0.05
        )

    def values(self) -> pd.DataFrame:
        """Return a row per trial and a column per metric, as the statistics take them."""
        values = self.trials.drop(columns=["status", "epochs", "reason", "flag"])
        pair = ["activation", "seed"]
        values = values.merge(self.matched.drop(columns="slope"), "left", on=pair)
        added = beyond_clean_error(self.corruptions, self.trials)
        for name, scores in (("mce", self.corruptions), ("relative_mce", added)):
            errors = corruption_error_by_trial(scores, self.study.baseline).rename(name)
            values = values.merge(errors, "left", left_on=pair, right_index=True)
        by_corruption = self.corruptions.groupby([*pair, "corruption"])["accuracy"]
        whole = by_corruption.count() == len(SEVERITIES)
        means = by_corruption.mean().where(whole).unstack("corruption")  # noqa: PD010 - no duplicates
        values = values.merge(means.add_prefix("accuracy_"), "left", left_on=pair, right_index=True)
        if self.attacks.empty:
            return values
        names = map(robust_metric, self.attacks["attack"], self.attacks["epsilon"])
        robust = self.attacks.assign(metric=list(names)).pivot_table(
            "accuracy", pair, "metric", sort=False
        )
        return values.merge(robust, "left", left_on=pair, right_index=True)

    def _class_share(self) -> float | None:
        """Return the largest class's share of the test images, None where nothing states it.

        Records of earlier versions have none: then that of a known data set serves, or an equal
        share of each class, which the largest has at least.
        """
        for record in self.records:
            if record.largest_class_share:
                return record.largest_class_share
        known = KNOWN_CLASS_SHARES.get(self.study.dataset)
        classes = next((r.masking.classes for r in self.records if r.masking), 0)
        return known or (1 / classes if classes else None)

    def _flag_trials(self) -> None:
        """Note which trials are at chance, and give ``trials`` its column ``flag``."""
        self.trials["flag"] = ""
        images = next((len(found) for r in self.records if len(found := _correct(r))), 0)
        for activation, part in self.trials.groupby("activation", sort=False):
            values = {name: part[name].to_numpy(np.float64) for name in self.primary()}
            hits = np.zeros(len(part), dtype=np.bool_)
            if images:
                hits, flags = flags_of_activation(values, images, self.class_share)
                self.trials.loc[part.index, "flag"] = flags
            self._at_chance[str(activation)] = hits

    def at_chance(self, activation: str) -> int:
        """Return how many of the activation's networks are not above chance on clean images."""
        return int(self._at_chance.get(activation, np.zeros(0)).sum())

    def finished(self, activation: str) -> int:
        """Return how many of the activation's stored trials have a result."""
        ours = self.trials["activation"] == activation
        return int((ours & self.trials["clean_accuracy"].notna()).sum())

    @property
    def baseline_at_chance(self) -> bool:
        """Whether half of the baseline's networks or more are not above chance."""
        return self.mostly_at_chance(self.study.baseline)

    def mostly_at_chance(self, activation: str) -> bool:
        """Return whether half of the activation's networks or more are not above chance."""
        hits = self.at_chance(activation)
        return hits > 0 and 2 * hits >= self.finished(activation)

    def lost(self, activation: str, status: str) -> int:
        """Return how many of the activation's stored trials have this status."""
        ours = self.trials["activation"] == activation
        return int((ours & (self.trials["status"] == status)).sum())

    def unattacked(self) -> pd.DataFrame:
        """Return ``activation``, ``seed`` and ``accuracy`` on the attacked images, unchanged."""
        count = self.study.attack_images
        rows: list[object] = [
            (*_key(r), _correct(r)[:count].mean())
            for r in self.records
            if r.attacks and len(_correct(r))
        ]
        return self._frame(("activation", "seed", "accuracy"), rows)

    def attacked_images(self) -> int:
        """Return how many test images were attacked: as asked for, or all that there are."""
        checks = next((r.masking for r in self.records if r.masking), None)
        return checks.images if checks else 0

    def mixing(self) -> list[str]:
        """Return a warning for each further environment that trials were computed in."""
        return mixing_warnings(self.records, self.environments, self.study.baseline)

    def masking(self, activation: str) -> dict[int, tuple[str, ...]]:
        """Return the masking guard's warnings by seed, for the trials that have some."""
        ours = [r for r in self.records if r.activation == activation]
        return {r.seed: _warnings(r) for r in ours if _warnings(r)}

    def notes(self) -> list[str]:
        """Return what to know of the trials besides, a sentence for each activation and note.

        An activation whose trials are the baseline's to the last bit is named first.
        """
        baseline = self.study.baseline
        found = [
            f"{name} has the results of {baseline} to the last bit in all {n} pairs: both compute "
            "the same function on what the network gives them, or the network does not run it."
            for name, n in self._identical.items()
        ]
        counts = Counter(
            (r.activation, note) for r in self.records for note in (*r.notes, *r.output_warnings)
        )
        stored = Counter(r.activation for r in self.records)
        return found + [
            f"{name}, {count} of {stored[name]} trials: {note}."
            for (name, note), count in counts.items()
        ]

    def _mark_identical(self) -> None:
        """Find the activations whose trials differ from the baseline's in no bit.

        Their verdicts are taken back: nothing was compared.
        """
        found = {_key(r): r for r in self.records if r.status == "ok"}
        for name in self.study.activations:
            keys = [((name, seed), (self.study.baseline, seed)) for seed in self.study.seeds]
            pairs = [
                (found[ours], found[base]) for ours, base in keys if ours in found and base in found
            ]
            if name == self.study.baseline or not pairs:
                continue
            if any(_result(ours) != _result(base) for ours, base in pairs):
                continue
            self._identical[name] = len(pairs)
            rows = self.comparisons["activation"] == name
            self.comparisons.loc[rows, "verdict"] = IDENTICAL
            self.comparisons.loc[rows, "note"] = "identical to the last bit in all pairs"

    def _add_masking_warnings(self) -> None:
        """Say beside every summary of robust accuracy how many trials have masked gradients."""
        if not self.study.attacks:
            return
        hits = {name: len(self.masking(name)) for name in self.study.activations}
        self.summary.insert(4, "masking_warnings", self.summary["activation"].map(hits))
        for place, comparison in self.comparisons.to_dict("index").items():
            sides = (comparison["activation"], comparison["baseline"])
            counted = [f"{hits[name]} of {name}" for name in sides if hits[name]]
            if counted and self.metrics[comparison["metric"]].guarded:
                note = f"signs of masked gradients in {', '.join(counted)}"
                add_note(self.comparisons, [place], note)

    def primary(self) -> list[str]:
        """Return the names of the metrics that a study is decided by."""
        return ["clean_accuracy", *["corrupted_accuracy"] * bool(self.study.corruptions)]

    def undecided(self) -> bool:
        """Return whether further seeds may decide some activation in a primary metric."""
        if self.baseline_at_chance:
            return False
        rows = self.comparisons[self.comparisons["metric"].isin(self.primary())]
        return bool(rows["verdict"].isin(["undecided", "no verdict"]).any())

    def _variance(self) -> pd.DataFrame:
        corrupted_versions = len(self.study.corruptions) * len(SEVERITIES)
        parts = []
        for metric in self.primary():
            column, versions = (
                ("clean_correct", 1)
                if metric == "clean_accuracy"
                else ("corrupted_correct", corrupted_versions)
            )
            scores = {
                _key(r): unpack_counts(packed)
                for r in self.records
                if r.status == "ok" and (packed := getattr(r, column))
            }
            part = variance_sources(scores, self.study.baseline, versions)
            part.insert(2, "metric", metric)
            parts.append(part)
        return pd.concat(parts, ignore_index=True)


@gc_paused()
def read_frames(store: Store, study: Study) -> Frames:
    """Return the frames of what the store holds of the study.

    Raises:
        ResultsFolderError: no trial is stored, or a record cannot be read.
    """
    records = store.open(study).records()
    if not records:
        raise ResultsFolderError(f"{str(store.folder)!r} holds no finished trial of its study")
    return Frames(study, records, store.environment()["environments"])


def _key(record: TrialRecord) -> tuple[str, int]:
    return record.activation, record.seed


def _warnings(record: TrialRecord) -> tuple[str, ...]:
    return (*record.masking.warnings, *record.output_warnings) if record.masking else ()


def _result(record: TrialRecord) -> TrialRecord:
    """Return a record without what names its trial: equal ones have the same results."""
    return dataclasses.replace(
        record, trial_id="", activation="", activation_check={}, kernels="", notes=()
    )


def _correct(record: TrialRecord) -> NDArray[np.uint8]:
    """Return per test image whether it was classified correctly; empty where it is not stored."""
    packed = record.clean_correct
    return unpack_counts(packed) if packed else np.zeros(0, dtype=np.uint8)


def _trial_row(record: TrialRecord, scores: int) -> dict[str, object]:
    """Return a row of ``trials``; a mean over corruptions needs all of their ``scores``."""
    row: dict[str, object] = {
        "activation": record.activation,
        "seed": record.seed,
        "status": record.status,
        "epochs": len(record.history),
        "clean_accuracy": record.clean_accuracy,
        "clean_loss": record.clean_loss,
        "clean_ece": record.clean_ece,
        "inactive_fraction": record.inactive_fraction,
        "logit_margin": record.logit_margin,
        "input_gradient_norm": record.input_gradient_norm,
        "reason": record.reason,
    }
    if record.status == "ok" and record.history:
        last = record.history[-1]
        norms = list(last.grad_norms.values())
        row["train_loss"] = last.train_loss
        if norms:
            row["grad_norm_first"], row["grad_norm_last"] = norms[0], norms[-1]
            row["grad_norm_ratio"] = norms[0] / norms[-1] if norms[-1] else math.nan
    whole = record.status == "ok" and len(record.corruptions) == scores > 0
    if whole and record.clean_accuracy is not None:
        corrupted = math.fsum(s.accuracy for s in record.corruptions) / scores
        row["corrupted_accuracy"] = corrupted
        drop = record.clean_accuracy - corrupted
        row["accuracy_drop"] = drop if abs(drop) > _ROUNDING else 0.0
    return row
