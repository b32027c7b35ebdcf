"""The Python API: run a study, or load the results that a folder holds."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actbench.analysis.sequential import interim_analyses
from actbench.data.folders import check_apart
from actbench.errors import UsageError, did_you_mean
from actbench.models.user_code import importing
from actbench.progress import ProgressDisplay
from actbench.session import run_shard, run_study
from actbench.store.lock import Shard
from actbench.store.store import Store
from actbench.study.run_options import MAX_SEEDS_UNTIL_DECIDED, RunOptions

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

    import pandas as pd
    from matplotlib.figure import Figure

    from actbench.analysis.frames import Frames
    from actbench.execution.executors import Event
    from actbench.study.study import Study


class Results:
    """The results in a folder as data frames, read when they are first used.

    Accuracies, errors and shares are fractions in [0, 1]; gradient norms are L2 norms. A trial that
    diverged or crashed keeps its row in ``trials``, without measurements.

    Attributes:
        folder: the results folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def frames(self) -> Frames:
        """All data frames, and the stored records that they are made from."""
        from actbench.analysis.frames import read_frames

        store = Store(self.folder)
        return read_frames(store, store.study())

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
        """The primary comparisons that include diverged trials, with these scored as chance."""
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
        """The verdicts: a sentence or two per activation other than the baseline."""
        from actbench.report.sentences import verdict_sentences

        return verdict_sentences(self.frames)

    @property
    def warnings(self) -> list[str]:
        """What limits the verdicts: networks at chance, failed trials, outliers."""
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
    """Return the results in a folder, of a complete or an incomplete study; nothing is run.

    Raises:
        ResultsFolderError: it is no results folder, or holds no finished trial.
    """
    results = Results(Path(folder))
    _ = results.frames  # raises if something is wrong with the folder
    return results


def run(
    study: Study,
    out: str | os.PathLike[str] | None = None,
    *,
    quiet: bool = False,
    verbose: bool = False,
    on_event: Callable[[Event], None] | None = None,
    **options: Any,
) -> Results:
    """Run the trials that the results folder does not hold yet, and return the study's results.

    The same call again resumes an interrupted run; it trains nothing if every trial is stored. Each
    trial's numbers depend on the study only, not on how it is run.

    Args:
        study: what to run.
        out: the results folder; by default ``results/<dataset>-<model>`` in the current folder.
        quiet: show no progress on stderr.
        verbose: write a line every 100 steps and every epoch.
        on_event: called in this process with every event of the run; replaces the display.
        options: the fields of ``RunOptions``, such as ``workers=0`` or ``retry_failed=True``.

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
    _check_option_names(options)
    run_options = RunOptions(**options)
    study = plan_interim_analyses(study, run_options)
    store = Store(default_folder(study) if out is None else Path(out))
    check_apart(store.folder, study.dataset, study.data_dir)
    with contextlib.ExitStack() as stack:
        listener = on_event or stack.enter_context(ProgressDisplay(quiet=quiet, verbose=verbose))
        if run_options.shard is None:
            run_study(study, store, run_options, listener)
            return Results(store.folder)
        shard, trials = Shard.parse(run_options.shard), len(study.trials())
        if shard.count > trials:
            raise UsageError(
                f"shard is {run_options.shard!r}, but there are {trials} trials to share"
            )
        run_shard(study, store, run_options, shard, listener)
        return Results(store.folder)


def _check_option_names(options: Iterable[str]) -> None:
    names = {item.name for item in dataclasses.fields(RunOptions)}
    for name in options:
        if name not in names:
            known = names | {"out", "quiet", "verbose", "on_event"}
            raise UsageError(f"run has no option {name!r}{did_you_mean(name, known)}")


def plan_interim_analyses(study: Study, options: RunOptions) -> Study:
    """Return the study as ``until_decided`` starts it: at the first interim analysis, all planned.

    A study that has interim analyses already keeps them. Without ``until_decided`` the study is
    returned unchanged.

    Raises:
        UsageError: ``max_seeds`` is below the number of seeds that the study starts with, or is not
            that of the study's last interim analysis.
    """
    if not options.until_decided:
        return study
    if study.interim_analyses:
        if options.max_seeds not in (None, study.interim_analyses[-1]):
            raise UsageError(
                f"the study is planned to end at {study.interim_analyses[-1]} seeds, not at "
                f"{options.max_seeds}; its limit cannot change once there are results"
            )
        return study
    max_seeds = options.max_seeds or MAX_SEEDS_UNTIL_DECIDED
    first = max(2, len(study.seeds))
    if max_seeds < first:
        raise UsageError(f"max_seeds is {max_seeds}, but the study starts with {first} seeds")
    planned = interim_analyses(len(study.seeds), max_seeds)
    seeds = list(study.seeds)
    while len(seeds) < planned[0]:
        seeds.append(max(seeds) + 1)
    return dataclasses.replace(study, seeds=tuple(seeds), interim_analyses=planned)


def default_folder(study: Study) -> Path:
    """Return ``results/<dataset>-<model>`` without characters that are unsafe in a file name."""
    name = re.sub(r"[^A-Za-z0-9._]+", "-", f"{study.dataset}-{study.model}").strip("-.")
    return Path("results") / name[:100]
