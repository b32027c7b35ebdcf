"""Run the planned trials that are not stored, and store their records."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from actbench.errors import UsageError
from actbench.execution.environment import git_commit, note_trial, now_text
from actbench.execution.events import Finished
from actbench.execution.executors import default_workers
from actbench.execution.local import InProcess, LocalWorkers
from actbench.execution.ray_tasks import RayTasks
from actbench.store.pace import Pace
from actbench.store.weights import Weights
from actbench.study.study import trial_names
from actbench.training.devices import compute_devices, resolve_device
from actbench.training.events import Updated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from actbench.execution.events import Event
    from actbench.execution.executors import Executor
    from actbench.execution.plan import Plan
    from actbench.store.store import Store
    from actbench.store.stored_study import StoredStudy, Work
    from actbench.study.run_options import RunOptions
    from actbench.study.study import Study

TRIALS_ON_A_GPU = 32
RECORDS_SHARE = 0.0025  # of the time, for records of unfinished trials


@dataclass(frozen=True)
class PendingTrials:
    """Trials of a planned study that are to be run, and where their records are stored."""

    plan: Plan
    stored: StoredStudy
    works: Sequence[Work]

    @classmethod
    def of(cls, plan: Plan, stored: StoredStudy, options: RunOptions) -> PendingTrials:
        """Return the trials that the folder lacks, or that ``options`` retry."""
        return cls(plan, stored, stored.pending(retry_failed=options.retry_failed))

    def is_trained(self, work: Work) -> bool:
        """Return whether a trial is only to be measured: its record and its weights are stored."""
        name = "" if work.record is None else work.record.trial_id
        return bool(name) and Weights(self.stored.store.weights, name).path.exists()


def run_trials(
    pending: PendingTrials,
    executor: Executor,
    on_event: Callable[[Event], None],
    *,
    keep_weights: bool = True,
) -> None:
    """Run trials and store their records, before ``on_event`` is called with the trial's end.

    The record of an unfinished trial is stored when it is trained and after each measurement, but
    not so often that this takes more than ``RECORDS_SHARE`` of the time. Without ``keep_weights``,
    a trial's weights are removed when nothing is left to measure or to retry.

    Raises:
        ResultsFolderError: the folder cannot be written, or was moved (``Store.check_in_place``).
    """
    stored, works = pending.stored, pending.works
    store, study = stored.store, stored.study
    start, commit = now_text(), git_commit()
    known = set(map(trial_names(study), study.trials()))
    before = {work.record.trial_id for work in works if work.record is not None}
    described: set[str] = set()
    pace = Pace(RECORDS_SHARE)

    def note(event: Finished | Updated) -> None:
        now = {**event.environment, "git_commit": commit} if event.environment else None
        seconds = event.seconds if isinstance(event, Finished) else None
        name = event.record.trial_id
        with store.locked_briefly():
            note_trial(store, known, (start, now), name, seconds, add=name in before)

    def handle(event: Event) -> None:
        store.check_in_place()
        if isinstance(event, Updated) and pace.is_due():
            with pace.writing():
                stored.write(event.record)
                if event.environment["id"] not in described:
                    note(event)
                    described.add(event.environment["id"])
        elif isinstance(event, Finished):
            stored.write(event.record)
            note(event)
            if not keep_weights and not event.record.failures(study):
                store.remove(Weights(store.weights, event.record.trial_id).path)
        on_event(event)

    store.make_trial_folders()
    ordered, folder = baseline_first(works, study.baseline), store.folder.absolute()
    executor.run(study, ordered, pending.plan.data_folder, handle, folder)


def baseline_first(works: Iterable[Work], baseline: str) -> list[Work]:
    """Return the trials sorted so that each seed's baseline comes first, then its longest trials.

    The seeds keep their order, so that an interrupted study has pairs. The less a network may pool
    before an activation, the more values it computes; the longest trials come first so that the
    workers finish together.
    """
    from actbench.models.activations import resolve_activation

    def rank(work: Work) -> tuple[bool, int]:
        activation = work.trial.activation
        return activation != baseline, resolve_activation(activation).shape

    by_seed: dict[int, list[Work]] = {}
    for work in works:
        by_seed.setdefault(work.trial.seed, []).append(work)
    return [work for part in by_seed.values() for work in sorted(part, key=rank)]


def keep_resolved(study: Study, store: Store) -> Study:
    """Return the study with the stored study's values for settings that are ``auto``.

    Raises:
        ResultsFolderError: the stored study cannot be read.
    """
    names = [name for name in ("device", "kernels", "precision") if getattr(study, name) == "auto"]
    if not names or not store.holds_study():
        return study
    stored = store.study()
    return dataclasses.replace(study, **{name: getattr(stored, name) for name in names})


def make_executor(study: Study, options: RunOptions) -> Executor:
    """Return the executor for a study's trials.

    On the CPU: ``options.workers`` worker processes, by default one per core, or this process if it
    is 0. On GPUs: a process per GPU, each running an equal part of ``workers`` trials concurrently,
    by default ``TRIALS_ON_A_GPU``.

    Raises:
        UsageError: Ray is not installed or asked for GPUs, or the device does not exist.
    """
    device, trials = resolve_device(study.device, study.precision), len(study.trials())
    workers, timeout = options.workers, options.trial_timeout
    if options.executor == "ray":
        if device == "cuda":
            raise UsageError(
                "Ray runs trials on CPUs only, and device is cuda; it must be cpu, or the "
                "executor local"
            )
        return RayTasks(options)
    if workers == 0:
        return InProcess()
    if device == "cuda":
        gpus = compute_devices("cuda")[:trials]
        at_once = math.ceil(workers / len(gpus)) if workers else TRIALS_ON_A_GPU
        return LocalWorkers(gpus, at_once, timeout)
    count = max(1, min(workers or default_workers(), trials))
    return LocalWorkers(["cpu"] * count, trial_timeout=timeout)
