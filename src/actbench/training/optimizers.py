"""The optimizers, by PyTorch's functions for one step: the same bits as its classes.

Constructing a ``torch.optim.Optimizer`` imports PyTorch's compiler, which costs every worker a
second and 100 MB, and the overhead of each of its steps is twice the kernel's time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.adam import adam
from torch.optim.rmsprop import rmsprop
from torch.optim.sgd import sgd

from actbench.study.recipe import OPTIMIZERS, AdamWSettings, RMSpropSettings, SGDSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor


class Optimizer(ABC):
    """Updates parameters by their gradients.

    Weight decay is not applied to ``undecayed``.

    Attributes:
        parameters: the trained parameters.
        learning_rate: that of the next step; it may be a scalar tensor on the parameters' device if
            ``takes_rates_on_device``.
        takes_rates_on_device: whether a step reads such a tensor on the device only.
    """

    takes_rates_on_device = True

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        learning_rate: float,
        weight_decay: float,
        undecayed: Iterable[Tensor] = (),
    ) -> None:
        self.parameters = [p for p in parameters if p.requires_grad]
        self.learning_rate: float | Tensor = learning_rate
        self._weight_decay = weight_decay
        self._undecayed = {id(p) for p in undecayed}
        self._moments: list[list[Tensor]] = []

    @property
    def state(self) -> list[Tensor]:
        """All that a step changes but the parameters, in a fixed order; zero at first."""
        return [tensor for moments in self._moments for tensor in moments]

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for decay, undecayed in ((self._weight_decay, False), (0.0, True)):
            chosen = [
                number
                for number, parameter in enumerate(self.parameters)
                if parameter.grad is not None and (id(parameter) in self._undecayed) == undecayed
            ]
            if chosen:
                parameters = [self.parameters[number] for number in chosen]
                gradients = [p.grad for p in parameters if p.grad is not None]
                moments = [[kind[number] for number in chosen] for kind in self._moments]
                self._update(parameters, gradients, moments, decay)

    @abstractmethod
    def _update(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        moments: list[list[Tensor]],
        weight_decay: float,
    ) -> None:
        """Update parameters and their moments, which are in the order of ``self._moments``."""

    def _zeros(self) -> list[Tensor]:
        return [torch.zeros_like(p) for p in self.parameters]


class SGD(Optimizer):
    """``torch.optim.SGD``, fused; ``state`` is a momentum buffer for each parameter."""

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        learning_rate: float,
        momentum: float,
        weight_decay: float,
        nesterov: bool = False,
        undecayed: Iterable[Tensor] = (),
    ) -> None:
        super().__init__(
            parameters,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            undecayed=undecayed,
        )
        self._momentum, self._nesterov = momentum, nesterov
        self._moments = [self._zeros()]

    def _update(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        moments: list[list[Tensor]],
        weight_decay: float,
    ) -> None:
        momenta: Sequence[Tensor | None] = moments[0]
        sgd(
            parameters,
            gradients,
            list(momenta),
            fused=True,
            lr=self.learning_rate,
            momentum=self._momentum,
            weight_decay=weight_decay,
            dampening=0,
            nesterov=self._nesterov,
            maximize=False,
        )


class Adam(Optimizer):
    """``torch.optim.Adam``, or ``AdamW`` with ``decoupled`` weight decay, fused.

    ``state`` is the two moments of each parameter and its number of steps.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        learning_rate: float,
        weight_decay: float,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        decoupled: bool = False,
        undecayed: Iterable[Tensor] = (),
    ) -> None:
        super().__init__(
            parameters,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            undecayed=undecayed,
        )
        self._beta1, self._beta2, self._eps, self._decoupled = beta1, beta2, eps, decoupled
        steps = [torch.zeros((), dtype=torch.float32, device=p.device) for p in self.parameters]
        self._moments = [self._zeros(), self._zeros(), steps]

    def _update(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        moments: list[list[Tensor]],
        weight_decay: float,
    ) -> None:
        first, second, steps = moments
        adam(
            parameters,
            gradients,
            first,
            second,
            [],
            steps,
            fused=True,
            amsgrad=False,
            beta1=self._beta1,
            beta2=self._beta2,
            lr=self.learning_rate,
            weight_decay=weight_decay,
            decoupled_weight_decay=self._decoupled,
            eps=self._eps,
            maximize=False,
        )


class RMSprop(Optimizer):
    """``torch.optim.RMSprop``.

    ``state`` is the mean square of each parameter's gradients, their mean and the momentum buffer.
    """

    takes_rates_on_device = False

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        learning_rate: float,
        weight_decay: float,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
        undecayed: Iterable[Tensor] = (),
    ) -> None:
        super().__init__(
            parameters,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            undecayed=undecayed,
        )
        self._alpha, self._eps = alpha, eps
        self._momentum, self._centered = momentum, centered
        self._moments = [self._zeros(), self._zeros(), self._zeros()]

    def _update(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        moments: list[list[Tensor]],
        weight_decay: float,
    ) -> None:
        squares, means, momenta = moments
        rmsprop(
            parameters,
            gradients,
            squares,
            means,
            momenta,
            [torch.zeros(()) for _ in parameters],  # counts of steps, which no update uses
            foreach=parameters[0].is_cuda,
            lr=self.learning_rate,
            alpha=self._alpha,
            eps=self._eps,
            weight_decay=weight_decay,
            momentum=self._momentum,
            centered=self._centered,
        )


def make_optimizer(
    spec: str,
    parameters: Iterable[Tensor],
    *,
    learning_rate: float,
    weight_decay: float,
    undecayed: Iterable[Tensor] = (),
) -> Optimizer:
    """Return the optimizer that a spec names; see ``Optimizer`` for the arguments."""
    chosen = OPTIMIZERS.resolve(spec)
    common: dict[str, Any] = {
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "undecayed": undecayed,
    }
    match chosen:
        case SGDSettings():
            return SGD(parameters, **common, **vars(chosen))
        case RMSpropSettings():
            return RMSprop(parameters, **common, **vars(chosen))
    decoupled = isinstance(chosen, AdamWSettings)
    return Adam(parameters, **common, **vars(chosen), decoupled=decoupled)
