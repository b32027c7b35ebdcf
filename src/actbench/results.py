"""A study's results in Python: run it, or load what its folder holds.

pandas, scipy and matplotlib are imported where they are used: workers start before, and load
theirs at the same time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import multiprocessing
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from actbench.errors import UsageError, did_you_mean
from actbench.finished import write_finished
from actbench.progress import ProgressDisplay
from actbench.runner import (
    make_executor,
    pending_trials,
    prepare_corruptions,
    prepare_study,
    run_trials,
    write_samples,
)
from actbench.sequential import looks
from actbench.store import Store
from actbench.study import next_look
from actbench.summary import summary_of
from actbench.workers import WORKER_NAME

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.figure import Figure

    from actbench.executors import Executor
    from actbench.frames import Frames
    from actbench.runner import Plan
    from actbench.study import Study, Trial

MOST_SEEDS = 30


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
        from actbench.verdicts import verdict_sentences

        return verdict_sentences(self.frames)

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
        from actbench.report import all_figures

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
    from actbench.frames import read_frames

    store = Store(Path(folder))
    return Results(store.folder, read_frames(store, store.study()))


def run(
    study: Study,
    out: str | os.PathLike[str] | None = None,
    *,
    workers: int | None = None,
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
        workers: processes of one thread each; 0 is this process, None one for each core. Workers
            import the calling script anew, so there the call belongs under
            ``if __name__ == "__main__":``. Notebooks need no such line.
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
    if multiprocessing.current_process().name == WORKER_NAME:
        raise UsageError(
            "a worker process imports this script and must not run the study again; call "
            'actbench.run under `if __name__ == "__main__":`, or with workers=0'
        )
    if workers is not None and workers < 0:
        raise UsageError(f"workers is {workers}; it must be a whole number from 0")
    if trial_timeout is not None and not 0 < trial_timeout < math.inf:
        raise UsageError(f"trial_timeout is {trial_timeout}; it must be seconds, above 0")
    study = plan_looks(study, until_decided=until_decided, max_seeds=max_seeds)
    store = Store(default_folder(study) if out is None else Path(out))
    with contextlib.ExitStack() as stack:
        # A folder in use is found before anything starts; one that is not there is not made
        # before the study has proved right.
        held = stack.enter_context(contextlib.ExitStack())
        if store.exists():
            held.enter_context(store.locked())
        executor = make_executor(workers, len(study.trials()), trial_timeout)
        stack.callback(executor.close)
        plan = prepare_study(study)
        from actbench.report import write_report

        if restart and store.exists():
            held.close()
            store.set_aside()
        if not store.exists():
            held.enter_context(store.locked())
        if plan.study.tune_lr:
            from actbench.tuning import tune

            plan = tune(
                *(plan, store, executor), retry_failed=retry_failed, quiet=quiet, verbose=verbose
            )
        while True:
            corrupt = store.begin(plan.study)
            store.sweep(plan.study)
            pending = pending_trials(plan, store, retry_failed=retry_failed)
            with ProgressDisplay(len(pending), quiet=quiet, verbose=verbose) as display:
                for path in corrupt:
                    display.say(f"a record was damaged and is set aside as {path}")
                _run_pending(plan, store, pending, executor, display)
            store.sweep(plan.study)
            retry_failed = False
            frames = write_report(store, plan.study)
            grown = next_look(plan.study) if until_decided and frames.undecided() else None
            if grown is None:
                write_finished(store, study, summary_of(frames), until_decided=until_decided)
                return Results(store.folder, frames)
            plan = dataclasses.replace(plan, study=grown)


def _run_pending(
    plan: Plan,
    store: Store,
    pending: Sequence[Trial],
    executor: Executor,
    display: ProgressDisplay,
) -> None:
    planned = len(plan.study.trials())
    for spec, check in plan.checks.items() if pending else ():
        display.say(
            f"{spec}: f(−1) = {check.at_minus_one:.4g}, f(0) = {check.at_zero:.4g}, "
            f"f(1) = {check.at_one:.4g}"
        )
    if len(pending) < planned:
        display.say(f"{planned - len(pending)} of {planned} trials are stored already")
    if pending:
        prepare_corruptions(plan)
        write_samples(plan, store)
        try:
            run_trials(plan, store, pending, executor, display.tell)
        except (KeyboardInterrupt, SystemExit):
            left = len(pending_trials(plan, store))
            display.say(f"interrupted; {planned - left} of {planned} trials are stored")
            raise


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
