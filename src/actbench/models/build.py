"""A network spec and an activation → the network of a seed, with its initial weights and layout."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch
from torch import nn

from actbench.models.features import materialise
from actbench.models.global_state import seed_torch
from actbench.models.initialisation import draw_weights, gain_of
from actbench.models.networks.layers import IMAGE_SIZE, PoolingConv2d
from actbench.models.networks.registry import resolve_model
from actbench.models.sites import Swapped
from actbench.models.study_code import is_external
from actbench.study.activations import Shape
from actbench.study.study import seed_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actbench.models.activations import ActivationFactory

LAYOUT_NOTE = (
    "the code fails on images in channels_last memory (as .view does; .reshape would not), so it "
    "is given contiguous ones, which takes more time"
)


def build_network(
    model: str,
    activation: ActivationFactory,
    num_classes: int,
    seed: int,
    init: str = "default",
    kernels: str = "torch",
    *,
    image_size: int = IMAGE_SIZE,
) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Return the network with a seed's initial weights, and its activation layers by name.

    Images are colour and have ``image_size`` × ``image_size`` pixels.

    Every activation of a seed starts from the same weights: those of the network built around the
    identity. With ``init`` ``slope_aware`` the draws are the same but scaled by its gain (see
    ``initialisation``). The parameters of activations (PReLU's slopes) are drawn from another seed.
    Parameters that are created on the first images (lazy layers, slopes of unknown shape) are
    included. The network is in channels_last, or takes contiguous images if a user's code fails on
    others (see ``takes_contiguous``). With ``kernels`` ``native``, convolution and max-pool are one
    operation in each ``PoolingConv2d``.
    """
    _, factory = resolve_model(model)
    built: list[nn.Module] = []

    def build_activation() -> nn.Module:
        built.append(activation())
        return built[-1]

    recording = dataclasses.replace(activation, build=build_activation)
    noise = _noise(image_size)
    with torch.random.fork_rng(devices=[]):
        if is_external(model, activation):
            needs = _needs(lambda: factory(activation, num_classes, image_size), noise)
        else:
            needs = _Needs(images=_is_lazy(activation()))
        seed_torch(seed_for("initial weights", seed))
        identity = dataclasses.replace(activation, spec="identity", build=nn.Identity)
        initial = factory(identity, num_classes, image_size)
        if needs.images:
            materialise(initial, noise)
        if init == "slope_aware":
            draw_weights(initial, gain_of(activation), seed)
        start = initial.state_dict()
        seed_torch(seed_for("activation parameters", seed))
        network = factory(recording, num_classes, image_size)
        if needs.images:
            materialise(network, noise)
    network.load_state_dict(start, strict=False)
    for module in network.modules():
        if kernels == "native" and isinstance(module, PoolingConv2d):
            module.use_native()
    layers = {name: module for name, module in network.named_modules() if module in built}
    if needs.contiguous:
        network.register_forward_pre_hook(_as_contiguous)
    else:
        network = network.to(memory_format=torch.channels_last)
    return network, layers


def build_notes(network: nn.Module) -> list[str]:
    """Return what was done to a network from ``build_network`` to fit it in, a line for each."""
    notes = [LAYOUT_NOTE] if takes_contiguous(network) else []
    swapped = getattr(network, "swapped", None)
    return [*notes, str(swapped)] if isinstance(swapped, Swapped) else notes


def takes_contiguous(network: nn.Module) -> bool:
    """Return whether a network from ``build_network`` makes its images contiguous."""
    return _as_contiguous in network._forward_pre_hooks.values()


def _as_contiguous(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return tuple(x.contiguous() for x in inputs)


@dataclasses.dataclass(frozen=True)
class _Needs:
    """Whether a network must see images to have all its parameters, and contiguous images."""

    images: bool = False
    contiguous: bool = False


def _needs(build: Callable[[], nn.Module], noise: torch.Tensor) -> _Needs:
    """Return what a user's network needs, by trying it on networks that are then discarded.

    The check before training reports a network that fails either way.
    """
    trial = build()
    before = _parameter_names(trial)
    lazy = _is_lazy(trial)
    _succeeds(lambda: materialise(trial, noise))
    images = lazy or _parameter_names(trial) != before
    layout = torch.channels_last
    if _succeeds(lambda: _train(trial.to(memory_format=layout), noise.to(memory_format=layout))):
        return _Needs(images)

    def train_contiguous() -> None:
        network = build()
        materialise(network, noise)
        _train(network, noise)

    return _Needs(images, contiguous=_succeeds(train_contiguous))


def _is_lazy(module: nn.Module) -> bool:
    return any(nn.parameter.is_lazy(p) for p in module.parameters())


def _parameter_names(network: nn.Module) -> set[str]:
    return {name for name, _ in network.named_parameters(remove_duplicate=False)}


def _succeeds(run: Callable[[], object]) -> bool:
    try:
        run()
    except (Exception, SystemExit):  # a user's code may raise anything
        return False
    return True


def _noise(image_size: int) -> torch.Tensor:
    """Return two images of noise in [−1, 1], contiguous."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, image_size, image_size, generator=generator) * 2 - 1


def _train(network: nn.Module, images: torch.Tensor) -> None:
    logits = network.train()(images)
    if isinstance(logits, torch.Tensor) and logits.requires_grad:
        logits.sum().backward()  # type: ignore[no-untyped-call]


def has_native_step(
    model: str,
    activations: Iterable[ActivationFactory],
    num_classes: int,
    *,
    image_size: int = IMAGE_SIZE,
) -> bool:
    """Return whether the network has a convolution that pools, with one of the activations."""
    _, factory = resolve_model(model)
    # the layers are the same for all activations of a known shape
    activation = next((a for a in activations if a.shape is not Shape.ANY), None)
    if activation is None:
        return False
    with torch.random.fork_rng(devices=[]):
        network = factory(activation, num_classes, image_size)
    return any(isinstance(module, PoolingConv2d) for module in network.modules())
