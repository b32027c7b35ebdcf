"""The user's functions and classes that build networks: how each is called."""

from __future__ import annotations

import functools
import inspect
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

from actbench.errors import UsageError
from actbench.models.user_code import import_object

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import nn

    from actbench.models.activations import ActivationFactory
    from actbench.models.networks.libraries import PlainBuilder
    from actbench.study.specs import Spec, Value

# names of a parameter for the number of classes
CLASSES = (
    "num_classes",
    "classes",
    "n_classes",
    "nb_classes",
    "num_class",
    "n_class",
    "class_num",
    "nclass",
    "nclasses",
    "num_labels",
    "n_labels",
    "num_outputs",
)


@dataclass(frozen=True)
class ImportedNetwork:
    """A user's function or class that builds networks.

    Attributes:
        function: what was imported.
        parameters: the parameters that the spec sets.
        takes_factory: whether it takes an activation factory and the number of classes; otherwise
            the activations of its network are replaced (see ``swap``).
        classes: the parameter for the number of classes if it takes no factory; empty if none.
        sized: whether it gets the side of the images, as ``image_size``.
    """

    function: Callable[..., nn.Module]
    parameters: Mapping[str, Value]
    _: KW_ONLY
    takes_factory: bool
    classes: str = ""
    sized: bool = False

    def build(self, activation: ActivationFactory, classes: int, image_size: int) -> nn.Module:
        """Return the network that is built around an activation factory."""
        size = {"image_size": image_size} if self.sized else {}
        return self.function(activation, classes, **size, **self.parameters)

    @property
    def plain_builder(self) -> PlainBuilder:
        """The function of (classes, side of the images) that builds it with its own activations.

        It is the same object for the same function and parameters.
        """
        return _plain_builder(
            self.function, tuple(self.parameters.items()), self.classes, self.sized
        )


@functools.lru_cache(maxsize=16)
def _plain_builder(
    function: Callable[..., nn.Module],
    parameters: tuple[tuple[str, Value], ...],
    classes_as: str,
    sized: bool,
) -> PlainBuilder:
    def build(classes: int, image_size: int) -> nn.Module:
        given: dict[str, Any] = {classes_as: classes} if classes_as else {}
        size = {"image_size": image_size} if sized else {}
        return function(**given, **size, **dict(parameters))

    return build


def import_network(spec: Spec) -> ImportedNetwork:
    """Return the user's function or class that builds networks.

    It takes an activation factory if it can be called with (factory, classes) and its first
    parameter has ``act`` in its name, or has no default and no name of ``CLASSES``.

    Raises:
        UsageError: the import fails, or what it gives cannot be called with the spec's parameters
            and an activation factory and a number of classes, or one or none of these.
    """
    from torch import nn

    function = import_object(spec)
    if not callable(function) or isinstance(function, nn.Module):
        raise UsageError(
            f"model {spec.name!r} must be a callable of (activation factory, number of classes), "
            "or of the number of classes"
        )
    if spec.value is not None:
        raise UsageError(f"model {spec.name!r}: give its parameters by name")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some built-in functions have none
        return ImportedNetwork(function, spec.parameters, takes_factory=True)
    sized = "image_size" in signature.parameters and "image_size" not in spec.parameters
    given: dict[str, Any] = {**({"image_size": "size"} if sized else {}), **spec.parameters}
    error = _cannot_bind(signature, "factory", "classes", **given)
    if not error and _is_for_factory(signature):
        return ImportedNetwork(function, spec.parameters, takes_factory=True, sized=sized)
    classes = _classes_parameter(signature, given)
    plain_error = _cannot_bind(signature, **{**({classes: "classes"} if classes else {}), **given})
    if plain_error:
        shown = str(signature) if len(str(signature)) <= 100 else f"{str(signature)[:97]}..."
        raise UsageError(
            f"model {spec.name!r} takes {shown}; it must take (activation factory, classes), or "
            f"the number of classes only, but there is: {error or plain_error}"
        )
    return ImportedNetwork(
        function, spec.parameters, takes_factory=False, classes=classes, sized=sized
    )


def _cannot_bind(signature: inspect.Signature, *arguments: Any, **named: Any) -> str:
    """Return why a signature does not take arguments; empty if it does."""
    try:
        signature.bind(*arguments, **named)
    except TypeError as error:
        return str(error)
    return ""


def _is_for_factory(signature: inspect.Signature) -> bool:
    first = next(iter(signature.parameters.values()))
    name = first.name.lower()
    if "act" in name:
        return True
    return first.default is inspect.Parameter.empty and name not in CLASSES


def _classes_parameter(signature: inspect.Signature, given: Mapping[str, Any]) -> str:
    """Return the parameter that gets the number of classes; empty if there is none left."""
    parameters = signature.parameters
    named = next((name for name in parameters if name.lower() in CLASSES), "")
    if named or set(given) & set(CLASSES):
        return "" if not named or named in given else named
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return "num_classes"
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    needed = [
        p.name
        for p in parameters.values()
        if p.default is inspect.Parameter.empty and p.kind in kinds and p.name not in given
    ]
    return needed[0] if len(needed) == 1 else ""
