"""Network specs → functions that build networks around an activation factory."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from actbench.models.networks.cnn import CNN, DeepCNN
from actbench.models.networks.imported import import_network
from actbench.models.networks.layers import overwriting
from actbench.models.networks.libraries import (
    LIBRARIES,
    timm_network,
    torchvision_network,
)
from actbench.models.networks.mlp import MLP
from actbench.models.networks.nin import NiN
from actbench.models.networks.resnet import CifarResNet, ResNet18
from actbench.models.networks.squeezenet import SqueezeNet
from actbench.models.networks.vgg import CONVOLUTIONS, VGG
from actbench.models.networks.vit import ViT
from actbench.models.networks.wrn import WideResNet
from actbench.study.fields import Rule, integer
from actbench.study.registry import Entry, Parameter, Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from actbench.models.activations import ActivationFactory
    from actbench.models.networks.libraries import PlainBuilder

    NetworkFactory = Callable[[ActivationFactory, int, int], nn.Module]


def _cifar_resnet(blocks: int) -> Entry[Callable[..., nn.Module]]:
    build = partial(CifarResNet, blocks=blocks)
    return Entry(build, "He et al. 2016's for CIFAR, with batch norm")


MODELS: Registry[Callable[..., Any]] = Registry(
    "model",
    cnn=Entry(CNN, "two convolutions and two linear layers"),
    deep_cnn=Entry(
        DeepCNN,
        "a plain stack of 3×3 convolutions, deep_cnn:depth=N, where gradients vanish",
        {"depth": Parameter(12, integer(3, high=200))},
    ),
    resnet20=_cifar_resnet(blocks=3),
    resnet32=_cifar_resnet(blocks=5),
    resnet44=_cifar_resnet(blocks=7),
    resnet56=_cifar_resnet(blocks=9),
    resnet18=Entry(ResNet18, "He et al. 2016's for ImageNet, with a first layer for small images"),
    wrn=Entry(
        WideResNet,
        "Zagoruyko and Komodakis 2016's wide residual networks",
        {
            "depth": Parameter(
                16, Rule(lambda v: v % 6 == 4 and 10 <= v <= 100, "6 n + 4, from 10 to 100")
            ),
            "width": Parameter(4, integer(1, high=20)),
        },
    ),
    vgg=Entry(
        VGG,
        "Simonyan and Zisserman 2015's convolutions and one linear layer",
        {
            "depth": Parameter(11, Rule(lambda v: v in CONVOLUTIONS, "one of 11, 13, 16, 19")),
            "batch_norm": Parameter(False),
        },
    ),
    squeezenet=Entry(SqueezeNet, "Iandola et al. 2016's for small images, with batch norm"),
    nin=Entry(NiN, "Lin et al. 2014's Network in Network, with dropout"),
    mlp=Entry(
        MLP,
        "hidden linear layers",
        {
            "depth": Parameter(3, integer(1, high=200)),
            "width": Parameter(512, integer(1, high=10**5)),
        },
    ),
    vit=Entry(
        ViT,
        "a small vision transformer, Dosovitskiy et al. 2021",
        {
            "patch": Parameter(4, integer(1, high=1000)),
            "width": Parameter(192, integer(1, high=10**4)),
            "depth": Parameter(6, integer(1, high=100)),
            "heads": Parameter(3, integer(1, high=1000)),
        },
        Rule(lambda p: p["width"] % p["heads"] == 0, "heads must divide width"),
    ),
    torchvision=Entry(
        torchvision_network,
        "torchvision:NAME, any of torchvision's for classification, its activations replaced",
        {"name": Parameter("")},
    ),
    timm=Entry(
        timm_network,
        "timm:NAME, any of timm's, its activations replaced; needs timm",
        {"name": Parameter("")},
    ),
    importable=True,
)


def resolve_model(text: str) -> tuple[str, NetworkFactory]:
    """Return a network spec's canonical text and the function that builds such networks.

    The function takes an activation factory, the number of classes and the side of the images in
    pixels. A user's own, named by import path, gets the side only if it has a parameter
    ``image_size``. If it takes no activation factory, or if the network is torchvision's or timm's,
    its own activations are replaced after it is built.

    Raises:
        UsageError: the name or a parameter is unknown, or the import fails.
    """
    text, build, plain = _resolved(text)
    if plain is None:
        return text, build

    from actbench.models.swap import converted

    return text, lambda activation, classes, image_size: converted(
        f"model {text!r}", plain, activation, classes, image_size
    )


def resolve_unconverted(text: str) -> NetworkFactory:
    """Return what ``resolve_model`` does, but for a network with its own activations if it has any.

    Raises:
        UsageError: as ``resolve_model``.
    """
    return _resolved(text)[1]


def _resolved(text: str) -> tuple[str, NetworkFactory, PlainBuilder | None]:
    """Return the canonical text, the function that builds it, and that without an activation."""
    spec = MODELS.parse(text)
    plain: PlainBuilder | None = None
    if spec.imported:
        own = import_network(spec)
        text = spec.canonical(own.parameters)
        if own.takes_factory:
            return text, own.build, None
        plain = own.plain_builder
    else:
        given: dict[str, Any] = MODELS.bind(spec)
        text = spec.canonical(given, main="name")
        if spec.name in LIBRARIES:
            plain = MODELS[spec.name].target(given.get("name", ""))
    if plain is not None:
        return text, lambda _, classes, image_size: plain(classes, image_size), plain
    entry = MODELS[spec.name]
    parameters = {**entry.defaults, **given}

    def build(activation: ActivationFactory, classes: int, image_size: int) -> nn.Module:
        # nothing else in these networks reads the input of an activation
        overwrites = replace(activation, build=lambda: overwriting(activation.build()))
        return entry.target(overwrites, classes, image_size, **parameters)  # type: ignore[no-any-return]

    return text, build, None
