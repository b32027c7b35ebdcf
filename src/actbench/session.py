"""A run of a study from the lock to the report: the complete study or one shard.

torch, pandas, scipy and matplotlib are imported where they are used: a run with nothing to do
needs none of them, and worker processes that start first load theirs at the same time.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING

from actbench.errors import (
    START_OVER,
    ResultsFolderError,
    SourceChangedError,
    Terminated,
    UsageError,
)
from actbench.execution.corrupted_sets import has_samples, prepare_corruptions, write_samples
from actbench.execution.environment import stored_elsewhere
from actbench.execution.events import Planned, Stage
from actbench.execution.inputs import are_unchanged, write_inputs
from actbench.execution.trials import PendingTrials, keep_resolved, make_executor, run_trials
from actbench.report.summary import read_summary
from actbench.store.lock import has_active_shards, shard_lock
from actbench.study.study import next_interim_analysis, trial_id
from actbench.training.events import Note

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from actbench.execution.events import Event
    from actbench.execution.executors import Executor
    from actbench.execution.plan import Plan
    from actbench.store.lock import Shard
    from actbench.store.store import Store
    from actbench.store.stored_study import StoredStudy
    from actbench.study.run_options import RunOptions
    from actbench.study.study import Study, Trial


def run_study(
    study: Study, store: Store, options: RunOptions, on_event: Callable[[Event], None]
) -> None:
    """Run the trials that the folder does not hold yet and write every derived file.

    Raises:
        UsageError: something about the study is wrong; nothing was trained.
        ResultsFolderError: the folder is in use, another study's, or cannot be written.
        ActbenchError: no worker process could start, or no learning rate could be chosen.
    """
    with contextlib.ExitStack() as stack:
        # An existing folder is locked before anything starts; a new one is created only after the
        # study is checked. Another run may create it meanwhile.
        lock = stack.enter_context(contextlib.ExitStack())
        is_locked = store.exists()
        if is_locked:
            lock.enter_context(store.locked())
            if not options.restart:
                store.check_format()
                if _has_nothing_to_do(study, store, options):
                    _report_nothing_to_do(store, options, on_event)
                    return
        on_event(Stage("loading PyTorch"))
        resolved = study if options.restart else keep_resolved(study, store)
        executor = make_executor(resolved, options)
        stack.callback(executor.close)
        from actbench.execution.plan import check_stored, prepare_study
        from actbench.models.global_state import generators_kept

        stack.enter_context(generators_kept())
        plan = prepare_study(resolved, on_event)
        from actbench.report.answer import interim_analysis
        from actbench.report.write import write_report

        if options.restart and is_locked and store.holds_study():
            lock.close()
            store.archive()
            is_locked = False
        if not is_locked:
            lock.enter_context(store.locked())
        check_stored(plan, store)
        stack.enter_context(_source_changes_explained(store))
        tried: set[str] = set()  # ids of trials, so that a failed one is retried once
        if plan.study.tune_lr or plan.study.tune:
            plan = _tune(plan, store, executor, options, on_event)
        while True:
            stored = store.open(plan.study)
            damaged = stored.begin()
            stored.clean_up()
            pending = _not_tried(PendingTrials.of(plan, stored, options), tried)
            _run_pending(pending, plan.study.trials(), executor, options, on_event, damaged)
            _clean_up(stored, options)
            if plan.study.tuned:
                _run_retuned(plan, store, executor, options, on_event, tried)
            on_event(Stage("writing the report"))
            frames = write_report(store, plan.study)
            grows = options.until_decided and frames.undecided()
            grown = next_interim_analysis(plan.study) if grows else None
            if options.until_decided:
                on_event(Note(interim_analysis(frames)))
            if grown is None:
                write_inputs(store, study, plan.study, until_decided=options.until_decided)
                return
            plan = dataclasses.replace(plan, study=grown, checks={}, note="")  # said already


def _tune(
    plan: Plan,
    store: Store,
    executor: Executor,
    options: RunOptions,
    on_event: Callable[[Event], None],
) -> Plan:
    """Return the plan with the settings that tuning chooses, and store the table of the choice."""
    from actbench.execution import tuning
    from actbench.execution.tuning_file import write_tuning_file

    pending = tuning.pending_of(tuning.tuning_plans(plan), store, options)
    if pending and (cost := tuning.cost_of_tuning(plan.study)):
        on_event(Note(cost))
    _note_estimate(tuning.together(pending), options, on_event)
    tuned, table = tuning.tune(plan, store, pending, executor, on_event)
    write_tuning_file(store, plan.study, table)
    return tuned


def _run_retuned(
    plan: Plan,
    store: Store,
    executor: Executor,
    options: RunOptions,
    on_event: Callable[[Event], None],
    tried: set[str],
) -> None:
    """Run the missing trials with the settings of the further tuning studies."""
    from actbench.execution import tuning

    found = tuning.pending_of(tuning.retuned_plans(plan), store, options)
    pending = [part for part in (_not_tried(part, tried) for part in found) if part.works]
    if pending:
        _note_estimate(tuning.together(pending), options, on_event)
        tuning.run_retuned(pending, executor, on_event)


def _not_tried(pending: PendingTrials, tried: set[str]) -> PendingTrials:
    """Return the trials that this run has not had yet, and add their ids to ``tried``."""
    names = {work.trial: trial_id(pending.plan.study, work.trial) for work in pending.works}
    works = [work for work in pending.works if names[work.trial] not in tried]
    tried.update(names.values())
    return dataclasses.replace(pending, works=works)


def _note_estimate(
    parts: Sequence[PendingTrials], options: RunOptions, on_event: Callable[[Event], None]
) -> None:
    """Report about how long trials will take."""
    from actbench.execution.estimate import estimate

    on_event(Stage("timing a few steps"))
    if line := estimate(parts, options):
        on_event(Note(line))


@contextlib.contextmanager
def _source_changes_explained(store: Store) -> Iterator[None]:
    """Raise a ``SourceChangedError`` of the block as an error that says what the user can do."""
    try:
        yield
    except SourceChangedError as error:
        spec = str(error)
        what = START_OVER if store.has_trials_of(spec) else "run the command again"
        raise ResultsFolderError(
            f"the source of {spec} has changed since the run began; {what}"
        ) from None


def _has_nothing_to_do(study: Study, store: Store, options: RunOptions) -> bool:
    """Return whether everything is stored; with ``retry_failed``, failed trials are not."""
    if not are_unchanged(store, study, until_decided=options.until_decided):
        return False
    return not (options.retry_failed and not read_summary(store.folder).complete)


def _clean_up(stored: StoredStudy, options: RunOptions) -> None:
    if options.no_weights:
        stored.remove_weights()
    stored.clean_up()


def _report_nothing_to_do(
    store: Store, options: RunOptions, on_event: Callable[[Event], None]
) -> None:
    study = store.study()
    if options.no_weights and (removed := store.open(study).remove_weights()):
        on_event(Note(f"the weights of {removed} trials were removed"))
    if unknown := store.open(study).unknown_records():
        on_event(Note(unknown))
    on_event(Note(f"all {len(study.trials())} trials are stored already"))


def run_shard(
    study: Study,
    store: Store,
    options: RunOptions,
    shard: Shard,
    on_event: Callable[[Event], None],
) -> None:
    """Run the trials of one shard of a study that the folder does not hold yet.

    The shards share the folder, so each locks it only briefly. The one that stores the study's last
    trial writes the derived files.

    Raises:
        UsageError: learning rates have yet to be chosen.
        ResultsFolderError: the shard is running already; also as ``run_study``.
    """
    with contextlib.ExitStack() as stack:
        if store.exists():
            with store.locked_briefly():
                store.check_format()
                if _has_nothing_to_do(study, store, options):
                    _report_nothing_to_do(store, options, on_event)
                    return
        on_event(Stage("loading PyTorch"))
        resolved = keep_resolved(study, store)
        executor = make_executor(resolved, options)
        stack.callback(executor.close)
        from actbench.execution.plan import check_stored, prepare_study
        from actbench.models.global_state import generators_kept

        stack.enter_context(generators_kept())
        plan = prepare_study(resolved, on_event)
        from actbench.execution.tuning import retuned_plans, tuning_plans
        from actbench.report.write import write_report

        if tuning_plans(plan) or retuned_plans(plan):
            raise UsageError(
                "tune_lr and tune need the complete study; give a shard a configuration file with "
                "the rates as learning_rates, or one setting of each activation as tuned"
            )
        lock = stack.enter_context(contextlib.ExitStack())
        stack.enter_context(_source_changes_explained(store))
        with store.locked_briefly():
            lock.enter_context(shard_lock(store.folder, shard))
            check_stored(plan, store)
            stored = store.open(plan.study)
            damaged = stored.begin()
        part = set(shard.part(plan.study.trials()))
        pending = PendingTrials.of(plan, stored, options)
        works = [work for work in pending.works if work.trial in part]
        pending = dataclasses.replace(pending, works=works)
        _run_pending(pending, part, executor, options, on_event, damaged)
        with store.locked_briefly():
            lock.close()
            if stored.pending():
                return
            if not has_active_shards(store.folder):
                _clean_up(stored, options)
            on_event(Stage("writing the report"))
            write_report(store, plan.study)
            write_inputs(store, study, plan.study, until_decided=False)


def _run_pending(
    pending: PendingTrials,
    part: Collection[Trial],
    executor: Executor,
    options: RunOptions,
    on_event: Callable[[Event], None],
    damaged: Mapping[Path, str],
) -> None:
    """Report what is stored of ``part``, then run its pending trials."""
    plan, stored, works = pending.plan, pending.stored, pending.works
    planned = len(plan.study.trials())
    to_measure = [w.record for w in works if w.record is not None and pending.is_trained(w)]
    on_event(Planned(len(works), len(to_measure), plan.study))
    notes = [f"a damaged file was renamed to {p}: {f}" for p, f in damaged.items()]
    if plan.note:
        notes.append(plan.note)
    if works and plan.checks:
        notes += [f"data: {note}" for note in plan.study.data_notes]
        notes += [
            f"{spec}: f(−1) = {check.at_minus_one:.4g}, f(0) = {check.at_zero:.4g}, "
            f"f(1) = {check.at_one:.4g}"
            for spec, check in plan.checks.items()
        ]
    if unknown := stored.unknown_records():
        notes.append(unknown)
    if len(works) < len(part):
        share = f"{len(part) - len(works)} of" if works else "all"
        notes.append(f"{share} {len(part)} trials are stored already")
    if to_measure:
        count = sum(len(record.missing(plan.study)) for record in to_measure)
        notes.append(
            f"{len(works) - len(to_measure)} trials to train; {len(to_measure)} are trained "
            f"already and lack {count} measurements in all"
        )
    if works:
        notes += stored_elsewhere(stored)
    for note in notes:
        on_event(Note(note))
    if works or not has_samples(stored):
        prepare_corruptions(plan, works, on_event, executor.prepare)
        write_samples(stored, plan.data_folder)
    if not works:
        return
    _note_estimate([pending], options, on_event)
    on_event(Stage("starting workers"))
    try:
        run_trials(pending, executor, on_event, keep_weights=not options.no_weights)
    except (KeyboardInterrupt, SystemExit, Terminated):
        left = len(stored.pending())
        on_event(Note(f"interrupted; {planned - left} of {planned} trials are stored"))
        raise
