"""A study checked and resolved before any training: names, data, kernels."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from actbench.errors import UsageError
from actbench.execution.trials import _prepared
from actbench.models.native.conv_pool import prepare
from actbench.models.networks import build_network, has_native_step
from actbench.study.study import Trial
from actbench.training.steps import Steps

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from actbench.data.images import ImageData
    from actbench.models.activations import ActivationFactory
    from actbench.study.study import Study
if TYPE_CHECKING:
    from collections.abc import Sequence

    from actbench.models.activations import ActivationCheck, ActivationFactory
    from actbench.store.store import Store
    from actbench.study.study import Study

TIMED_STEPS = 3
ROUNDS = 3


def slow_bfloat16(study: Study, activation: ActivationFactory, data: ImageData) -> str:
    """Return a warning that this processor has no bfloat16 arithmetic, with a measured ratio.

    It is that of the shortest times of ``TIMED_STEPS`` training steps on one thread, of as many
    ``ROUNDS`` for each precision in turn.
    """
    few = data.train_subset(min(TIMED_STEPS * study.batch_size, len(data.train_images)))
    seconds: dict[str, list[float]] = {"bf16": [], "fp32": []}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            for _ in range(ROUNDS):
                for precision, times in seconds.items():
                    network, _ = build_network(study.model, activation, len(data.classes), 0)
                    timed = dataclasses.replace(study, precision=precision)
                    steps = Steps(network, few, timed, Trial(activation.spec, 0))
                    begin = time.perf_counter()
                    list(steps.begin(1))
                    times.append(time.perf_counter() - begin)
    finally:
        torch.set_num_threads(threads)
    ratio = min(seconds["bf16"]) / min(seconds["fp32"])
    return (
        "precision is bf16, and this processor has no bfloat16 arithmetic: a training step of "
        f"{study.model} with {activation.spec} takes {ratio:.2g} times as long as in fp32, as just "
        "measured; with precision auto it would be fp32"
    )


def resolve_kernels(
    study: Study, activations: Sequence[ActivationFactory], num_classes: int
) -> tuple[str, str]:
    """Return ``native`` or ``torch``, and what there is to say of it, empty if nothing.

    ``auto`` is ``native`` where a network of the study has a step that it computes, on a processor
    and in fp32, and where this machine can compile it.

    Raises:
        UsageError: ``native`` was asked for and cannot be.
    """
    if study.kernels == "torch":
        return "torch", ""
    asked = study.kernels == "native"
    for name, can, words in (("device", "cpu", "on the CPU"), ("precision", "fp32", "in fp32")):
        other = getattr(study, name)
        if other != can and asked:
            raise UsageError(
                f"kernels is native, which computes {words} alone, and {name} is {other}; it must "
                "be auto or torch"
            )
        if other != can:
            return "torch", ""
    if not asked and not has_native_step(study.model, activations, num_classes):
        return "torch", ""
    try:
        prepare()
    except UsageError as error:
        if asked:
            raise UsageError(f"kernels is native, but {error}; torch needs none") from None
        return "torch", f"{error}, so PyTorch's kernels compute all, in more time"
    return "native", ""


@dataclass(frozen=True)
class Plan:
    """A study whose names are resolved and whose data is there: ready to run.

    ``checks`` holds each activation's self-check; ``data_folder`` the prepared arrays; ``note`` is
    what a user should know besides, empty if nothing.
    """

    study: Study
    data_folder: Path
    checks: dict[str, ActivationCheck]
    note: str = ""


def prepare_study(study: Study) -> Plan:
    """Return the plan for a study, after everything that can be wrong with it was looked at.

    Raises:
        UsageError: a name, a parameter or the data is wrong.
    """
    from actbench.models.global_state import settings_kept

    with settings_kept(fresh=True):
        return _prepared(study)


def keep_resolved(study: Study, store: Store) -> Study:
    """Return the study, what is ``auto`` in it as in the study that the store holds.

    Raises:
        ResultsFolderError: the stored study cannot be read.
    """
    names = [name for name in ("device", "kernels", "precision") if getattr(study, name) == "auto"]
    if not names or not store.holds_study():
        return study
    stored = store.study()
    return dataclasses.replace(study, **{name: getattr(stored, name) for name in names})
