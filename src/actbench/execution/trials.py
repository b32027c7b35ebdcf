"""Run the planned trials that are not stored, and store their records and environment."""

from __future__ import annotations

import dataclasses
import datetime
import math
import subprocess
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from actbench.analysis.environments import differences
from actbench.errors import UsageError
from actbench.execution.environment import environment_of
from actbench.execution.executors import Finished, default_workers
from actbench.execution.local import InProcess, LocalWorkers
from actbench.execution.ray_tasks import RayTasks
from actbench.report.samples import SAMPLES_FILE, samples_to_png
from actbench.store.environment import with_batch
from actbench.study.levels import severities
from actbench.study.study import trial_names
from actbench.training.devices import compute_devices, resolve_device

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Sequence

    from actbench.execution.executors import Event, Executor
    from actbench.execution.plan import Plan
    from actbench.store.store import Store
    from actbench.store.stored_study import StoredStudy
    from actbench.study.run_options import RunOptions
    from actbench.study.study import Study, Trial

TRIALS_ON_A_GPU = 32


def run_trials(
    stored: StoredStudy,
    data_folder: Path,
    trials: Sequence[Trial],
    executor: Executor,
    on_event: Callable[[Event], None],
) -> None:
    """Run trials and store each record when its trial finishes, before ``on_event`` is called.

    Raises:
        ResultsFolderError: the folder cannot be written, or was moved (``Store.check_in_place``).
    """
    store, study = stored.store, stored.study
    start, git_commit = _now(), _git_commit()
    known = set(map(trial_names(study), study.trials()))

    def handle(event: Event) -> None:
        store.check_in_place()
        if isinstance(event, Finished):
            stored.write(event.record)
            with store.locked_briefly():
                _note_trial(store, known, start, git_commit, event)
        on_event(event)

    ordered = longest_first(trials)
    store.make_checkpoints_folder()
    executor.run(study, ordered, data_folder, handle, store.checkpoints.absolute())


def stored_elsewhere(stored: StoredStudy) -> list[str]:
    """Return a line for each other environment that stored trials were computed in."""
    records = [r for r in stored.records().values() if r.status != "crashed"]
    counts = Counter(record.environment for record in records)
    current = environment_of(stored.study.device, stored.study.kernels)
    found = differences(counts, stored.store.environment()["environments"], current)
    return [
        f"{counts[name]} of {len(records)} stored trials were computed in another environment "
        f"than this one: {difference}"
        for name, difference in found.items()
    ]


def longest_first(trials: Iterable[Trial]) -> list[Trial]:
    """Return the trials sorted so that each seed's longest come first: the workers finish together.

    An activation that a network cannot apply after the pooling layer computes four times as many
    values. The seeds keep their order, so that an interrupted study has complete pairs.
    """
    from actbench.models.activations import resolve_activation

    by_seed: dict[int, list[Trial]] = {}
    for trial in trials:
        by_seed.setdefault(trial.seed, []).append(trial)
    return [
        trial
        for part in by_seed.values()
        for trial in sorted(part, key=lambda t: resolve_activation(t.activation).commutes_with_max)
    ]


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
        return RayTasks(workers, options.ray_address, timeout)
    if workers == 0:
        return InProcess()
    if device == "cuda":
        gpus = compute_devices("cuda")[:trials]
        at_once = math.ceil(workers / len(gpus)) if workers else TRIALS_ON_A_GPU
        return LocalWorkers(gpus, at_once, timeout)
    count = max(1, min(workers or default_workers(), trials))
    return LocalWorkers(["cpu"] * count, trial_timeout=timeout)


def prepare_corruptions(plan: Plan) -> None:
    """Create the corrupted test sets that all trials share, unless the cache has them."""
    from actbench.corruptions.test_sets import corrupted_test_images
    from actbench.data.images import study_images

    if plan.study.cifar10c:
        return
    data = study_images(plan.data_folder, plan.study)
    for name in plan.study.corruptions:
        for severity in severities(name):
            corrupted_test_images(data, name, severity)


def write_samples(plan: Plan, store: Store) -> None:
    """Store the first test image under every corruption and severity, for the report."""
    from actbench.corruptions.test_sets import corrupted_test_images
    from actbench.data.images import study_images

    if not plan.study.corruptions:
        return
    data, folder = study_images(plan.data_folder, plan.study), plan.study.cifar10c
    samples = {}
    for name in plan.study.corruptions:
        samples[name, 0] = data.test_images[0].numpy()
        for severity in severities(name):
            samples[name, severity] = corrupted_test_images(data, name, severity, folder)[0].numpy()
    store.write_bytes(SAMPLES_FILE, samples_to_png(samples))


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _note_trial(
    store: Store, known: Container[str], start: str, git_commit: str, done: Finished
) -> None:
    """Add a trial's environment and seconds to ``environment.json``."""
    stored = store.environment()
    environments = stored["environments"]
    if done.environment:
        now = {**done.environment, "git_commit": git_commit}
        environments = with_batch(environments, now, start, _now())
    seconds = {name: took for name, took in stored["seconds"].items() if name in known}
    seconds[done.record.trial_id] = round(done.seconds, 2)
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
