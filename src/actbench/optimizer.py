"""SGD with momentum, as ``torch.optim.SGD`` computes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.optim.sgd import sgd

if TYPE_CHECKING:
    from collections.abc import Iterable


class SGD:
    """PyTorch's fused kernel, called as a function: the same bits as ``torch.optim.SGD``.

    Constructing a ``torch.optim.Optimizer`` imports PyTorch's compiler, which takes every worker a
    second and 100 MB, and each of its steps spends twice the kernel's time around it.

    Weight decay is not applied to ``undecayed``.

    Attributes:
        parameters: what is trained.
        momenta: a momentum buffer for each of them, all zero at first.
    """

    def __init__(
        self,
        parameters: Iterable[torch.Tensor],
        *,
        learning_rate: float,
        momentum: float,
        weight_decay: float,
        undecayed: Iterable[torch.Tensor] = (),
    ) -> None:
        self.parameters = [p for p in parameters if p.requires_grad]
        self.momenta = [torch.zeros_like(p) for p in self.parameters]
        self._learning_rate, self._momentum = learning_rate, momentum
        self._weight_decay = weight_decay
        self._undecayed = {id(p) for p in undecayed}

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        for decay, undecayed in ((self._weight_decay, False), (0.0, True)):
            self._step(decay, undecayed=undecayed)

    def _step(self, weight_decay: float, *, undecayed: bool) -> None:
        parameters: list[torch.Tensor] = []
        gradients: list[torch.Tensor] = []
        momenta: list[torch.Tensor | None] = []
        for parameter, momentum in zip(self.parameters, self.momenta, strict=True):
            if parameter.grad is not None and (id(parameter) in self._undecayed) == undecayed:
                parameters.append(parameter)
                gradients.append(parameter.grad)
                momenta.append(momentum)
        if not parameters:
            return
        sgd(
            parameters,
            gradients,
            momenta,
            fused=True,
            lr=self._learning_rate,
            momentum=self._momentum,
            weight_decay=weight_decay,
            dampening=0,
            nesterov=False,
            maximize=False,
        )
