"""The choice of each activation's learning rate on held-out training images.

Each rate of the grid is a study of ordinary trials, with its own seeds and with the held-out images
in place of the test set. Their records are stored under ``tuning/`` in the results folder, so that
an interrupted search resumes; the choice is a function of the records. The chosen rates become the
study's ``learning_rates``.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import pandas as pd

from actbench.errors import ActbenchError
from actbench.execution.executors import Planned
from actbench.execution.trials import run_trials
from actbench.store.store import Store
from actbench.study.study import Study, seed_for, trial_names
from actbench.training.events import Note

if TYPE_CHECKING:
    from collections.abc import Callable

    from actbench.execution.executors import Event, Executor
    from actbench.execution.plan import Plan
    from actbench.store.measured import CleanResult
    from actbench.store.stored_study import Work

TUNING_FOLDER = "tuning"
TUNING_FILE = "tuning.csv"
# Not the seeds of the study: rates must not depend on them, nor change when seeds are added.
TUNING_SEEDS = tuple(seed_for("tuning", number) for number in range(2))
COLUMNS = ("activation", "learning_rate", "n", "validation_accuracy", "validation_loss", "chosen")


def tuning_store(store: Store) -> Store:
    """Return the store of the tuning trials."""
    return Store(store.folder / TUNING_FOLDER, within=store)


def tuning_plans(plan: Plan) -> list[Plan]:
    """Return a plan for each rate of the grid, with the activations that have no rate yet."""
    study = plan.study
    given = dict(study.learning_rates)
    missing = tuple(name for name in study.activations if name not in given)
    if not study.tune_lr or not missing:
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
                    "seeds": TUNING_SEEDS,
                    "learning_rate": rate,
                    "validation_images": held_out,
                }
            ),
        )
        for rate in study.tune_lr
    ]


# settings that do not affect training
_NOT_TUNED_WITH = {
    "tune_lr": (),
    "learning_rates": (),
    "interim_analyses": (),
    "corruptions": (),
    "attacks": (),
    "cifar10c": "",
    "cifar10c_checksums": (),
}


def tune(
    plan: Plan,
    store: Store,
    executor: Executor,
    on_event: Callable[[Event], None],
    *,
    retry_failed: bool,
) -> tuple[Plan, pd.DataFrame]:
    """Run the missing tuning trials and return the plan with the chosen rates, and a table.

    The table has a row per activation and rate (see ``choice_table``).

    Raises:
        ResultsFolderError: the folder is another study's, or cannot be written.
        ActbenchError: as ``with_rates``, or no worker process could start.
    """
    trials_store = tuning_store(store)
    damaged = {}
    for part in tuning_plans(plan):
        damaged.update(trials_store.open(part.study).archive_damaged())
    pending = pending_choice(plan, store, retry_failed=retry_failed)
    on_event(Planned(sum(len(works) for _, works in pending)))
    if pending:  # check that the folder is this study's before any training
        damaged.update(store.open(plan.study).begin())
    for path, fault in damaged.items():
        on_event(Note(f"a damaged file was renamed to {path}: {fault}"))
    for part, works in pending:
        on_event(Note(f"choosing learning rates: {part.study.learning_rate:g}"))
        stored = trials_store.open(part.study)
        run_trials(stored, part.data_folder, works, executor, on_event, keep_weights=False)
        stored.clean_up()
    tuned = with_rates(plan, store)
    for line in describe_choice(tuned.study):
        on_event(Note(line))
    return tuned, choice_table(plan, store)


def pending_choice(
    plan: Plan, store: Store, *, retry_failed: bool = False
) -> list[tuple[Plan, list[Work]]]:
    """Return the tuning plans that have missing trials, with these trials."""
    found = [
        (part, tuning_store(store).open(part.study).pending(retry_failed=retry_failed))
        for part in tuning_plans(plan)
    ]
    return [(part, works) for part, works in found if works]


def with_rates(plan: Plan, store: Store) -> Plan:
    """Return the plan with every activation's learning rate, chosen from the stored tuning trials.

    Raises:
        ActbenchError: no rate of the grid trained some activation in every trial.
    """
    table = choice_table(plan, store)
    chosen = table[table["chosen"]]
    rates = dict(zip(chosen["activation"], chosen["learning_rate"], strict=True))
    for name in table["activation"].unique():
        if name not in rates:
            raise ActbenchError(
                f"every learning rate of the grid made {name} diverge or crash; give smaller ones "
                f"than {min(plan.study.tune_lr):g} with --tune-lr"
            )
    learning_rates = (*plan.study.learning_rates, *rates.items())
    return dataclasses.replace(
        plan, study=dataclasses.replace(plan.study, learning_rates=learning_rates)
    )


def choice_table(plan: Plan, store: Store) -> pd.DataFrame:
    """Return each activation's validation results with each rate, and which rate was chosen.

    The rate with the highest mean accuracy on the held-out images is chosen; ties are broken by the
    lowest mean loss, then by the smallest rate. A rate with a diverged or crashed trial is not
    chosen. The columns are ``COLUMNS``; ``n`` is the number of trials in the means.
    """
    rows = []
    for part in tuning_plans(plan):
        records = tuning_store(store).open(part.study).records()
        name_of = trial_names(part.study)
        for activation in part.study.activations:
            trials = part.study.trials_of(activation)
            found = [records.get(name_of(trial)) for trial in trials]
            done = [r.clean for r in found if r is not None and r.clean and not r.clean.failure]
            rows.append((activation, part.study.learning_rate, len(done), *_means(done)))
    table = pd.DataFrame(rows, columns=list(COLUMNS[:-1]))
    eligible = table[table["n"] == len(TUNING_SEEDS)].sort_values(
        ["validation_accuracy", "validation_loss", "learning_rate"], ascending=[False, True, True]
    )
    best = eligible.groupby("activation", sort=False).head(1).index
    return table.assign(chosen=table.index.isin(best))


def _means(results: list[CleanResult]) -> tuple[float, float]:
    accuracies = [r.accuracy for r in results if r.accuracy is not None]
    losses = [r.loss for r in results if r.loss is not None]
    first, second = (math.fsum(v) / len(v) if v else math.nan for v in (accuracies, losses))
    return first, second


def describe_choice(study: Study) -> list[str]:
    """Return a line for each activation: its rate, and whether it is at an end of the grid."""
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
