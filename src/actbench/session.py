"""A run of a study from the lock to the report: all of it alone, or one shard among others.

pandas, scipy and matplotlib are imported where they are used: workers start before, and load
theirs at the same time.
"""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from actbench.cli.finished import write_finished
from actbench.cli.progress import ProgressDisplay
from actbench.cli.summary import summary_of
from actbench.errors import UsageError
from actbench.execution.plan import keep_settled, prepare_study
from actbench.execution.trials import (
    check_stored,
    pending_trials,
    prepare_corruptions,
    run_trials,
    stored_elsewhere,
    write_samples,
)
from actbench.store.lock import held_as_shard, shards_at_work
from actbench.study.study import next_look

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from actbench.analysis.frames import Frames
    from actbench.execution.executors import Executor
    from actbench.execution.plan import Plan
    from actbench.store.lock import Shard
    from actbench.store.store import Store
    from actbench.study.study import Study, Trial


@dataclass(frozen=True)
class Conduct:
    """How a study is run; nothing in it decides a number (see ``results.run``)."""

    make_executor: Callable[[Study], Executor]
    retry_failed: bool
    restart: bool
    until_decided: bool
    quiet: bool
    verbose: bool


def run_alone(study: Study, store: Store, conduct: Conduct) -> Frames:
    """Run what the folder does not hold of a study, write every derived file, return the frames."""
    with contextlib.ExitStack() as stack:
        # A folder in use is found before anything starts; one that is not there is not made
        # before the study has proved right. Another run may make it meanwhile.
        held = stack.enter_context(contextlib.ExitStack())
        is_held = store.exists()
        if is_held:
            held.enter_context(store.locked())
        settled = study if conduct.restart else keep_settled(study, store)
        executor = conduct.make_executor(settled)
        stack.callback(executor.close)
        plan = prepare_study(settled)
        from actbench.report.write import write_report

        if conduct.restart and is_held:
            held.close()
            store.set_aside()
            is_held = False
        if not is_held:
            held.enter_context(store.locked())
        check_stored(plan, store)
        retry_failed = conduct.retry_failed
        if plan.study.tune_lr:
            from actbench.execution.tuning import tune

            quiet, verbose = conduct.quiet, conduct.verbose
            plan = tune(
                *(plan, store, executor), retry_failed=retry_failed, quiet=quiet, verbose=verbose
            )
        while True:
            corrupt = store.begin(plan.study)
            store.sweep(plan.study)
            pending = pending_trials(plan, store, retry_failed=retry_failed)
            _run_pending(plan, store, pending, plan.study.trials(), executor, conduct, corrupt)
            store.sweep(plan.study)
            retry_failed = False
            frames = write_report(store, plan.study)
            grows = conduct.until_decided and frames.undecided()
            grown = next_look(plan.study) if grows else None
            if grown is None:
                summary = summary_of(frames)
                write_finished(store, study, summary, until_decided=conduct.until_decided)
                return frames
            plan = dataclasses.replace(plan, study=grown)


def run_shard(study: Study, store: Store, conduct: Conduct, shard: Shard) -> Frames:
    """Run what the folder does not hold of one shard of a study; return what it holds of all.

    The shards share the folder: each holds it for moments alone. The one that stores the study's
    last trial writes the derived files.

    Raises:
        UsageError: learning rates have yet to be chosen.
    """
    from actbench.analysis.frames import read_frames
    from actbench.execution.tuning import tuning_plans
    from actbench.report.write import write_report

    with contextlib.ExitStack() as stack:
        if store.exists():
            with store.locked_for_a_moment():
                pass
        settled = keep_settled(study, store)
        executor = conduct.make_executor(settled)
        stack.callback(executor.close)
        plan = prepare_study(settled)
        if tuning_plans(plan):
            raise UsageError(
                "tune_lr chooses rates with the whole study; a shard needs them as learning_rates"
            )
        held = stack.enter_context(contextlib.ExitStack())
        with store.locked_for_a_moment():
            held.enter_context(held_as_shard(store.folder, shard))
            check_stored(plan, store)
            corrupt = store.begin(plan.study)
        all_pending = set(pending_trials(plan, store, retry_failed=conduct.retry_failed))
        part = shard.part(plan.study.trials())
        pending = [trial for trial in part if trial in all_pending]
        _run_pending(plan, store, pending, part, executor, conduct, corrupt)
        with store.locked_for_a_moment():
            held.close()
            if pending_trials(plan, store):
                return read_frames(store, plan.study)
            if not shards_at_work(store.folder):
                store.sweep(plan.study)
            frames = write_report(store, plan.study)
            write_finished(store, study, summary_of(frames), until_decided=False)
            return frames


def _run_pending(
    plan: Plan,
    store: Store,
    pending: Sequence[Trial],
    part: Sequence[Trial],
    executor: Executor,
    conduct: Conduct,
    corrupt: Mapping[Path, str],
) -> None:
    """Run the pending trials of ``part`` and show how it goes on."""
    planned = len(plan.study.trials())
    quiet, verbose = conduct.quiet, conduct.verbose
    with ProgressDisplay(len(pending), quiet=quiet, verbose=verbose) as display:
        for path, fault in corrupt.items():
            display.say(f"a file was damaged and is set aside as {path}: {fault}")
        if plan.note:
            display.say(plan.note)
        for note in plan.study.data_notes if pending else ():
            display.say(f"data: {note}")
        for spec, check in plan.checks.items() if pending else ():
            display.say(
                f"{spec}: f(−1) = {check.at_minus_one:.4g}, f(0) = {check.at_zero:.4g}, "
                f"f(1) = {check.at_one:.4g}"
            )
        if len(pending) < len(part):
            stored = f"{len(part) - len(pending)} of" if pending else "all"
            display.say(f"{stored} {len(part)} trials are stored already")
        if not pending:
            return
        for line in stored_elsewhere(plan, store):
            display.say(line)
        prepare_corruptions(plan)
        write_samples(plan, store)
        try:
            run_trials(plan, store, pending, executor, display.tell)
        except (KeyboardInterrupt, SystemExit):
            left = len(pending_trials(plan, store))
            display.say(f"interrupted; {planned - left} of {planned} trials are stored")
            raise
