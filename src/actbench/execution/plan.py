"""The plan of a study: names, data and kernels, checked and resolved before any training."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actbench.analysis.claims import read_claim
from actbench.attacks.registry import expand as expand_attacks
from actbench.corruptions.own import check_own_corruptions
from actbench.corruptions.published import check_published
from actbench.corruptions.specs import expand as expand_corruptions
from actbench.data.datasets import DATASETS, resolve_dataset
from actbench.data.images import open_images, prepare, study_images
from actbench.errors import ResultsFolderError, UsageError
from actbench.execution.estimate import TIMED_STEPS, step_seconds
from actbench.execution.events import Stage
from actbench.execution.network_check import check_networks
from actbench.files.cache import cache_limit
from actbench.models.activations import check_activation, resolve_activation
from actbench.models.build import build_network, has_native_step
from actbench.models.global_state import changes, settings_kept
from actbench.models.initialisation import gain_of
from actbench.models.native.compiled import prepare as compile_kernels
from actbench.models.networks.libraries import LIBRARIES
from actbench.models.networks.registry import resolve_model
from actbench.models.study_code import study_code
from actbench.models.user_code import module_file
from actbench.study.levels import is_name
from actbench.study.specs import is_import_path
from actbench.training.devices import has_bfloat16, resolve_device, resolve_precision
from actbench.training.diagnostics import GradientNorms
from actbench.training.recipe import resolve_recipe, trained_images

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from actbench.data.images import ImageData
    from actbench.execution.events import Event
    from actbench.models.activations import ActivationCheck, ActivationFactory
    from actbench.store.store import Store
    from actbench.study.study import Study

ROUNDS = 3


@dataclass(frozen=True)
class Plan:
    """A study that is ready to run.

    Attributes:
        study: the study, every name in it resolved.
        data_folder: the folder of the prepared arrays.
        checks: each activation's self-check.
        note: warnings for the user, a line each; empty if there are none.
    """

    study: Study
    data_folder: Path
    checks: dict[str, ActivationCheck]
    note: str = ""


def prepare_study(study: Study, on_event: Callable[[Event], None] = lambda event: None) -> Plan:
    """Return the plan for a study after checking all of it; ``on_event`` gets what takes time.

    Raises:
        UsageError: a name, a parameter or the data is wrong.
    """
    with settings_kept(fresh=True):
        return _prepared(study, on_event)


def _prepared(study: Study, on_event: Callable[[Event], None]) -> Plan:
    cache_limit()  # raises if it is invalid
    if study.claim:
        read_claim(study.claim)  # raises if there is none
    factories = [resolve_activation(spec) for spec in (study.baseline, *study.activations)]
    _check_different(study.activations, factories[1:])
    model, _ = resolve_model(study.model)
    names = expand_corruptions(study.corruptions, study.cifar10c)
    code = study_code(model, [factory.spec for factory in factories], names)
    for name, checksum in study.code:
        if dict(code).get(name, checksum) != checksum:
            raise UsageError(
                f"the source of {name} has changed since the study was made; "
                "remove code from the configuration to run the present source"
            )
    if study.init == "slope_aware":
        for factory in factories:
            gain_of(factory)  # raises if it has no gain
    rates = tuple((resolve_activation(a).spec, rate) for a, rate in study.learning_rates)
    tuned = tuple((resolve_activation(a).spec, rate, decay) for a, rate, decay in study.tuned)
    checks = {factory.spec: check_activation(factory) for factory in factories}
    data_folder = prepare(
        study.dataset,
        study.data_dir,
        study.image_size,
        lambda done, count: on_event(Stage("reading images", done, count)),
    )
    read, data = open_images(data_folder), study_images(data_folder, study)
    checksum, own_size = read.checksum, read.own_size
    if study.data_checksum not in ("", checksum):
        raise UsageError(
            f"the data is not the study's: its checksum is {checksum}, "
            f"and the study was made with {study.data_checksum}"
        )
    check_own_corruptions(names, data.test_images)
    published = _published_files(study, names, data)
    attacks = expand_attacks(study.attacks, study.epsilons, len(data.classes))
    device = resolve_device(study.device, study.precision)
    precision = resolve_precision(study.precision, device, study.kernels)
    study = dataclasses.replace(study, model=model, device=device, precision=precision)
    study = resolve_recipe(study, data)
    counts = [trained_images(study, data)]
    if study.tune_lr or study.tune:
        counts.append(trained_images(study, data.validation_split(data.tuning_images)))
    on_event(Stage("checking the networks"))
    with settings_kept():
        notes = check_networks(study, factories, data, counts)
        kernels, note = resolve_kernels(
            study, factories, len(data.classes), data.image_size, on_event
        )
        if precision == "bf16" and device == "cpu" and not has_bfloat16("cpu"):
            notes.append(slow_bfloat16(study, factories[0], data))
    dataset = resolve_dataset(study.dataset)
    specs = [model, *(factory.spec for factory in factories), *filter(is_import_path, names)]
    specs += [dataset] if DATASETS.parse(dataset).imported else []
    notes += [*_sources(specs), *changes(specs), *([note] if note else [])]
    resolved = dataclasses.replace(
        study,
        baseline=factories[0].spec,
        activations=tuple(factory.spec for factory in factories[1:]),
        learning_rates=rates,
        tuned=tuned,
        kernels=kernels,
        corruptions=names,
        attacks=attacks,
        code=code,
        dataset=dataset,
        image_size=0 if study.image_size == own_size else study.image_size,
        data_checksum=checksum,
        data_notes=read.notes,
        cifar10c_checksums=published,
    )
    return Plan(resolved, data_folder, checks, "\n".join(notes))


def _published_files(
    study: Study, names: Sequence[str], data: ImageData
) -> tuple[tuple[str, str], ...]:
    """Return the published file of each corruption with its checksum, after checking them."""
    published: tuple[tuple[str, str], ...] = ()
    if study.cifar10c:
        shape = data.test_images.shape[1:]
        read_from_files = [name for name in names if is_name(name)]
        published = check_published(study.cifar10c, read_from_files, data.test_labels, shape)
    for name, expected in study.cifar10c_checksums:
        found = dict(published).get(name, expected)
        if found != expected:
            raise UsageError(
                f"the published file of {name} is not the study's: its checksum is {found}, and "
                f"the study was made with {expected}"
            )
    return published


def _sources(specs: Sequence[str]) -> list[str]:
    """Return a note for each module of the user's own code: the file that it is read from."""
    modules = dict.fromkeys(text.partition(":")[0] for text in specs)
    files = {name: module_file(name) for name in modules if name not in LIBRARIES}
    return [f"{name} is read from {file}" for name, file in files.items() if file is not None]


