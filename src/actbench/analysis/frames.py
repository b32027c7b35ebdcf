"""A study's stored records as data frames, each computed when it is first used."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from actbench.analysis import breakdowns, record_tables
from actbench.analysis.claims import read_claim
from actbench.analysis.comparison_notes import (
    note_masking,
    note_ranks,
    scored_as_chance,
    withhold_at_chance,
)
from actbench.analysis.comparisons import compare
from actbench.analysis.environments import mixing_warnings
from actbench.analysis.metric_values import metric_values
from actbench.analysis.metrics import metrics_for
from actbench.analysis.record_tables import (
    correct_images,
    masking_signs,
    scores_by_trial,
    trial_key,
)
from actbench.analysis.replication import REPLICATION_COLUMNS, replicate
from actbench.analysis.robustness import matched_accuracies, mechanism_correlations
from actbench.analysis.sequential import LEVEL, spending_level
from actbench.analysis.summaries import summarise
from actbench.analysis.trial_checks import KNOWN_CLASS_SHARES, checks_by_activation
from actbench.analysis.tuning import compare_tuning_studies
from actbench.analysis.variance import variance_sources
from actbench.analysis.verdicts import IDENTICAL, NO_VERDICT
from actbench.study.levels import severities

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from actbench.analysis.metrics import Metric
    from actbench.store.result import TrialResult
    from actbench.study.study import Study


class Frames:
    """A study's tables as data frames. Do not change them in place: they are computed once.

    Accuracies, errors and shares are fractions in [0, 1]; gradient norms are L2 norms. A trial that
    diverged or crashed keeps its row in ``trials``, without measurements.

    Attributes:
        study: the study, every name in it resolved.
        records: the results of the stored trials, activation by activation in the study's order.
        environments: the entries of ``environment.json``.
        retuned: the same study with the settings of each further tuning study.
    """

    def __init__(
        self,
        study: Study,
        records: Mapping[str, TrialResult],
        environments: Sequence[Mapping[str, Any]] = (),
        retuned: Sequence[Frames] = (),
    ) -> None:
        self.study, self.environments, self.retuned = study, environments, retuned
        found = {trial_key(record): record for record in records.values()}
        order = [(activation, seed) for activation in study.activations for seed in study.seeds]
        self.records = [found[key] for key in order if key in found]

    # What was measured

    @cached_property
    def trials(self) -> pd.DataFrame:
        """A row per stored trial: its status and measurements, the columns of ``trials.csv``."""
        table = self._unflagged.copy()
        for activation, (_, flags) in self._trial_checks.items():
            table.loc[table["activation"] == activation, "flag"] = flags
        return table

    @cached_property
    def corruptions(self) -> pd.DataFrame:
        """A row per activation × seed × corruption × severity: accuracy, loss, ece, level."""
        return record_tables.corruptions_table(self.records)

    @cached_property
    def attacks(self) -> pd.DataFrame:
        """A row per activation × seed × attack × ε: accuracy, and a warning of masked gradients."""
        return record_tables.attacks_table(self.records)

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """A row per activation × seed × epoch.

        The columns are train_loss, test_loss, test_accuracy, validation_loss, validation_accuracy;
        a study with held-out images has NaN in those of the test images, others in the last two.
        """
        return record_tables.epochs_table(self.records)

    @cached_property
    def gradients(self) -> pd.DataFrame:
        """A row per activation × seed × epoch × layer: grad_norm, the mean over steps."""
        return record_tables.gradients_table(self.records)

    @cached_property
    def inactive(self) -> pd.DataFrame:
        """A row per activation × seed × activation layer: inactive_fraction."""
        return record_tables.inactive_table(self.records)

    @cached_property
    def classes(self) -> pd.DataFrame:
        """A row per activation × seed × measurement × class: images, correct, accuracy.

        ``measured`` is ``clean``, a corruption with its ``severity``, or an attack with its
        ``epsilon``. A ``class`` is its number from 0. Empty for records that do not have it.
        """
        return breakdowns.classes_table(self.records)

    # What follows from it

    @cached_property
    def summary(self) -> pd.DataFrame:
        """A row per activation: n, mce in percent, and each metric's mean, std and interval."""
        table = summarise(self.metric_values, self.metrics)
        for position, name in enumerate(("mce", "relative_mce"), start=2):
            table.insert(position, name, table[f"{name}_mean"])
        if self.study.attacks:
            table.insert(4, "masking_warnings", table["activation"].map(self._masked_trials))
        return table

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """A row per activation × metric: the paired difference from the baseline, the verdict."""
        table = compare(
            self.metric_values,
            baseline=self.study.baseline,
            metrics=self.metrics,
            margin=self.study.margin,
            level=self.level,
        )
        self._add_notes(table)
        identical = table["activation"].isin(self.identical)
        table.loc[identical, "verdict"] = IDENTICAL
        table.loc[identical, "note"] = "identical to the last bit in all pairs"
        note_masking(table, self.metrics, self._masked_trials)
        return table

    @property
    def primary_comparisons(self) -> pd.DataFrame:
        """The rows of ``comparisons`` in the metrics that the study is decided by."""
        return self.comparisons[self.comparisons["metric"].isin(self.primary_metrics)]

    @cached_property
    def corruption_differences(self) -> pd.DataFrame:
        """A row per activation × corruption × severity: the paired difference in accuracy.

        Intervals are those of single rows; ``p_holm`` is corrected over all rows.
        """
        return breakdowns.corruption_differences(self.records, self.study.baseline)

    @cached_property
    def class_summary(self) -> pd.DataFrame:
        """A row per activation × class on clean, corrupted (the mean) and attacked images.

        Mean and standard deviation of accuracy over n trials, and the paired difference.
        """
        return breakdowns.class_summary(self.records, self.study.baseline, self._corrupted_versions)

    @cached_property
    def sensitivity(self) -> pd.DataFrame:
        """The primary comparisons affected by diverged trials, with these scored as chance."""
        table = scored_as_chance(
            self.metric_values,
            self.trials["status"] == "diverged",
            self.class_share,
            baseline=self.study.baseline,
            metrics={name: self.metrics[name] for name in self.primary_metrics},
            margin=self.study.margin,
            level=self.level,
        )
        self._add_notes(table)
        return table

    @cached_property
    def matched(self) -> pd.DataFrame:
        """A row per trial: corrupted accuracy at matched clean accuracy, and the slope."""
        return matched_accuracies(self._unflagged, self.study.baseline)

    @cached_property
    def mechanism(self) -> pd.DataFrame:
        """A row per mechanism: its rank correlation with corrupted accuracy, with n."""
        return mechanism_correlations(self.metric_values)

    @cached_property
    def variance(self) -> pd.DataFrame:
        """A row per activation × primary metric: standard errors from seeds and test images."""
        parts = []
        for metric in self.primary_metrics:
            versions = 1 if metric == "clean_accuracy" else self._corrupted_versions
            scores = scores_by_trial(self.records, metric, versions)
            part = variance_sources(scores, self.study.baseline, versions)
            part.insert(2, "metric", metric)
            parts.append(part)
        return pd.concat(parts, ignore_index=True)

    @cached_property
    def replication(self) -> pd.DataFrame:
        """A row per published row of the study's claim: see ``replicate``; empty without one."""
        if not self.study.claim:
            return pd.DataFrame(columns=list(REPLICATION_COLUMNS))
        return replicate(read_claim(self.study.claim), self)

    @cached_property
    def tuning_studies(self) -> pd.DataFrame:
        """A row per primary metric × activation × tuning study: see ``compare_tuning_studies``."""
        return compare_tuning_studies(self)

    @cached_property
    def metric_values(self) -> pd.DataFrame:
        """A row per trial with ``activation``, ``seed`` and a column per metric, NaN if missing."""
        return metric_values(
            self._unflagged, self.matched, self.corruptions, self.attacks, self.study.baseline
        )

    # The study's question

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        """The study's metrics by name, in the order of its tables."""
        return metrics_for(self.study.corruptions, self.study.attacks, self.study.epsilons)

    @property
    def primary_metrics(self) -> list[str]:
        """The names of the metrics that the study is decided by."""
        names = ["clean_accuracy"]
        return [*names, "corrupted_accuracy"] if self.study.corruptions else names

    @property
    def level(self) -> float:
        """The level of every test: 0.05, or this interim analysis's part of it."""
        planned = self.study.interim_analyses
        return spending_level(len(self.study.seeds), planned) if planned else LEVEL

    @property
    def complete(self) -> bool:
        """Whether every trial, of tuning studies too, is trained and measured without a crash."""
        complete = sum(r.status == "ok" and not r.missing for r in self.records)
        return complete == len(self.study.trials()) and all(s.complete for s in self.retuned)

    @property
    def complete_trials(self) -> int:
        """The number of stored trials that need no further measurement."""
        return sum(not record.missing for record in self.records)

    def undecided(self) -> bool:
        """Return whether further seeds may decide some activation in a primary metric."""
        if self.baseline_at_chance:
            return False
        rows = self.primary_comparisons
        rows = rows[[self.with_result(activation) > 0 for activation in rows["activation"]]]
        return bool(rows["verdict"].isin(["undecided", NO_VERDICT]).any())

    # What to know of the trials

    @cached_property
    def known_class_share(self) -> float | None:
        """The largest class's share of the test images: as stored, or of a known data set."""
        stated = next((r.largest_class_share for r in self.records if r.largest_class_share), None)
        return stated or KNOWN_CLASS_SHARES.get(self.study.dataset)

    @cached_property
    def class_share(self) -> float | None:
        """``known_class_share``, else one class's equal share, a lower bound; None without both."""
        classes = next((r.masking.classes for r in self.records if r.masking), 0)
        return self.known_class_share or (1 / classes if classes else None)

    def at_chance(self, activation: str) -> int:
        """Return how many of the activation's networks are not above chance on clean images."""
        hits, _ = self._trial_checks.get(activation, ((), []))
        return int(sum(hits))

    def with_result(self, activation: str) -> int:
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
        return hits > 0 and 2 * hits >= self.with_result(activation)

    def lost(self, activation: str, status: str) -> int:
        """Return how many of the activation's stored trials have this status."""
        return sum(r.activation == activation and r.status == status for r in self.records)

    def unattacked(self) -> pd.DataFrame:
        """Return ``activation``, ``seed`` and ``accuracy`` on the attacked images, unchanged."""
        return record_tables.unattacked_table(self.records, self.study.attack_images)

    def attacked_images(self) -> int:
        """Return how many test images were attacked: the number in the study, or fewer."""
        checks = next((r.masking for r in self.records if r.masking), None)
        return checks.images if checks else 0

    def mixing(self) -> list[str]:
        """Return a warning for each further environment that trials were computed in."""
        return mixing_warnings(self.records, self.environments, self.study.baseline)

    def masking(self, activation: str) -> dict[int, tuple[str, ...]]:
        """Return the signs of masked gradients by seed, for the trials that have some."""
        ours = [r for r in self.records if r.activation == activation]
        return {r.seed: signs for r in ours if (signs := masking_signs(r))}

    @cached_property
    def _unflagged(self) -> pd.DataFrame:
        return record_tables.trials_table(self.records, self._corrupted_versions)

    @property
    def _corrupted_versions(self) -> int:
        return sum(len(severities(name)) for name in self.study.corruptions)

    @cached_property
    def _trial_checks(self) -> dict[str, tuple[NDArray[np.bool_], list[str]]]:
        """By activation: which of its stored trials are at chance, and their flags."""
        images = next((len(found) for r in self.records if len(found := correct_images(r))), 0)
        metrics = self.primary_metrics
        return checks_by_activation(self._unflagged, metrics, images, self.class_share)

    @cached_property
    def identical(self) -> dict[str, int]:
        """The activations whose trials differ from the baseline's in no bit, with their pairs."""
        return record_tables.identical_activations(self.records, self.study.baseline)

    @cached_property
    def _masked_trials(self) -> dict[str, int]:
        return {name: len(self.masking(name)) for name in self.study.activations}

    def _add_notes(self, table: pd.DataFrame) -> None:
        """Withhold verdicts if the baseline is at chance, and note what the ranks contradict."""
        if self.baseline_at_chance:
            withhold_at_chance(table, self.metrics)
        note_ranks(table)
