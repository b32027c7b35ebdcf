"""Which kernels a study computes with: PyTorch's alone, or the native one as well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actbench.conv_pool import prepare
from actbench.errors import UsageError
from actbench.models import has_native_step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actbench.activations import ActivationFactory
    from actbench.study import Study


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
