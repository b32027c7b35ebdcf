"""Code in a study that is not actbench's: which specs name it, its checksum or version."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from actbench.errors import ResultsFolderError, SourceChangedError, UsageError
from actbench.models.networks.libraries import LIBRARIES
from actbench.models.networks.registry import MODELS
from actbench.models.user_code import code_of, import_object, release
from actbench.study.activations import ACTIVATIONS
from actbench.study.specs import is_import_path, parse_spec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actbench.models.activations import ActivationFactory
    from actbench.study.study import Study


def is_external(model: str, activation: ActivationFactory) -> bool:
    """Return whether the network or the activation is the user's own code or another library's."""
    spec = MODELS.parse(model)
    external = spec.imported or spec.name in LIBRARIES
    return external or ACTIVATIONS.parse(activation.spec).imported


def study_code(
    model: str, activations: Iterable[str], corruptions: Iterable[str] = ()
) -> tuple[tuple[str, str], ...]:
    """Return each spec that is the user's own code, with the checksum or version of its source.

    All of them are imported. See ``user_code.code_of``; a spec without either is left out. A
    network of timm is included with timm's version; torchvision's is stored with every study.

    Raises:
        UsageError: an import fails, or a source has changed since it was imported.
    """
    specs = {text: ACTIVATIONS.parse(text) for text in activations}
    specs[model] = MODELS.parse(model)
    specs |= {
        text: parse_spec(text, "corruption", ()) for text in filter(is_import_path, corruptions)
    }
    for spec in specs.values():
        if spec.imported:
            import_object(spec)
    named = {text: code_of(spec) for text, spec in specs.items() if spec.imported}
    if specs[model].name == "timm":
        named[model] = release("timm")
    return tuple((text, code) for text, code in sorted(named.items()) if code)


@functools.lru_cache(maxsize=8)
def import_code(study: Study) -> None:
    """Import all of a study's code, so that no trial depends on which ran first.

    Raises:
        SourceChangedError: the code has changed since the study was prepared.
        ResultsFolderError: an import fails.
    """
    try:
        now = dict(study_code(study.model, study.activations, study.corruptions))
    except UsageError as error:
        raise ResultsFolderError(f"a worker cannot import the study's code: {error}") from None
    used = {study.model, *study.activations, *study.corruptions}
    for text, code in study.code:
        if text in used and now.get(text) != code:
            raise SourceChangedError(text)
