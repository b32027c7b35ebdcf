"""The choice of each activation's learning rate and weight decay on held-out training images.

Each candidate setting is a study of ordinary trials, with its own seeds and with the held-out
images in place of the test set. Their records are stored under ``tuning/`` in the results folder,
so that an interrupted search resumes; the choice is a function of the records. Rates of a grid
become the study's ``learning_rates``. A random search is repeated in independent tuning studies,
whose choices become the study's ``tuned``; the trials with the settings of the further ones are
stored under ``tuning/`` too.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import qmc

from actbench.errors import ActbenchError
from actbench.execution.corrupted_sets import prepare_corruptions
from actbench.execution.events import Planned
from actbench.execution.trials import PendingTrials, run_trials
from actbench.store.tuning import tuning_store
from actbench.study.study import Study, seed_for, trial_names
from actbench.study.tuning import tuning_of
from actbench.training.events import Note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from actbench.execution.events import Event
    from actbench.execution.executors import Executor
    from actbench.execution.plan import Plan
    from actbench.store.measured import CleanResult
    from actbench.store.store import Store
    from actbench.study.run_options import RunOptions

# Not the seeds of the study: rates must not depend on them, nor change when seeds are added.
TUNING_SEEDS = tuple(seed_for("tuning", number) for number in range(2))
COLUMNS = (
    "study",
    "trial",
    "activation",
    "learning_rate",
    "weight_decay",
    "n",
    "validation_accuracy",
    "validation_loss",
    "chosen",
)
_DIGITS = ".4g"  # of a random setting, so that tables show all of it


class Candidate(NamedTuple):
    """A setting that a tuning study tries; tuning studies and their points count from 1."""

    study: int
    point: int
    learning_rate: float
    weight_decay: float
    seeds: tuple[int, ...]


def candidates(study: Study) -> list[Candidate]:
    """Return the settings that are tried for each activation, the same for all of them.

    A rate of the grid has two seeds. The points of a random search have one, that of their tuning
    study. They are Halton's sequence in bases 2 and 3, shifted at random modulo 1 (Cranley and
    Patterson 1976), of which each tuning study takes the next ones, and uniform in the logarithms
    of the two ranges.
    """
    search = tuning_of(study)
    if search is None:
        rates = enumerate(study.tune_lr, start=1)
        return [Candidate(1, i, rate, study.weight_decay, TUNING_SEEDS) for i, rate in rates]
    shift = np.random.default_rng(seed_for("tuning points")).random(2)
    points = qmc.Halton(2, scramble=False).random(search.trials * search.studies) + shift
    found = []
    for position, (first, second) in enumerate((points % 1).tolist()):
        number, point = (1 + count for count in divmod(position, search.trials))
        rate, decay = _log_uniform(search.lr, first), study.weight_decay
        if search.weight_decay:
            decay = _log_uniform(search.weight_decay, second)
        seeds = (seed_for("tuning study", number),)
        found.append(Candidate(number, point, rate, decay, seeds))
    return found


def _log_uniform(ends: Sequence[float], share: float) -> float:
    low, high = ends
    value = float(format(low * (high / low) ** share, _DIGITS))
    return min(max(value, low), high)


def tuning_plans(plan: Plan) -> list[Plan]:
    """Return a plan for each of ``candidates``, with the activations that have no setting yet."""
    study = plan.study
    given = {*dict(study.learning_rates), *(name for name, *_ in study.tuned)}
    missing = tuple(name for name in study.activations if name not in given)
    if not (study.tune_lr or study.tune) or not missing:
        return []
    from actbench.data.images import study_images
    from actbench.training.recipe import passes

    data = study_images(plan.data_folder, study)
    held_out = data.tuning_images
    epochs = passes(study, data.validation_split(held_out)) if study.steps else study.epochs
    return [
        dataclasses.replace(
            plan,
            study=Study(
                **{
                    **vars(study),
                    **_NOT_TUNED_WITH,
                    "epochs": epochs,
                    "activations": missing,
                    "baseline": missing[0],
                    "seeds": candidate.seeds,
                    "learning_rate": candidate.learning_rate,
                    "weight_decay": candidate.weight_decay,
                    "validation_images": held_out,
                }
            ),
        )
        for candidate in candidates(study)
    ]


# settings that do not affect training
_NOT_TUNED_WITH = {
    "tune_lr": (),
    "learning_rates": (),
    "tune": "",
    "tuned": (),
    "interim_analyses": (),
    "corruptions": (),
    "attacks": (),
    "cifar10c": "",
    "cifar10c_checksums": (),
}


def tune(
    plan: Plan,
    store: Store,
    pending: Sequence[PendingTrials],
    executor: Executor,
    on_event: Callable[[Event], None],
) -> tuple[Plan, pd.DataFrame]:
    """Run the pending tuning trials and return the plan with the chosen settings, and a table.

    The table has a row per activation and candidate (see ``choice_table``).

    Raises:
        ResultsFolderError: the folder is another study's, or cannot be written.
        ActbenchError: as ``with_choice``, or no worker process could start.
    """
    for tried in tuning_plans(plan):
        _note_damaged(tuning_store(store).open(tried.study).archive_damaged(), on_event)
    on_event(Planned(sum(len(part.works) for part in pending)))
    if pending:  # check that the folder is this study's before any training
        _note_damaged(store.open(plan.study).begin(), on_event)
    for part in pending:
        study = part.plan.study
        setting = f"{study.learning_rate:g}"
        if plan.study.tune:
            setting = f"{setting}, weight decay {study.weight_decay:g}"
        on_event(Note(f"choosing learning rates: {setting}"))
        _run_part(part, executor, on_event)
    table = choice_table(plan, store)
    tuned = with_choice(plan, table)
    for line in describe_choice(tuned.study):
        on_event(Note(line))
    return tuned, table


def run_retuned(
    pending: Sequence[PendingTrials], executor: Executor, on_event: Callable[[Event], None]
) -> None:
    """Run trials with the settings of the further tuning studies (see ``retuned_plans``).

    Raises:
        ResultsFolderError: the folder cannot be written.
        ActbenchError: no worker process could start.
    """
    for part in pending:
        _note_damaged(part.stored.archive_damaged(), on_event)
    for part in pending:
        study = part.plan.study
        on_event(Planned(len(part.works), 0, study))
        settings = ", ".join(f"{name} {rate:g}" for name, rate, _ in study.tuned)
        on_event(Note(f"the settings of another tuning study: learning rates {settings}"))
        prepare_corruptions(part.plan, part.works, on_event, executor.prepare)
        _run_part(part, executor, on_event)


def _run_part(part: PendingTrials, executor: Executor, on_event: Callable[[Event], None]) -> None:
    run_trials(part, executor, on_event, keep_weights=False)
    part.stored.clean_up()


def _note_damaged(damaged: Mapping[Path, str], on_event: Callable[[Event], None]) -> None:
    for path, fault in damaged.items():
        on_event(Note(f"a damaged file was renamed to {path}: {fault}"))


def retuned_plans(plan: Plan) -> list[Plan]:
    """Return the plan with the settings of each tuning study but the first."""
    return [dataclasses.replace(plan, study=study) for study in plan.study.retuned]


def pending_of(plans: Iterable[Plan], store: Store, options: RunOptions) -> list[PendingTrials]:
    """Return the pending trials of those of ``tuning_plans`` or ``retuned_plans`` that have any."""
    of = tuning_store(store)
    found = [PendingTrials.of(plan, of.open(plan.study), options) for plan in plans]
    return [part for part in found if part.works]


def together(parts: Sequence[PendingTrials]) -> list[PendingTrials]:
    """Return all trials as those of the first plan: settings do not change how long one takes."""
    works = [work for part in parts for work in part.works]
    return [dataclasses.replace(part, works=works) for part in parts[:1]]


def cost_of_tuning(study: Study) -> str:
    """Return how many trials tuning needs, as a sentence; empty without a random search."""
    search, names, seeds = tuning_of(study), len(study.activations), len(study.seeds)
    if search is None:
        return ""
    return (
        f"{search.studies} tuning studies of {search.trials} trials for each of {names} "
        f"activations: {search.studies * search.trials * names} trials; then "
        f"{names * seeds} trials with the settings of each study, "
        f"{search.studies * names * seeds} in all"
    )


def with_choice(plan: Plan, table: pd.DataFrame) -> Plan:
    """Return the plan with every activation's setting, as in the table of ``choice_table``.

    Raises:
        ActbenchError: no setting of a tuning study trained some activation in every trial.
    """
    study, chosen = plan.study, table[table["chosen"]]
    found = {
        (row["activation"], row["study"]): (row["learning_rate"], row["weight_decay"])
        for row in chosen.to_dict("records")
    }
    for name, number in zip(table["activation"], table["study"], strict=True):
        if (name, number) not in found:
            what = f"every learning rate of the grid made {name} diverge or crash; give smaller "
            what += f"ones than {min(study.tune_lr, default=0):g} with --tune-lr"
            if study.tune:
                what = f"every trial of tuning study {number} made {name} diverge or crash; give "
                what += "lower ranges, or more trials, with --tune"
            raise ActbenchError(what)
    if study.tune:
        names, numbers = (table[column].unique() for column in ("activation", "study"))
        settings = ((name, *found[name, number]) for name in names for number in numbers)
        study = dataclasses.replace(study, tuned=(*study.tuned, *settings))
    else:
        rates = ((name, rate) for (name, _), (rate, _) in found.items())
        study = dataclasses.replace(study, learning_rates=(*study.learning_rates, *rates))
    return dataclasses.replace(plan, study=study)


def choice_table(plan: Plan, store: Store) -> pd.DataFrame:
    """Return each activation's validation results with each candidate, and which was chosen.

    In each tuning study the setting with the highest mean accuracy on the held-out images is
    chosen; ties are broken by the lowest mean loss, then by the smallest rate. A setting with a
    diverged or crashed trial is not chosen. The columns are ``COLUMNS``; ``n`` is the number of
    trials in the means.
    """
    rows, complete = [], []
    for part, candidate in zip(tuning_plans(plan), candidates(plan.study), strict=False):
        records = tuning_store(store).open(part.study).records()
        name_of = trial_names(part.study)
        for activation in part.study.activations:
            trials = part.study.trials_of(activation)
            found = [records.get(name_of(trial)) for trial in trials]
            done = [r.clean for r in found if r is not None and r.clean and not r.clean.failure]
            number, point, rate, decay, seeds = candidate
            rows.append((number, point, activation, rate, decay, len(done), *_means(done)))
            complete.append(len(done) == len(seeds))
    table = pd.DataFrame(rows, columns=list(COLUMNS[:-1]))
    eligible = table[np.array(complete, dtype=bool)].sort_values(
        ["validation_accuracy", "validation_loss", "learning_rate"], ascending=[False, True, True]
    )
    best = eligible.groupby(["study", "activation"], sort=False).head(1).index
    return table.assign(chosen=table.index.isin(best))


def _means(results: list[CleanResult]) -> tuple[float, float]:
    accuracies = [r.accuracy for r in results if r.accuracy is not None]
    losses = [r.loss for r in results if r.loss is not None]
    first, second = (math.fsum(v) / len(v) if v else math.nan for v in (accuracies, losses))
    return first, second


def describe_choice(study: Study) -> list[str]:
    """Return a line for each activation: its settings, or its rate and whether it ends the grid."""
    if study.tuned:
        return [
            f"{name}: learning rate (weight decay) of each tuning study: "
            + ", ".join(f"{rate:g} ({decay:g})" for rate, decay in study.tuned_settings(name))
            for name in dict.fromkeys(name for name, *_ in study.tuned)
        ]
    ends = {study.tune_lr[0]: "smallest", study.tune_lr[-1]: "largest"}
    return [
        f"{name}: learning rate {rate:g}"
        + (
            f", the {ends[rate]} of the grid; a rate beyond it may be better"
            if rate in ends
            else ""
        )
        for name, rate in study.learning_rates
    ]
