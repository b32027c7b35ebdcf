"""Run the planned trials that are not stored, and store their records and environment."""

from __future__ import annotations

import dataclasses
import datetime
import math
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actbench.analysis.environments import differences
from actbench.errors import UsageError
from actbench.execution.environment import environment_of
from actbench.execution.executors import Finished, Stage, default_workers
from actbench.execution.local import InProcess, LocalWorkers
from actbench.execution.ray_tasks import RayTasks
from actbench.report.samples import SAMPLES_FILE, samples_from_png, samples_to_png
from actbench.store.environment import with_batch
from actbench.store.pace import Pace
from actbench.store.weights import Weights
from actbench.study.levels import is_name, severities
from actbench.study.study import trial_names
from actbench.training.devices import compute_devices, resolve_device
from actbench.training.events import Updated

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping, Sequence

    from actbench.execution.executors import Event, Executor
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
    start, git_commit = _now(), _git_commit()
    known = set(map(trial_names(study), study.trials()))
    before = {work.record.trial_id for work in works if work.record is not None}
    described: set[str] = set()
    pace = Pace(RECORDS_SHARE)

    def note(event: Finished | Updated) -> None:
        now = {**event.environment, "git_commit": git_commit} if event.environment else None
        seconds = event.seconds if isinstance(event, Finished) else None
        name = event.record.trial_id
        with store.locked_briefly():
            _note_trial(store, known, (start, now), name, seconds, add=name in before)

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


def stored_elsewhere(stored: StoredStudy) -> list[str]:
    """Return a line for each other environment that stored trials were computed in."""
    records = [r for r in stored.records().values() if r.status != "crashed"]
    counts = Counter(
        name
        for record in records
        for name in dict.fromkeys(
            (record.environment, *(r.environment for r in record.results.values() if r.environment))
        )
    )
    current = environment_of(stored.study.device, stored.study.kernels)
    found = differences(counts, stored.store.environment()["environments"], current)
    return [
        f"{counts[name]} of {len(records)} stored trials were computed in another environment "
        f"than this one: {difference}"
        for name, difference in found.items()
    ]


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


def prepare_corruptions(
    plan: Plan, works: Iterable[Work] = (), on_event: Callable[[Event], None] = lambda event: None
) -> None:
    """Create the corrupted test sets that trials share, unless the cache has them.

    Only those that ``works`` lack; all of the study's if one of them is not trained, or without
    any.
    """
    from actbench.corruptions.test_sets import corrupted_test_images
    from actbench.data.images import study_images

    data = study_images(plan.data_folder, plan.study)
    records = [work.record for work in works]
    missing = {m.spec for r in records if r is not None for m in r.missing(plan.study)}
    needed = [
        (name, severity)
        for name in plan.study.corruptions
        if not (plan.study.cifar10c and is_name(name))
        and (name in missing or None in records or not records)
        for severity in severities(name)
    ]
    for number, (name, severity) in enumerate(needed):
        on_event(Stage("making corrupted images", number, len(needed)))
        corrupted_test_images(data, name, severity)


def has_samples(stored: StoredStudy) -> bool:
    """Return whether the folder has what ``write_samples`` stores, for these corruptions."""
    corruptions = stored.study.corruptions
    if not corruptions:
        return True
    try:
        samples_from_png((stored.store.folder / SAMPLES_FILE).read_bytes(), corruptions)
    except (OSError, ValueError):
        return False
    return True


def write_samples(stored: StoredStudy, data_folder: Path) -> None:
    """Store the first test image under every corruption and severity, for the report."""
    from actbench.corruptions.test_sets import corrupted_test_images
    from actbench.data.images import study_images

    study = stored.study
    if not study.corruptions:
        return
    data, folder = study_images(data_folder, study), study.cifar10c
    samples = {}
    for name in study.corruptions:
        samples[name, 0] = data.test_images[0].numpy()
        for severity in severities(name):
            samples[name, severity] = corrupted_test_images(data, name, severity, folder)[0].numpy()
    stored.store.write_bytes(SAMPLES_FILE, samples_to_png(samples))


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _note_trial(
    store: Store,
    known: Container[str],
    batch: tuple[str, Mapping[str, Any] | None],
    name: str,
    took: float | None,
    *,
    add: bool,
) -> None:
    """Add a trial's environment and seconds to ``environment.json``.

    Args:
        store: the results folder.
        known: the names of the study's trials; the seconds of others are left out.
        batch: when this run began, and its environment, if it is known.
        name: the trial's name.
        took: its seconds, if it is finished.
        add: whether it was stored before this run, which then adds to its seconds.
    """
    stored, (start, now) = store.environment(), batch
    environments = stored["environments"]
    if now is not None:
        environments = with_batch(environments, now, start, _now())
    seconds = {name: took for name, took in stored["seconds"].items() if name in known}
    if took is not None:
        seconds[name] = round(took + (seconds.get(name, 0.0) if add else 0.0), 2)
    store.write_environment({"environments": environments, "seconds": seconds})


def _git_commit() -> str:
    """Return the commit of the running code, with ``+`` if it was changed; empty if none."""
    here = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"],  # noqa: S607
            cwd=here,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
        tracked = subprocess.run(  # noqa: S603
            ["git", "ls-files", "--error-unmatch", Path(__file__).name],  # noqa: S607
            cwd=here,
            capture_output=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    # an installed copy may be inside another repository
    return done.stdout.strip() if done.returncode == tracked.returncode == 0 else ""
