"""The trials of a run, listed without running them."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from actbench.api.progress import ProgressDisplay
from actbench.cli.terminal import show, stdout_to_stderr
from actbench.execution.events import Stage
from actbench.execution.trials import PendingTrials, keep_resolved
from actbench.store.stored_study import Work

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from actbench.execution.events import Event
    from actbench.execution.plan import Plan
    from actbench.store.store import Store
    from actbench.study.run_options import RunOptions
    from actbench.study.study import Study


def list_trials(
    study: Study, folder: Path, options: RunOptions, *, as_json: bool, quiet: bool
) -> int:
    """Print the trials and which of them would run."""
    with stdout_to_stderr(), ProgressDisplay(quiet=quiet) as display:
        display(Stage("loading PyTorch"))
        listed = _listed(study, folder, options, display, as_json=as_json)
    show(listed)
    return 0


def _listed(
    study: Study,
    folder: Path,
    options: RunOptions,
    on_event: Callable[[Event], None],
    *,
    as_json: bool,
) -> str:
    """Return the trials as lines, with the time they would take, or as a JSON document."""
    from actbench.data.folders import check_apart
    from actbench.execution import tuning
    from actbench.execution.estimate import estimate
    from actbench.execution.plan import check_stored, prepare_study
    from actbench.store.lock import Shard
    from actbench.store.store import Store

    everything, shard = options.restart, options.shard
    check_apart(folder, study.dataset, study.data_dir)
    store = Store(folder)
    store.check_ours()
    plan = prepare_study(study if everything else keep_resolved(study, store), on_event)
    if not everything:
        check_stored(plan, store)
        store.check_study(plan.study)
    plans = tuning.tuning_plans(plan)
    choice = tuning.pending_of(plans, store, options)
    if everything:
        choice = [_all_trials(part, store) for part in plans]
    to_tune = sum(len(part.works) for part in choice)
    if not to_tune:
        plan = tuning.with_choice(plan, tuning.choice_table(plan, store))
        if not everything:
            store.check_study(plan.study)
    own = PendingTrials.of(plan, store.open(plan.study), options)
    if everything or to_tune:
        own = _all_trials(plan, store)
    retuned = _retuned(plan, store, options, chosen=not to_tune)
    pending = {work.trial: own.is_trained(work) for work in own.works}
    everyone = plan.study.trials()
    trials = everyone if shard is None else Shard.parse(shard).part(everyone)
    rows = [
        {
            "activation": t.activation,
            "seed": t.seed,
            "stored": t not in pending,
            "trained": pending.get(t, True),
        }
        for t in trials
    ]
    if as_json:
        content: dict[str, Any] = {"folder": str(folder), "trials": rows}
        if study.tune_lr or study.tune:
            content["trials_to_tune"] = to_tune
        if study.tune:
            content["trials_with_other_settings"] = sum(len(part.works) for part in retuned)
        return json.dumps(content)
    lines = []
    for row in rows:
        stored = ", stored" if row["stored"] else ", to measure" if row["trained"] else ""
        lines.append(f"{row['activation']}, seed {row['seed']}{stored}")
    if to_tune:
        lines.append(f"{to_tune} trials first, to choose learning rates")
    if retuned:
        count = sum(len(part.works) for part in retuned)
        lines.append(f"{count} trials last, with the settings of the further tuning studies")
    to_run = [row for row in rows if not row["stored"]]
    trained = sum(bool(row["trained"]) for row in to_run)
    only = f" ({trained} of them only to measure)" if trained else ""
    lines.append(f"{len(rows)} trials, {len(to_run)} to run{only}, into {folder}")
    works = [work for work in own.works if work.trial in set(trials)]
    on_event(Stage("timing a few steps"))
    own = dataclasses.replace(own, works=works)
    lines.append(estimate([*tuning.together(choice), own, *tuning.together(retuned)], options))
    return "\n".join(filter(None, lines))


def _all_trials(plan: Plan, store: Store) -> PendingTrials:
    return PendingTrials(plan, store.open(plan.study), [*map(Work, plan.study.trials())])


def _retuned(plan: Plan, store: Store, options: RunOptions, *, chosen: bool) -> list[PendingTrials]:
    """Return the trials with the settings of the further tuning studies, also if none is chosen."""
    from actbench.execution import tuning
    from actbench.study.tuning import tuning_of

    if chosen and not options.restart:
        return tuning.pending_of(tuning.retuned_plans(plan), store, options)
    search = tuning_of(plan.study)
    further = search.studies - 1 if search else len(plan.study.retuned)
    unattacked = dataclasses.replace(plan, study=dataclasses.replace(plan.study, attacks=()))
    return [_all_trials(unattacked, store) for _ in range(further)]
