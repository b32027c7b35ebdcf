"""A study's results in Python: run it, or load what its folder holds."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from actbench.analysis.sequential import looks
from actbench.data.datasets import check_apart
from actbench.errors import UsageError, did_you_mean
from actbench.execution.trials import make_executor
from actbench.models.user_code import importing
from actbench.session import Conduct, run_alone, run_shard
from actbench.store.lock import Shard
from actbench.store.store import Store

if TYPE_CHECKING:
    import os

    import pandas as pd
    from matplotlib.figure import Figure

    from actbench.analysis.frames import Frames
    from actbench.study.study import Study

MOST_SEEDS = 30
EXECUTORS = ("local", "ray")


@dataclass(frozen=True, repr=False)
class Results:
    """What a results folder holds of its study, as data frames.

    Accuracies, errors and shares are fractions in [0, 1]; gradient norms are L2 norms. A trial that
    diverged or crashed keeps its row in ``trials``, without measurements.

    Attributes:
        folder: the results folder.
        frames: everything that is below, and the stored records that it was made from.
    """

    folder: Path
    frames: Frames

    @property
    def study(self) -> Study:
        """The study, every name in it resolved."""
        return self.frames.study

    @property
    def trials(self) -> pd.DataFrame:
        """A row per stored trial: its status and measurements, the columns of ``trials.csv``."""
        return self.frames.trials

    @property
    def corruptions(self) -> pd.DataFrame:
        """A row per activation × seed × corruption × severity: accuracy, loss, ece."""
        return self.frames.corruptions

    @property
    def attacks(self) -> pd.DataFrame:
        """A row per activation × seed × attack × ε: accuracy, and a warning of masked gradients."""
        return self.frames.attacks

    @property
    def epochs(self) -> pd.DataFrame:
        """A row per activation × seed × epoch: train_loss, test_loss, test_accuracy."""
        return self.frames.epochs

    @property
    def gradients(self) -> pd.DataFrame:
        """A row per activation × seed × epoch × layer: grad_norm, the mean over steps."""
        return self.frames.gradients

    @property
    def inactive(self) -> pd.DataFrame:
        """A row per activation × seed × activation layer: inactive_fraction."""
        return self.frames.inactive

    @property
    def summary(self) -> pd.DataFrame:
        """A row per activation: n, mce in percent, and each metric's mean, std and interval."""
        return self.frames.summary

    @property
    def comparisons(self) -> pd.DataFrame:
        """A row per activation × metric: the paired difference from the baseline, the verdict."""
        return self.frames.comparisons

    @property
    def sensitivity(self) -> pd.DataFrame:
        """The primary comparisons that diverged trials touch, with these scored as chance."""
        return self.frames.sensitivity

    @property
    def mechanism(self) -> pd.DataFrame:
        """A row per mechanism: its rank correlation with corrupted accuracy, with n."""
        return self.frames.mechanism

    @property
    def variance(self) -> pd.DataFrame:
        """A row per activation × primary metric: standard errors from seeds and test images."""
        return self.frames.variance

    @property
    def verdicts(self) -> list[str]:
        """The answer: a sentence or two per activation other than the baseline."""
        from actbench.report.sentences import verdict_sentences

        return verdict_sentences(self.frames)

    @property
    def warnings(self) -> list[str]:
        """What to know before the verdicts: networks at chance, lost trials, odd trials."""
        from actbench.report.warnings import study_warnings

        return study_warnings(self.frames)

    @property
    def complete(self) -> bool:
        """Whether every trial of the study is stored and none diverged or crashed."""
        finished = int((self.trials["status"] == "ok").sum())
        return finished == len(self.study.trials())

    def plot(self, name: str) -> Figure:
        """Return a figure, newly drawn, such as ``severity``, ``differences`` or ``slope``.

        Raises:
            UsageError: there is no such figure, or this study has no data for it.
        """
        from actbench.report.write import all_figures

        drawn = all_figures(Store(self.folder), self.frames)
        if name not in drawn:
            raise UsageError(f"this study has no figure {name!r}{did_you_mean(name, drawn)}")
        return drawn[name]

    def __repr__(self) -> str:
        study, stored, planned = self.study, len(self.trials), len(self.study.trials())
        return (
            f"<Results of {study.data_label}, {study.model}: {stored} of {planned} trials, "
            f"in {str(self.folder)!r}>"
        )


def load(folder: str | os.PathLike[str]) -> Results:
    """Return the results that a folder holds, finished or not; nothing is run.

    Raises:
        ResultsFolderError: it is no results folder, or holds no finished trial.
    """
    from actbench.analysis.frames import read_frames

    store = Store(Path(folder))
    return Results(store.folder, read_frames(store, store.study()))


