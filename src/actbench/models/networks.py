"""Network names → networks for square colour images, built around an activation factory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from actbench.errors import UsageError
from actbench.models.native.conv_pool import conv_pool
from actbench.models.user_code import import_network, takes_image_size
from actbench.study.fields import integer
from actbench.study.registry import Entry, Parameter, Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from actbench.models.activations import ActivationFactory

    NetworkFactory = Callable[[ActivationFactory, int, int], nn.Module]

IMAGE_SIZE = 32


class PoolingConv2d(nn.Conv2d):
    """``max_pool2d(conv2d(x, weight, bias, padding=1), 2)`` for x (N, C, H, W) and 3×3 filters.

    ``kernels`` is ``torch``, or ``native`` for the single operation ``conv_pool``, which takes
    images of even height and width only.
    """

    bias: torch.Tensor
    kernels = "torch"

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__(channels_in, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return shape (N, K, H // 2, W // 2)."""
        if self.kernels == "native" and x.shape[2] % 2 == x.shape[3] % 2 == 0:
            return conv_pool(x, self.weight, self.bias)
        return max_pool(super().forward(x))


class ActivationPool(nn.Module):
    """The activation and a 2×2 max-pool, for x of shape (N, C, H, W); see ``pooled_layers``."""

    def __init__(self, activation: ActivationFactory) -> None:
        super().__init__()
        self.activation = activation()
        self.pooled_before = activation.commutes_with_max

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return shape (N, C, H // 2, W // 2), or that of x if it is pooled already."""
        x = self.activation(x)
        return x if self.pooled_before else max_pool(x)


def pooled_layers(
    activation: ActivationFactory, channels_in: int, channels: int
) -> tuple[nn.Conv2d, ActivationPool]:
    """Return a 3×3 convolution, and the activation and 2×2 max-pool after it.

    If the two commute to the last bit, the pool comes first, with the convolution: the activation
    then computes a quarter of the elements.
    """
    if activation.commutes_with_max:
        return PoolingConv2d(channels_in, channels), ActivationPool(activation)
    return nn.Conv2d(channels_in, channels, 3, padding=1), ActivationPool(activation)


def max_pool(x: torch.Tensor) -> torch.Tensor:
    """Return ``max_pool2d(x, 2)`` for x of shape (N, C, H, W).

    Without a graph, which needs the positions of the maxima, comparing rows and then columns gives
    the same values in less time.
    """
    if x.requires_grad:
        return F.max_pool2d(x, 2)
    height, width = x.shape[-2] // 2 * 2, x.shape[-1] // 2 * 2
    rows = torch.maximum(x[..., :height:2, :], x[..., 1:height:2, :])
    return torch.maximum(rows[..., :width:2], rows[..., 1:width:2])


def check_image_size(model: str, image_size: int, smallest: int) -> None:
    """Raise a UsageError if a network's images are smaller than it can take."""
    if image_size < smallest:
        raise UsageError(
            f"model {model!r} takes images of {smallest}×{smallest} pixels or more, not "
            f"{image_size}×{image_size}"
        )


class CNN(nn.Module):
    """Two 3×3 convolutions (16, 32 channels) with activation and 2×2 max-pool; two linear layers.

    The first linear layer takes the 32×8×8 = 2048 values, for images of 32×32 pixels, to 128 units
    with activation.
    """

    def __init__(
        self, activation: ActivationFactory, num_classes: int, image_size: int = IMAGE_SIZE
    ) -> None:
        super().__init__()
        check_image_size("cnn", image_size, 4)
        self.conv1, self.act1 = pooled_layers(activation, 3, 16)
        self.conv2, self.act2 = pooled_layers(activation, 16, 32)
        self.fc1 = nn.Linear(32 * (image_size // 4) ** 2, 128)
        self.act3 = activation()
        self.fc2 = nn.Linear(128, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (N, classes) for normalised images (N, 3, size, size)."""
        x = self.act1(self.conv1(x))
        x = self.act2(self.conv2(x))
        x = self.act3(self.fc1(x.flatten(1)))
        return self.fc2(x)  # type: ignore[no-any-return]


class DeepCNN(nn.Module):
    """A plain stack of ``depth`` 3×3 convolutions of 32 channels without normalisation.

    A 2×2 max-pool follows the convolutions at a third and two thirds of the depth; a linear layer
    takes the 32×8×8 values, for images of 32×32 pixels. It exists to show gradients that vanish
    with depth.
    """

    def __init__(
        self,
        activation: ActivationFactory,
        num_classes: int,
        image_size: int = IMAGE_SIZE,
        *,
        depth: int,
    ) -> None:
        super().__init__()
        check_image_size("deep_cnn", image_size, 4)
        pooled = {depth // 3, 2 * depth // 3}
        layers: dict[str, nn.Module] = {}
        for i in range(1, depth + 1):
            channels_in = 3 if i == 1 else 32
            if i in pooled:
                layers[f"conv{i}"], layers[f"act{i}"] = pooled_layers(activation, channels_in, 32)
            else:
                layers[f"conv{i}"] = nn.Conv2d(channels_in, 32, 3, padding=1)
                layers[f"act{i}"] = activation()
        layers["flatten"] = nn.Flatten()
        layers["fc"] = nn.Linear(32 * (image_size // 4) ** 2, num_classes)
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (N, classes) for normalised images (N, 3, size, size)."""
        for layer in self.children():
            x = layer(x)
        return x


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with batch norm and a parameter-free shortcut (option A)."""

    def __init__(self, activation: ActivationFactory, channels_in: int, channels: int) -> None:
        super().__init__()
        stride = 1 if channels_in == channels else 2
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.act1 = activation()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.act2 = activation()
        self.added_channels = channels - channels_in

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return shape (N, channels, H / stride, W / stride)."""
        y = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x)))))
        if self.added_channels:
            half = self.added_channels // 2
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, self.added_channels - half))
        return self.act2(y + x)  # type: ignore[no-any-return]


class ResNet20(nn.Module):
    """ResNet-20 for CIFAR (He, Zhang, Ren and Sun 2016, section 4.2).

    Its convolutions are initialised as there: Kaiming normal with ReLU's gain for any activation.
    """

    def __init__(
        self, activation: ActivationFactory, num_classes: int, image_size: int = IMAGE_SIZE
    ) -> None:
        super().__init__()
        check_image_size("resnet20", image_size, 1)
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.act1 = activation()
        widths = [(16, 16)] * 3 + [(16, 32)] + [(32, 32)] * 2 + [(32, 64)] + [(64, 64)] * 2
        self.blocks = nn.Sequential(*(ResidualBlock(activation, a, b) for a, b in widths))
        self.fc = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (N, classes) for normalised images (N, 3, size, size)."""
        x = self.blocks(self.act1(self.bn1(self.conv1(x))))
        return self.fc(x.mean((2, 3)))  # type: ignore[no-any-return]


MODELS: Registry[Callable[..., nn.Module]] = Registry(
    "model",
    cnn=Entry(CNN, "two convolutions and two linear layers"),
    deep_cnn=Entry(
        DeepCNN,
        "a plain stack of 3×3 convolutions, deep_cnn:depth=N, where gradients vanish",
        {"depth": Parameter(12, integer(3, high=200))},
    ),
    resnet20=Entry(ResNet20, "He et al. 2016's for CIFAR, with batch norm"),
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
