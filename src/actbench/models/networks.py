"""Network names → networks for 3×32×32 images, built around an activation factory."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from actbench.errors import ResultsFolderError, UsageError
from actbench.models.activations import ACTIVATIONS
from actbench.models.initialisation import draw_weights, gain_of
from actbench.models.native.conv_pool import conv_pool
from actbench.models.user_code import code_of, import_object
from actbench.study.specs import parse_spec
from actbench.study.study import seed_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actbench.models.activations import ActivationFactory
    from actbench.study.specs import Spec
    from actbench.study.study import Study

    NetworkFactory = Callable[[ActivationFactory, int], nn.Module]

LAYOUT_NOTE = (
    "the code fails on images in channels_last memory (as .view does; .reshape would not), so it "
    "is given contiguous ones, which takes more time"
)


class PoolingConv2d(nn.Conv2d):
    """``max_pool2d(conv2d(x, weight, bias, padding=1), 2)`` for x (N, C, H, W) and 3×3 filters.

    ``kernels`` is ``torch``, or ``native`` for both as one operation, ``conv_pool``.
    """

    bias: torch.Tensor
    kernels = "torch"

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__(channels_in, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return shape (N, K, H // 2, W // 2)."""
        if self.kernels == "native":
            return conv_pool(x, self.weight, self.bias)
        return max_pool(super().forward(x))