def _check_different(texts: Sequence[str], factories: Sequence[ActivationFactory]) -> None:
    """Raise a UsageError if two texts, such as leaky_relu and leaky_relu:0.01, mean the same."""
    seen: dict[str, str] = {}
    for text, factory in zip(texts, factories, strict=True):
        if factory.full_spec in seen:
            raise UsageError(
                f"activations {seen[factory.full_spec]!r} and {text!r} are the same; name it once"
            )
        seen[factory.full_spec] = text


def check_stored(plan: Plan, store: Store) -> None:
    """Check that the activations' self-checks and the networks' layers are those of the records.

    Raises:
        ResultsFolderError: they are not, or a record cannot be read.
    """
    layers: dict[str, list[str]] = {}
    for record in store.open(plan.study).records().values():
        spec = record.activation
        found = _different(record.activation_check, dataclasses.asdict(plan.checks[spec]))
        if found and not _draws(resolve_activation(spec)):
            raise ResultsFolderError(
                f"{str(store.folder)!r} holds trials of another {spec}: {found} "
                "(choose another folder with --out, or start over with --restart)"
            )
        if spec not in layers:
            factory, data = resolve_activation(spec), open_images(plan.data_folder)
            with settings_kept():
                network, _ = build_network(
                    plan.study.model, factory, len(data.classes), 0, image_size=data.image_size
                )
            layers[spec] = GradientNorms(network).layers
        for epoch in record.history[:1]:
            if list(epoch.grad_norms) != layers[spec]:
                raise ResultsFolderError(
                    f"{str(store.folder)!r} holds trials of another network than "
                    f"{plan.study.model}: its layers were {', '.join(epoch.grad_norms)} and are "
                    f"{', '.join(layers[spec])} now (choose another folder with --out, or start "
                    "over with --restart)"
                )


def _draws(factory: ActivationFactory) -> bool:
    """Return whether an activation's self-check depends on random numbers."""
    return check_activation(factory, seed=1) != check_activation(factory, seed=2)


def _different(stored: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return which values of a self-check differ by more than rounding; empty if none do."""

    def same(a: float | None, b: float) -> bool:
        if a is None or not math.isfinite(b):  # a record stores None for what is not finite
            return a is None and not math.isfinite(b)
        return math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-6)

    return ", ".join(
        f"{name} was {stored[name]} and is {now[name]}"
        for name in now
        if name in stored and not same(stored[name], now[name])
    )


def slow_bfloat16(study: Study, activation: ActivationFactory, data: ImageData) -> str:
    """Return a warning that this processor has no bfloat16 arithmetic, with the measured slowdown.

    The slowdown is the ratio of the shortest of ``ROUNDS`` times of a training step on one thread
    (see ``step_seconds``), the precisions measured in turn.
    """
    seconds: dict[str, list[float]] = {"bf16": [], "fp32": []}
    for _ in range(ROUNDS):
        for precision, times in seconds.items():
            timed = dataclasses.replace(study, precision=precision, kernels="torch")
            times.append(step_seconds(timed, activation.spec, data, TIMED_STEPS))
    ratio = min(seconds["bf16"]) / min(seconds["fp32"])
    return (
        "precision is bf16, and this processor has no bfloat16 arithmetic: a training step of "
        f"{study.model} with {activation.spec} takes {ratio:.2g} times as long as in fp32, as just "
        "measured; with precision auto it would be fp32"
    )


def resolve_kernels(
    study: Study,
    activations: Sequence[ActivationFactory],
    num_classes: int,
    image_size: int,
    on_event: Callable[[Event], None] = lambda event: None,
) -> tuple[str, str]:
    """Return ``native`` or ``torch``, and a note for the user, which may be empty.

    ``auto`` is ``native`` if a network of the study has a step with a native kernel, the study runs
    on the CPU in fp32, and this machine can compile the kernel.

    Raises:
        UsageError: ``native`` was asked for and is not possible.
    """
    if study.kernels == "torch":
        return "torch", ""
    asked = study.kernels == "native"
    for name, supported, words in (
        ("device", "cpu", "on the CPU"),
        ("precision", "fp32", "in fp32"),
    ):
        other = getattr(study, name)
        if other != supported and asked:
            raise UsageError(
                f"kernels is native, which computes only {words}, and {name} is {other}; it must "
                "be auto or torch"
            )
        if other != supported:
            return "torch", ""
    if not asked and not has_native_step(
        study.model, activations, num_classes, image_size=image_size
    ):
        return "torch", ""
    on_event(Stage("compiling kernels"))
    try:
        compile_kernels()
    except UsageError as error:
        if asked:
            raise UsageError(f"kernels is native, but {error}; torch needs none") from None
        return "torch", f"{error}, so PyTorch's slower kernels are used"
    return "native", ""
