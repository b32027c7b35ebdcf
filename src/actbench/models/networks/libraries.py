"""Networks of torchvision and timm by name, without trained weights."""

from __future__ import annotations

import difflib
import functools
from typing import TYPE_CHECKING, Any

from actbench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

    PlainBuilder = Callable[[int, int], nn.Module]


@functools.cache
def torchvision_network(name: str) -> PlainBuilder:
    """Return the function of (number of classes, side of the images) that builds a network.

    Transformers are built for the side of the images, the others as they are; auxiliary outputs
    are switched off.

    Raises:
        UsageError: torchvision has no network of this name for classification.
    """
    from torchvision import models

    names = models.list_models(module=models)
    if name not in names:
        raise _unknown("torchvision", name, names)
    build = models.get_model_builder(name)

    def network(classes: int, image_size: int) -> nn.Module:
        options: dict[str, Any] = {"num_classes": classes}
        if name.startswith("vit_"):
            options["image_size"] = image_size
        if name.startswith("maxvit"):
            options["input_size"] = (image_size, image_size)
        if name in ("googlenet", "inception_v3"):
            options |= {"aux_logits": False, "init_weights": True}
        return build(weights=None, **options)  # type: ignore[no-any-return]

    return network


@functools.cache
def timm_network(name: str) -> PlainBuilder:
    """Return the function of (number of classes, side of the images) that builds a network.

    Networks whose size of images is fixed are built for the side of the images.

    Raises:
        UsageError: timm is not installed, or has no network of this name.
    """
    try:
        import timm
    except ImportError:
        raise UsageError(
            f"model 'timm:{name}' needs timm; install actbench with the extra timm"
        ) from None
    if not timm.is_model(name):
        raise _unknown("timm", name, timm.list_models())
    about = timm.models.get_pretrained_cfg(name)
    fixed = about is not None and about.fixed_input_size

    def network(classes: int, image_size: int) -> nn.Module:
        size: dict[str, Any] = {"img_size": image_size} if fixed else {}
        built: nn.Module = timm.create_model(name, num_classes=classes, **size)
        return built

    return network


def _unknown(library: str, name: str, names: Sequence[str]) -> UsageError:
    if not name:
        return UsageError(f"model {library!r} needs a name, such as {library}:resnet18")
    close = difflib.get_close_matches(name, names, n=3)
    hint = f"; close names are {', '.join(close)}" if close else f"; it has {len(names)} others"
    return UsageError(f"model '{library}:{name}': {library} has no such network{hint}")


LIBRARIES = ("torchvision", "timm")  # entries of ``MODELS``
