"""A network that was written with ReLU → the same network with another activation in its place."""

from __future__ import annotations

import copy
import functools
from typing import TYPE_CHECKING

import torch
from torch import nn

from actbench.errors import UsageError, in_a_line
from actbench.models.activations import resolve_activation
from actbench.models.features import materialise
from actbench.models.global_state import generators_kept
from actbench.models.sites import Sites, fill_slots, find_sites, seed_generators
from actbench.models.tracing import rewrite

if TYPE_CHECKING:
    from collections.abc import Callable

    from actbench.models.activations import ActivationFactory
    from actbench.models.tracing import Make


def swap_activations(
    model: nn.Module, activation: str, inputs: torch.Tensor | None = None
) -> nn.Module:
    """Return a copy of a network with another activation in every place that has one.

    Replaced are modules (``nn.ReLU``, ``ReLU6``, ``LeakyReLU``, ``PReLU``, ``RReLU``, ``ELU``,
    ``CELU``, ``SELU``, ``GELU``, ``SiLU``, ``Mish``, ``Hardswish`` and timm's own of these), and
    calls of the functions ``relu``, ``relu_``, ``relu6``, ``leaky_relu``, ``rrelu``, ``elu``,
    ``celu``, ``selu``, ``gelu``, ``silu``, ``mish`` and ``hardswish``. Sigmoid, tanh and softmax
    stay: networks use them as gates and outputs. Every call gets its own instance. Only a ReLU or
    leaky ReLU overwrites its input, where one did in the model and the traced code shows no other
    reader. Weights and the names of parameters are the model's; the attribute ``swapped`` of the
    copy, a ``Swapped``, says what was replaced.

    Args:
        model: any network; it is not changed.
        activation: an activation spec, such as ``leaky_relu:0.1``.
        inputs: a batch that the network takes, to find the calls by evaluating copies of the
            network; two images of noise of shape (3, 32, 32) unless given.

    Raises:
        UsageError: the spec is wrong; the network has no activation to replace, fails on the
            inputs, or calls functions in code that cannot be traced by ``torch.fx``.
    """
    if not isinstance(model, nn.Module):
        raise UsageError(f"model is {type(model).__name__}; it must be a torch.nn.Module")
    factory = resolve_activation(activation)
    like = next(model.parameters(), torch.empty(0))
    if inputs is None:
        inputs = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
        inputs = inputs.to(like.device, like.dtype)
    subject = f"the network {type(model).__name__}"
    try:
        copied = copy.deepcopy(model)
    except Exception as error:  # the network is the user's
        raise UsageError(f"{subject} cannot be copied: {in_a_line(error)}") from error
    sites = find_sites(subject, lambda: copy.deepcopy(model), inputs)
    replace_activations(copied, sites, lambda _: factory().to(like.device, like.dtype))
    if any(nn.parameter.is_lazy(p) for p in copied.parameters()):
        with generators_kept():
            materialise(copied, inputs)
    return copied


def converted(
    subject: str,
    build: Callable[[int, int], nn.Module],
    activation: ActivationFactory,
    classes: int,
    image_size: int,
) -> nn.Module:
    """Return a network of ``build(classes, image_size)`` with its activations replaced.

    Where they are is found once per process. The random numbers that ``build`` draws are those that
    it draws elsewhere.

    Raises:
        UsageError: as ``swap_activations``; ``subject`` names the network in the message.
    """
    sites = _sites_of(subject, build, classes, image_size)
    network = build(classes, image_size)
    replace_activations(network, sites, lambda _: activation())
    return network


@functools.lru_cache(maxsize=16)
def _sites_of(
    subject: str, build: Callable[[int, int], nn.Module], classes: int, image_size: int
) -> Sites:
    def built() -> nn.Module:
        seed_generators()
        return build(classes, image_size)

    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, image_size, image_size, generator=generator) * 2 - 1
    return find_sites(subject, built, images)


def replace_activations(network: nn.Module, sites: Sites, make: Make) -> None:
    """Replace a network's activations in place by the modules that ``make`` returns."""
    originals = fill_slots(network, sites.slots, make)
    modules = dict(network.named_modules())
    for owner, passed in sites.rewritten.items():
        rewrite(modules[owner], originals.get(owner, {}), passed, make)
    network.swapped = sites.swapped  # type: ignore[assignment]
