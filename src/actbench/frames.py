"""Records → data frames: one row per trial, corruption, attack, epoch or comparison."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from actbench.environment import mixing_warnings
from actbench.errors import ResultsFolderError
from actbench.metrics import metrics_for, robust_metric
from actbench.record import unpack_counts
from actbench.robustness import (
    matched_accuracy,
    mechanism_correlations,
    relative_corruption_error,
)
from actbench.statistics import (
    compare,
    mean_corruption_error,
    spending_level,
    summarise,
    variance_sources,
)
from actbench.store import no_search_for_cycles
from actbench.study import SEVERITIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from actbench.record import TrialRecord
    from actbench.store import Store
    from actbench.study import Study

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
        matched: corrupted accuracy at matched clean accuracy (see ``matched_accuracy``).
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
        self.trials = self._frame(TRIAL_COLUMNS, [_trial_row(r) for r in self.records])
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
        self.matched = matched_accuracy(
            *(
                self.trials[name].to_numpy(float)
                for name in ("clean_accuracy", "corrupted_accuracy")
            )
        )
        values = self.values()
        self.summary = summarise(values, self.metrics)
        errors = mean_corruption_error(self.corruptions, study.baseline)
        self.summary.insert(2, "mce", self.summary["activation"].map(errors))
        added = relative_corruption_error(self.corruptions, self.trials, study.baseline)
        self.summary.insert(3, "relative_mce", self.summary["activation"].map(added))
        self.comparisons = compare(
            values,
            baseline=study.baseline,
            metrics=self.metrics,
            margin=study.margin,
            level=self.level(),
        )
        self._add_masking_warnings()
        self.mechanism = mechanism_correlations(values)
        self.variance = self._variance()

    @staticmethod
    def _frame(columns: tuple[str, ...], rows: list[object]) -> pd.DataFrame:
        return pd.DataFrame(rows, columns=list(columns))

    def level(self) -> float:
        """Return the level of every test: 0.05, or this look's part of it."""
        looks = self.study.looks
        return spending_level(len(self.study.seeds), looks[0], looks[-1]) if looks else 0.05

    def values(self) -> pd.DataFrame:
        """Return a row per trial and a column per metric, as the statistics take them."""
        values = self.trials.drop(columns=["status", "epochs", "reason"])
        values["matched_accuracy"] = self.matched.accuracies
        pair = ["activation", "seed"]
        means = self.corruptions.pivot_table("accuracy", pair, "corruption", sort=False)
        values = values.merge(means.add_prefix("accuracy_"), "left", left_on=pair, right_index=True)
        if self.attacks.empty:
            return values
        names = map(robust_metric, self.attacks["attack"], self.attacks["epsilon"])
        robust = self.attacks.assign(metric=list(names)).pivot_table(
            "accuracy", pair, "metric", sort=False
        )
        return values.merge(robust, "left", left_on=pair, right_index=True)

    def unattacked(self) -> pd.DataFrame:
        """Return ``activation``, ``seed`` and ``accuracy`` on the attacked images, unchanged."""
        count = self.study.attack_images
        rows: list[object] = [
            (*_key(r), unpack_counts(r.clean_correct)[:count].mean())
            for r in self.records
            if r.attacks
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
                notes = [comparison["note"], f"signs of masked gradients in {', '.join(counted)}"]
                self.comparisons.loc[place, "note"] = "; ".join(filter(None, notes))

    def primary(self) -> list[str]:
        """Return the names of the metrics that a study is decided by."""
        return ["clean_accuracy", *["corrupted_accuracy"] * bool(self.study.corruptions)]

    def undecided(self) -> bool:
        """Return whether some activation is still undecided in a primary metric."""
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
                _key(r): unpack_counts(getattr(r, column)) for r in self.records if r.status == "ok"
            }
            part = variance_sources(scores, self.study.baseline, versions)
            part.insert(2, "metric", metric)
            parts.append(part)
        return pd.concat(parts, ignore_index=True)


@no_search_for_cycles()
def read_frames(store: Store, study: Study) -> Frames:
    """Return the frames of what the store holds of the study.

    Raises:
        ResultsFolderError: no trial is stored, or a record cannot be read.
    """
    records = store.records(study)
    if not records:
        raise ResultsFolderError(f"{str(store.folder)!r} holds no finished trial of its study")
    return Frames(study, records, store.environment()["environments"])


def _key(record: TrialRecord) -> tuple[str, int]:
    return record.activation, record.seed


def _warnings(record: TrialRecord) -> tuple[str, ...]:
    return record.masking.warnings if record.masking else ()


def _trial_row(record: TrialRecord) -> dict[str, object]:
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
    if record.status == "ok":
        last = record.history[-1]
        norms = list(last.grad_norms.values())
        row["train_loss"] = last.train_loss
        if norms:
            row["grad_norm_first"], row["grad_norm_last"] = norms[0], norms[-1]
            row["grad_norm_ratio"] = norms[0] / norms[-1] if norms[-1] else math.nan
        if record.corruptions and record.clean_accuracy is not None:
            corrupted = math.fsum(s.accuracy for s in record.corruptions) / len(record.corruptions)
            row["corrupted_accuracy"] = corrupted
            row["accuracy_drop"] = record.clean_accuracy - corrupted
    return row
