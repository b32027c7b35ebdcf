"""Which kernels a study computes with: PyTorch's alone, or the native one as well."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

import torch

from actbench.conv_pool import prepare
from actbench.errors import UsageError
from actbench.models import build_network, has_native_step
from actbench.steps import Steps
from actbench.study import Trial

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actbench.activations import ActivationFactory
    from actbench.data import ImageData
    from actbench.study import Study


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


def settle_kernels(
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
