"""Run the planned trials that are not stored; store their records and the environment."""

from __future__ import annotations

import dataclasses
import datetime
import math
import subprocess
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actbench.analysis.environments import differences
from actbench.errors import ResultsFolderError, UsageError
from actbench.execution.environment import environment_of
from actbench.execution.executors import Finished, default_workers
from actbench.execution.local import InProcess, LocalWorkers
from actbench.execution.plan import Plan
from actbench.execution.ray_tasks import RayTasks
from actbench.models.user_code import module_file
from actbench.report.samples import SAMPLES_FILE, samples_to_png
from actbench.store.environment import with_batch
from actbench.study.study import SEVERITIES, trial_names
from actbench.training.devices import (
    compute_devices,
    has_bfloat16,
    resolve_device,
    settle_precision,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping, Sequence

    from actbench.execution.executors import Event, Executor
    from actbench.models.activations import ActivationFactory
    from actbench.store.store import Store
    from actbench.study.run_options import RunOptions
    from actbench.study.study import Study, Trial

TRIALS_ON_A_GPU = 32


def _prepared(study: Study) -> Plan:
    from actbench.attacks.registry import expand as expand_attacks
    from actbench.corruptions.published import check_published
    from actbench.corruptions.registry import expand as expand_corruptions
    from actbench.data.cache import cache_limit
    from actbench.data.images import open_images, prepare, study_images
    from actbench.execution.network_check import check_networks
    from actbench.execution.plan import resolve_kernels, slow_bfloat16
    from actbench.models.activations import check_activation, resolve_activation
    from actbench.models.global_state import changes, settings_kept
    from actbench.models.initialisation import gain_of
    from actbench.models.networks import resolve_model, study_code

    cache_limit()  # a wrong one is found now
    factories = [resolve_activation(spec) for spec in (study.baseline, *study.activations)]
    model, _ = resolve_model(study.model)
    code = study_code(model, [factory.spec for factory in factories])
    for name, checksum in study.code:
        if dict(code).get(name, checksum) != checksum:
            raise UsageError(
                f"the source of {name} is not the study's: it has changed since that was made; "
                "leave code out of the configuration to run what is there now"
            )
    if study.init == "slope_aware":
        for factory in factories:
            gain_of(factory)  # one without a gain is found now
    rates = tuple((resolve_activation(a).spec, rate) for a, rate in study.learning_rates)
    names = expand_corruptions(study.corruptions, published=bool(study.cifar10c))
    checks = {factory.spec: check_activation(factory) for factory in factories}
    data_folder = prepare(study.dataset, study.data_dir)
    read, data = open_images(data_folder), study_images(data_folder, study)
    checksum = read.checksum
    if study.data_checksum not in ("", checksum):
        raise UsageError(
            f"the data is not the study's: its checksum is {checksum}, "
            f"and the study was made with {study.data_checksum}"
        )
    published = check_published(study.cifar10c, names, data.test_labels) if study.cifar10c else ""
    if study.cifar10c_checksum not in ("", published):
        raise UsageError(
            f"the published corruptions are not the study's: their checksum is {published!r}, "
            f"and the study was made with {study.cifar10c_checksum!r}"
        )
    device = resolve_device(study.device, study.precision)
    precision = settle_precision(study.precision, device, study.kernels)
    study = dataclasses.replace(study, model=model, device=device, precision=precision)
    counts = [len(data.train_images)]
    if study.tune_lr:
        counts.append(counts[0] - data.tuning_images)
    with settings_kept(model):
        notes = check_networks(study, factories, data, counts)
        kernels, note = resolve_kernels(study, factories, len(data.classes))
        if precision == "bf16" and device == "cpu" and not has_bfloat16("cpu"):
            notes.append(slow_bfloat16(study, factories[0], data))
    specs = (model, *(factory.spec for factory in factories))
    files = {text.partition(":")[0]: module_file(text.partition(":")[0]) for text in specs}
    notes += [f"{name} is read from {file}" for name, file in files.items() if file is not None]
    notes += [*changes(specs), *([note] if note else [])]
    resolved = dataclasses.replace(
        study,
        baseline=factories[0].spec,
        activations=tuple(factory.spec for factory in factories[1:]),
        learning_rates=rates,
        kernels=kernels,
        corruptions=names,
        attacks=expand_attacks(study.attacks),
        code=code,
        data_checksum=checksum,
        data_notes=read.notes,
        cifar10c_checksum=published,
    )
    return Plan(resolved, data_folder, checks, "\n".join(notes))


def pending_trials(plan: Plan, store: Store, *, retry_failed: bool = False) -> list[Trial]:
    """Return the planned trials that the store holds no record of, in their order.

    With ``retry_failed``, also those that diverged or crashed.
    """
    stored = {
        name
        for name, record in store.records(plan.study).items()
        if record.status == "ok" or not retry_failed
    }
    name_of = trial_names(plan.study)
    return [trial for trial in plan.study.trials() if name_of(trial) not in stored]


def check_stored(plan: Plan, store: Store) -> None:
    """Refuse to add to records that the present code would not give.

    An activation's self-check and the network's layers must be those that the records hold.

    Raises:
        ResultsFolderError: they are not, or a record cannot be read.
    """
    from actbench.data.images import open_images
    from actbench.models.activations import resolve_activation
    from actbench.models.networks import build_network
    from actbench.training.diagnostics import GradientNorms

    layers: dict[str, list[str]] = {}
    for record in store.records(plan.study).values():
        spec = record.activation
        found = _different(record.activation_check, dataclasses.asdict(plan.checks[spec]))
        if found and not _draws(resolve_activation(spec)):
            raise ResultsFolderError(
                f"{str(store.folder)!r} holds trials of another {spec}: {found} "
                "(choose another folder with --out, or begin anew with --restart)"
            )
        if spec not in layers:
            factory, classes = resolve_activation(spec), len(open_images(plan.data_folder).classes)
            network, _ = build_network(plan.study.model, factory, classes, seed=0)
            layers[spec] = GradientNorms(network).layers
        for epoch in record.history[:1]:
            if list(epoch.grad_norms) != layers[spec]:
                raise ResultsFolderError(
                    f"{str(store.folder)!r} holds trials of another network than "
                    f"{plan.study.model}: its layers were {', '.join(epoch.grad_norms)} and are "
                    f"{', '.join(layers[spec])} now (choose another folder with --out, or begin "
                    "anew with --restart)"
                )


def _draws(factory: ActivationFactory) -> bool:
    """Return whether an activation's self-check is another with other random numbers."""
    from actbench.models.activations import check_activation

    return check_activation(factory, seed=1) != check_activation(factory, seed=2)


def _different(stored: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return which values of a self-check differ by more than processors do; empty if none."""

    def same(a: float | None, b: float) -> bool:
        if a is None or not math.isfinite(b):  # a record has no other word for what is not finite
            return a is None and not math.isfinite(b)
        return math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-6)

    return ", ".join(
        f"{name} was {stored[name]} and is {now[name]}"
        for name in now
        if name in stored and not same(stored[name], now[name])
    )


def run_trials(
    plan: Plan,
    store: Store,
    trials: Sequence[Trial],
    executor: Executor,
    on_event: Callable[[Event], None],
) -> None:
    """Run trials and store each record as it comes; ``on_event`` hears every event after that.

    Raises:
        ResultsFolderError: the folder cannot be written, or was moved (``Store.check_in_place``).
    """
    start, git_commit = _now(), _git_commit()
    known = set(map(trial_names(plan.study), plan.study.trials()))

    def handle(event: Event) -> None:
        store.check_in_place()
        if isinstance(event, Finished):
            store.write_record(event.record)
            with store.locked_briefly():
                _note_trial(store, known, start, git_commit, event)
        on_event(event)

    ordered = longest_first(trials)
    store.make_checkpoints_folder()
    executor.run(plan.study, ordered, plan.data_folder, handle, store.checkpoints)


def stored_elsewhere(plan: Plan, store: Store) -> list[str]:
    """Return a line for each environment other than this one that stored trials are from."""
    stored = [r for r in store.records(plan.study).values() if r.status != "crashed"]
    counts = Counter(record.environment for record in stored)
    here = environment_of(plan.study.device, plan.study.kernels)
    found = differences(counts, store.environment()["environments"], here)
    return [
        f"{counts[name]} of {len(stored)} stored trials were computed in another environment "
        f"than this one: {difference}"
        for name, difference in found.items()
    ]


def longest_first(trials: Iterable[Trial]) -> list[Trial]:
    """Return the trials, each seed's longest first, so that the last worker is done sooner.

    An activation that a network cannot apply after the pool touches four times as many values. The
    seeds keep their order: an interrupted study holds whole pairs.
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


def make_executor(study: Study, options: RunOptions) -> Executor:
    """Return what runs a study's trials.

    On the processor: worker processes, one per core unless ``options.workers`` says how many, or
    this process where that is 0. On GPUs: a process per GPU, with an equal part of ``workers``
    trials under way, ``TRIALS_ON_A_GPU`` each unless given.

    Raises:
        UsageError: Ray is not installed or asked for GPUs, or the device does not exist.
    """
    device, trials = resolve_device(study.device, study.precision), len(study.trials())
    workers, timeout = options.workers, options.trial_timeout
    if options.executor == "ray":
        if device == "cuda":
            raise UsageError(
                "Ray runs trials on processors only, and device is cuda; it must be cpu, or the "
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
    """Make the corrupted test sets that all trials share, where they are not there yet."""
    from actbench.corruptions.test_sets import corrupted_test_images
    from actbench.data.images import study_images

    if plan.study.cifar10c:
        return
    data = study_images(plan.data_folder, plan.study)
    for name in plan.study.corruptions:
        for severity in SEVERITIES:
            corrupted_test_images(data, name, severity)


def write_samples(plan: Plan, store: Store) -> None:
    """Store the first test image under every corruption and severity, for the report to show."""
    from actbench.corruptions.test_sets import corrupted_test_images
    from actbench.data.images import study_images

    if not plan.study.corruptions:
        return
    data, folder = study_images(plan.data_folder, plan.study), plan.study.cifar10c
    samples = {}
    for name in plan.study.corruptions:
        samples[name, 0] = data.test_images[0].numpy()
        for severity in SEVERITIES:
            samples[name, severity] = corrupted_test_images(data, name, severity, folder)[0].numpy()
    store.write_bytes(SAMPLES_FILE, samples_to_png(samples))


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _note_trial(
    store: Store, known: Container[str], start: str, git_commit: str, done: Finished
) -> None:
    """Add a trial to what the folder says of when, where and how fast the study ran."""
    stored = store.environment()
    environments = stored["environments"]
    if done.environment:
        now = {**done.environment, "git_commit": git_commit}
        environments = with_batch(environments, now, start, _now())
    seconds = {name: took for name, took in stored["seconds"].items() if name in known}
    seconds[done.record.trial_id] = round(done.seconds, 2)
    store.write_environment({"environments": environments, "seconds": seconds})


def _git_commit() -> str:
    """Return the commit of the code that runs, with ``+`` where it was changed; empty if none."""
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
    # an installed copy may lie inside somebody else's repository
    return done.stdout.strip() if done.returncode == tracked.returncode == 0 else ""
