"""How large a network is: its parameters and the multiply-adds of one image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from actbench.errors import UsageError, in_a_line
from actbench.models.activations import resolve_activation
from actbench.models.networks.registry import resolve_unconverted


@dataclass(frozen=True)
class NetworkSize:
    """The number of trained parameters, and of multiply-adds for one image.

    Counted are convolutions, linear layers and products of matrices, a multiply-add as one, as in
    the tables of papers on networks; ``torch.utils.flop_counter`` counts it as two.
    """

    parameters: int
    multiply_adds: int


def network_size(model: str, classes: int, image_size: int) -> NetworkSize:
    """Return the size of the network that a spec names, with ReLU or its own activations.

    Nothing is computed: the network is built and evaluated on PyTorch's meta device.

    Args:
        model: a network spec.
        classes: the number of classes.
        image_size: the side of the images in pixels.

    Raises:
        UsageError: the spec is wrong, or the network fails.
    """
    build = resolve_unconverted(model)
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"), torch.no_grad():
            network = build(resolve_activation("relu"), classes, image_size).eval()
            counter = FlopCounterMode(display=False)
            with counter:
                network(torch.empty(1, 3, image_size, image_size))
    except UsageError:
        raise
    except (Exception, SystemExit) as error:  # the network may be the user's
        raise UsageError(
            f"the size of model {model!r} cannot be found for images of {image_size}×{image_size}: "
            f"{in_a_line(error)}"
        ) from error
    parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return NetworkSize(parameters, counter.get_total_flops() // 2)
