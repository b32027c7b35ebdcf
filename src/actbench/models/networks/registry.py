"""Network specs → functions that build networks around an activation factory."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from actbench.models.networks.cnn import CNN, DeepCNN
from actbench.models.networks.mlp import MLP
from actbench.models.networks.nin import NiN
from actbench.models.networks.resnet import CifarResNet, ResNet18
from actbench.models.networks.squeezenet import SqueezeNet
from actbench.models.networks.vgg import CONVOLUTIONS, VGG
from actbench.models.networks.vit import ViT
from actbench.models.networks.wrn import WideResNet
from actbench.models.user_code import import_network, takes_image_size
from actbench.study.fields import Rule, integer
from actbench.study.registry import Entry, Parameter, Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from actbench.models.activations import ActivationFactory

    NetworkFactory = Callable[[ActivationFactory, int, int], nn.Module]


def _cifar_resnet(blocks: int) -> Entry[Callable[..., nn.Module]]:
    build = partial(CifarResNet, blocks=blocks)
    return Entry(build, "He et al. 2016's for CIFAR, with batch norm")


MODELS: Registry[Callable[..., nn.Module]] = Registry(
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
    importable=True,
)


def resolve_model(text: str) -> tuple[str, NetworkFactory]:
    """Return a network spec's canonical text and the function that builds such networks.

    The function takes an activation factory, the number of classes and the side of the images in
    pixels. A user's own, named by import path, gets the side only if it has a parameter
    ``image_size``.

    Raises:
        UsageError: the name or a parameter is unknown, or the import fails.
    """
    spec = MODELS.parse(text)
    given: dict[str, Any] = spec.parameters
    if spec.imported:
        own = import_network(spec)
        sized = takes_image_size(own) and "image_size" not in given

        def build_own(activation: ActivationFactory, classes: int, image_size: int) -> nn.Module:
            size = {"image_size": image_size} if sized else {}
            return own(activation, classes, **size, **given)  # type: ignore[no-any-return]

        return spec.canonical(given), build_own
    entry = MODELS[spec.name]
    given = MODELS.bind(spec)
    parameters = {**entry.defaults, **given}

    def build(activation: ActivationFactory, classes: int, image_size: int) -> nn.Module:
        return entry.target(activation, classes, image_size, **parameters)

    return spec.canonical(given), build