class ActivationPool(nn.Module):
    """The activation and a 2×2 max-pool, for x of shape (N, C, H, W); see ``pooled_layers``."""

    def __init__(self, activation: ActivationFactory) -> None:
        super().__init__()
        self.activation = activation()
        self.pooled_before = activation.commutes_with_max

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return shape (N, C, H // 2, W // 2), or that of x where it is pooled already."""
        x = self.activation(x)
        return x if self.pooled_before else max_pool(x)


def pooled_layers(
    activation: ActivationFactory, channels_in: int, channels: int
) -> tuple[nn.Conv2d, ActivationPool]:
    """Return a 3×3 convolution, and activation and 2×2 max-pool after it.

    Where the two commute to the last bit, the pool goes first, with the convolution: the activation
    then touches a quarter of the elements.
    """
    if activation.commutes_with_max:
        return PoolingConv2d(channels_in, channels), ActivationPool(activation)
    return nn.Conv2d(channels_in, channels, 3, padding=1), ActivationPool(activation)


def max_pool(x: torch.Tensor) -> torch.Tensor:
    """Return ``max_pool2d(x, 2)`` for x of shape (N, C, H, W).

    Without a graph, which needs the places of the maxima, two comparisons give the same values in
    less time.
    """
    if x.requires_grad:
        return F.max_pool2d(x, 2)
    height, width = x.shape[-2] // 2 * 2, x.shape[-1] // 2 * 2
    rows = torch.maximum(x[..., :height:2, :], x[..., 1:height:2, :])
    return torch.maximum(rows[..., :width:2], rows[..., 1:width:2])


class CNN(nn.Module):
    """Two 3×3 convolutions (16, 32 channels) with activation and 2×2 max-pool; two linear layers.

    The first linear layer takes the 32×8×8 = 2048 values to 128 units with activation.
    """

    def __init__(self, activation: ActivationFactory, num_classes: int) -> None:
        super().__init__()
        self.conv1, self.act1 = pooled_layers(activation, 3, 16)
        self.conv2, self.act2 = pooled_layers(activation, 16, 32)
        self.fc1 = nn.Linear(32 * 8 * 8, 128)
        self.act3 = activation()
        self.fc2 = nn.Linear(128, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (N, classes) for normalised images (N, 3, 32, 32)."""
        x = self.act1(self.conv1(x))
        x = self.act2(self.conv2(x))
        x = self.act3(self.fc1(x.flatten(1)))
        return self.fc2(x)  # type: ignore[no-any-return]


class DeepCNN(nn.Module):
    """A plain stack of ``depth`` 3×3 convolutions of 32 channels without normalisation.

    A 2×2 max-pool follows the convolutions at a third and two thirds of the depth; a linear layer
    reads the 32×8×8 values. Gradients vanish here with depth, which is what it is for.
    """

    def __init__(self, activation: ActivationFactory, num_classes: int, depth: int) -> None:
        super().__init__()
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
        layers["fc"] = nn.Linear(32 * 8 * 8, num_classes)
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (N, classes) for normalised images (N, 3, 32, 32)."""
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

    Its convolutions start as there: Kaiming normal with ReLU's gain, whatever the activation.
    """

    def __init__(self, activation: ActivationFactory, num_classes: int) -> None:
        super().__init__()
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
        """Return logits (N, classes) for normalised images (N, 3, 32, 32)."""
        x = self.blocks(self.act1(self.bn1(self.conv1(x))))
        return self.fc(x.mean((2, 3)))  # type: ignore[no-any-return]


def _deep_cnn(depth: int = 12) -> NetworkFactory:
    if not 3 <= depth <= 200:
        raise UsageError(f"model 'deep_cnn': depth is {depth}; it must be from 3 to 200")
    return lambda activation, classes: DeepCNN(activation, classes, depth)


MODELS: dict[str, tuple[Callable[..., NetworkFactory], dict[str, int], str]] = {
    "cnn": (lambda: CNN, {}, "two convolutions and two linear layers"),
    "deep_cnn": (
        _deep_cnn,
        {"depth": 12},
        "a plain stack of 3×3 convolutions, deep_cnn:depth=N, where gradients vanish",
    ),
    "resnet20": (lambda: ResNet20, {}, "He et al. 2016's for CIFAR, with batch norm"),
}


def resolve_model(text: str) -> tuple[str, NetworkFactory]:
    """Return a network spec's canonical text and the function that builds such networks.

    The function takes an activation factory and the number of classes; a user's own, named by
    import path, is called the same way.

    Raises:
        UsageError: the name or a parameter is unknown, or the import fails.
    """
    spec = parse_spec(text, "model", MODELS)
    if not spec.imported:
        factory, defaults, _ = MODELS[spec.name]
        bound = spec.bind(defaults)
        return spec.canonical(bound), factory(**bound)
    found = import_object(spec)
    if isinstance(found, nn.Module) or not callable(found):
        raise UsageError(
            f"model {spec.name!r} must be a callable of (activation factory, number of classes)"
        )
    if spec.value is not None:
        raise UsageError(f"model {spec.name!r}: give its parameters by name")
    parameters: dict[str, Any] = spec.parameters
    _check_signature(spec, found)
    return spec.canonical(parameters), lambda act, classes: found(act, classes, **parameters)


def _check_signature(spec: Spec, function: Callable[..., Any]) -> None:
    """Raise a UsageError where the factory would land in a parameter that is not for it."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some built-in functions have none
        return
    shown = str(signature) if len(str(signature)) <= 100 else f"{str(signature)[:97]}..."
    wrong = f"model {spec.name!r} takes {shown}; it must take (activation factory, classes)"
    try:
        given = signature.bind("factory", "classes", **spec.parameters)
    except TypeError as error:
        raise UsageError(f"{wrong}, but there is: {error}") from None
    first = next(iter(given.arguments))
    if {"weights", "pretrained"} & set(first.lower().split("_")):
        raise UsageError(f"{wrong}, and {first!r} comes first")


def study_code(model: str, activations: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return each spec that is the user's own code, with what names its source; all are imported.

    See ``user_code.code_of``; a spec without such a name is left out.

    Raises:
        UsageError: an import fails, or a source has changed since it was imported.
    """
    specs = {text: parse_spec(text, "activation", ACTIVATIONS) for text in activations}
    specs[model] = parse_spec(model, "model", MODELS)
    for spec in specs.values():
        if spec.imported:
            import_object(spec)
    named = {text: code_of(spec) for text, spec in specs.items() if spec.imported}
    return tuple((text, code) for text, code in sorted(named.items()) if code)


@functools.lru_cache(maxsize=8)
def import_code(study: Study) -> None:
    """Import all of a study's code, so that no trial of this process depends on which came first.

    Raises:
        ResultsFolderError: it is not the code that the study was prepared with, or an import fails.
    """
    try:
        now = dict(study_code(study.model, study.activations))
    except UsageError as error:
        raise ResultsFolderError(f"a worker cannot import the study's code: {error}") from None
    for text, code in study.code:
        if now.get(text) != code:
            raise ResultsFolderError(
                f"the source of {text} has changed since the run began; run the command again"
            )


def has_native_step(model: str, activations: Iterable[ActivationFactory], num_classes: int) -> bool:
    """Return whether the network has a convolution that pools, with one of the activations."""
    _, factory = resolve_model(model)
    with torch.random.fork_rng(devices=[]):
        networks = (factory(a, num_classes) for a in activations if a.commutes_with_max)
        return any(isinstance(m, PoolingConv2d) for network in networks for m in network.modules())


def is_own(model: str, activation: ActivationFactory) -> bool:
    """Return whether the network or the activation is the user's own code."""
    return (
        parse_spec(model, "model", MODELS).imported
        or parse_spec(activation.spec, "activation", ACTIVATIONS).imported
    )


def build_network(
    model: str,
    activation: ActivationFactory,
    num_classes: int,
    seed: int,
    init: str = "default",
    kernels: str = "torch",
) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Return the network with a seed's initial weights, and its activation layers by name.

    Every activation of a seed starts from the same weights: those of the network built around the
    identity. With ``init`` ``slope_aware`` the draws are the same but scaled by its gain (see
    ``initialisation``). What an activation adds of its own (PReLU's slopes) is drawn from a seed of
    its own. Parameters that only the first images define (lazy layers, slopes of a shape that is
    not known before) are there too. The network is in channels_last, or takes contiguous images
    where a user's code fails on others (see ``takes_contiguous``). With ``kernels`` ``native``,
    convolution and max-pool are one operation wherever a ``PoolingConv2d`` has both.
    """
    _, factory = resolve_model(model)
    built: list[nn.Module] = []

    def build_activation() -> nn.Module:
        built.append(activation())
        return built[-1]

    recording = dataclasses.replace(activation, build=build_activation)
    with torch.random.fork_rng(devices=[]):
        needs = _Needs()
        if is_own(model, activation):
            needs = _needs(lambda: factory(activation, num_classes))
        torch.manual_seed(seed_for("initial weights", seed))
        identity = dataclasses.replace(activation, spec="identity", build=nn.Identity)
        initial = factory(identity, num_classes)
        if needs.images:
            _evaluate(initial)
        if init == "slope_aware":
            draw_weights(initial, gain_of(activation), seed)
        start = initial.state_dict()
        torch.manual_seed(seed_for("activation parameters", seed))
        network = factory(recording, num_classes)
        if needs.images:
            _evaluate(network)
    network.load_state_dict(start, strict=False)
    for module in network.modules():
        if isinstance(module, PoolingConv2d):
            module.kernels = kernels
    layers = {name: module for name, module in network.named_modules() if module in built}
    if needs.contiguous:
        network.register_forward_pre_hook(_as_contiguous)
    else:
        network = network.to(memory_format=torch.channels_last)
    return network, layers


def takes_contiguous(network: nn.Module) -> bool:
    """Return whether the images that ``build_network``'s network is given are made contiguous."""
    return _as_contiguous in network._forward_pre_hooks.values()


def _as_contiguous(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return tuple(x.contiguous() for x in inputs)


@dataclasses.dataclass(frozen=True)
class _Needs:
    """Whether a network must see images to have all its parameters, and have them contiguous."""

    images: bool = False
    contiguous: bool = False


def _needs(build: Callable[[], nn.Module]) -> _Needs:
    """Return what a user's network needs, found out on networks that are then thrown away.

    What fails either way is left for the check before training to report.
    """
    trial = build()
    before = _parameter_names(trial)
    lazy = any(nn.parameter.is_lazy(p) for p in trial.parameters())
    _succeeds(lambda: _evaluate(trial))
    images = lazy or _parameter_names(trial) != before
    if _succeeds(lambda: _train(trial.to(memory_format=torch.channels_last))):
        return _Needs(images)

    def train_contiguous() -> None:
        network = build()
        _evaluate(network)
        _train(network, torch.contiguous_format)

    return _Needs(images, contiguous=_succeeds(train_contiguous))


def _parameter_names(network: nn.Module) -> set[str]:
    return {name for name, _ in network.named_parameters(remove_duplicate=False)}


def _succeeds(run: Callable[[], object]) -> bool:
    try:
        run()
    except Exception:  # a user's code may raise anything at all
        return False
    return True


def _noise() -> torch.Tensor:
    """Return two images of noise in [−1, 1], contiguous."""
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def _evaluate(network: nn.Module) -> None:
    with torch.no_grad():
        network.eval()(_noise())
    network.train()


def _train(network: nn.Module, memory_format: torch.memory_format = torch.channels_last) -> None:
    logits = network.train()(_noise().to(memory_format=memory_format))
    if isinstance(logits, torch.Tensor) and logits.requires_grad:
        logits.sum().backward()  # type: ignore[no-untyped-call]