def run(
    study: Study,
    out: str | os.PathLike[str] | None = None,
    *,
    workers: int | None = None,
    executor: str = "local",
    ray_address: str | None = None,
    shard: str | None = None,
    trial_timeout: float | None = None,
    retry_failed: bool = False,
    restart: bool = False,
    until_decided: bool = False,
    max_seeds: int | None = None,
    quiet: bool = False,
    verbose: bool = False,
) -> Results:
    """Run what the results folder does not hold of the study yet, and return all of its results.

    The same call again goes on where an interrupted one stopped, and trains nothing once all is
    there. Each trial's numbers depend on the study alone, not on how it was run.

    Args:
        study: what to run.
        out: the results folder; ``results/<dataset>-<model>`` in the current folder unless given.
        workers: processes of one thread each; 0 is this process, None one for each core. With the
            device ``cuda`` it is how many trials are under way on all GPUs together, None 32 on
            each. Workers do not import the calling script.
        executor: ``local``, or ``ray`` for tasks of a Ray cluster.
        ray_address: the cluster, ``auto`` for the one that this machine belongs to; one is started
            on this machine unless given.
        shard: a part of the trials, such as ``3/16``, the third of 16, for one of several processes
            that share the folder; the last to finish writes the tables. The results are those that
            are stored by then.
        trial_timeout: the most seconds that a trial may take; one that takes longer is ended and
            counts as crashed. Needs worker processes.
        retry_failed: run the trials again that diverged or crashed.
        restart: begin anew; the folder that is there is renamed to the first free of ``<name>.1``,
            ``<name>.2`` and so on.
        until_decided: add seeds until clean and corrupted accuracy are decided for every
            activation (docs/statistics.md has the rule).
        max_seeds: the most seeds that ``until_decided`` may go to, at least 2; 30 unless given.
        quiet: show no progress on stderr.
        verbose: a line every 100 batches and every epoch.

    Raises:
        UsageError: something about the study or the call is wrong; nothing was trained.
        ResultsFolderError: the folder is in use, another study's, or cannot be written.
        ActbenchError: no worker process could start.
    """
    if importing():
        raise UsageError(
            f"{importing()} calls actbench.run while a study imports it; put the call under "
            '`if __name__ == "__main__":`'
        )
    if workers is not None and workers < 0:
        raise UsageError(f"workers is {workers}; it must be a whole number from 0")
    if trial_timeout is not None and not 0 < trial_timeout < math.inf:
        raise UsageError(f"trial_timeout is {trial_timeout}; it must be seconds, above 0")
    if executor not in EXECUTORS:
        raise UsageError(f"unknown executor {executor!r}{did_you_mean(executor, EXECUTORS)}")
    if ray_address is not None and executor != "ray":
        raise UsageError(f"ray_address is {ray_address!r}, but the executor is {executor!r}")
    study = plan_looks(study, until_decided=until_decided, max_seeds=max_seeds)
    store = Store(default_folder(study) if out is None else Path(out))
    check_apart(store.folder, study.dataset, study.data_dir)
    conduct = Conduct(
        make_executor=lambda settled: make_executor(
            settled,
            workers,
            trial_timeout,
            on_ray=executor == "ray",
            ray_address=ray_address,
        ),
        retry_failed=retry_failed,
        restart=restart,
        until_decided=until_decided,
        quiet=quiet,
        verbose=verbose,
    )
    if shard is None:
        return Results(store.folder, run_alone(study, store, conduct))
    if restart or until_decided:
        option = "restart" if restart else "until_decided"
        raise UsageError(f"{option} needs the whole study, so it does not go with a shard of it")
    part = Shard.parse(shard)
    if part.count > len(study.trials()):
        raise UsageError(f"shard is {shard!r}, but there are {len(study.trials())} trials to share")
    return Results(store.folder, run_shard(study, store, conduct, part))


def plan_looks(study: Study, *, until_decided: bool, max_seeds: int | None) -> Study:
    """Return the study as ``until_decided`` begins it: at its first look, all looks fixed.

    A study that has looks already goes on with them from where it stands. Without
    ``until_decided`` the study is returned as it is.

    Raises:
        UsageError: ``max_seeds`` is given without ``until_decided``, is below 2 or the seeds that
            the study begins with, or is not where the study's looks end.
    """
    if not until_decided:
        if max_seeds is not None:
            raise UsageError(
                f"max_seeds is {max_seeds}, but it belongs to until_decided; give that too"
            )
        return study
    if study.looks:
        if max_seeds not in (None, study.looks[-1]):
            raise UsageError(
                f"the study is planned to end at {study.looks[-1]} seeds, not at {max_seeds}; "
                "its limit cannot change once there are results"
            )
        return study
    most = MOST_SEEDS if max_seeds is None else max_seeds
    if most < max(2, len(study.seeds)):
        raise UsageError(
            f"max_seeds is {most}, but the study begins with {max(2, len(study.seeds))} seeds"
        )
    planned = looks(len(study.seeds), most)
    seeds = list(study.seeds)
    while len(seeds) < planned[0]:
        seeds.append(max(seeds) + 1)
    return dataclasses.replace(study, seeds=tuple(seeds), looks=planned)


def default_folder(study: Study) -> Path:
    """Return ``results/<dataset>-<model>``, what is unsafe in a file name left out."""
    name = re.sub(r"[^A-Za-z0-9._]+", "-", f"{study.dataset}-{study.model}").strip("-.")
    return Path("results") / name[:100]
