"""Gradient norms per layer while a network trains; inactive units after it has."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Self, TypeVar

import torch
from torch import nn

from actbench.errors import in_a_line
from actbench.models.features import FeatureAxis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from torch.utils.hooks import RemovableHandle

T = TypeVar("T")


class GradientNorms:
    """The mean over steps of the L2 norm of the loss gradient in each layer's weight.

    A layer is a module with a ``weight`` of two or more dimensions (convolutions and linear
    layers, not batch norm or PReLU); layers keep the order of ``named_modules``.
    """

    def __init__(self, network: nn.Module) -> None:
        self._weights = {
            name: module.weight
            for name, module in network.named_modules()
            if isinstance(getattr(module, "weight", None), nn.Parameter) and module.weight.dim() > 1
        }
        device = next((w.device for w in self._weights.values()), None)
        self._none = torch.zeros((), device=device)
        self._sums = torch.zeros(len(self._weights), dtype=torch.float64, device=device)

    @property
    def layers(self) -> list[str]:
        """The names of the layers."""
        return list(self._weights)

    def reset(self) -> None:
        """Start a new epoch: discard all steps."""
        self._sums.zero_()

    def add_step(self) -> None:
        """Add the gradients of the last backward pass to the mean."""
        norms = [
            self._none if weight.grad is None else torch.linalg.vector_norm(weight.grad)
            for weight in self._weights.values()
        ]
        if norms:
            self._sums += torch.stack(norms)

    def means(self, steps: int) -> dict[str, float]:
        """Return the mean norm by layer name over the ``steps`` since ``reset``."""
        means = self._sums / steps
        return dict(zip(self._weights, means.tolist(), strict=True))


class InactiveUnits:
    """Counts the units of activation layers that never get a positive input on a test set.

    A unit is a channel of a convolution's or a neuron of a linear layer's output (see
    ``FeatureAxis``). It is inactive when its pre-activation is ≤ 0 at every position of every image
    seen. A layer that runs several
    times in one pass of the network is counted at each call: ``act``, ``act (call 2)``. Used as a
    context manager around the passes.

    Attributes:
        failed: by layer name, why its units could not be counted.
    """

    def __init__(self, network: nn.Module, activation_layers: Mapping[str, nn.Module]) -> None:
        self._network, self._layers = network, activation_layers
        self._axis = FeatureAxis(network)
        self._calls: Counter[str] = Counter()
        self._largest: dict[tuple[str, int], torch.Tensor] = {}
        self._handles: list[RemovableHandle] = []
        self.failed: dict[str, str] = {}

    def __enter__(self) -> Self:
        def begin(*_: object) -> None:
            self._calls.clear()

        self._axis.__enter__()
        if self._layers:  # modules of TorchScript take no hooks
            self._handles.append(self._network.register_forward_pre_hook(begin))
        for name, layer in self._layers.items():

            def watch(
                _: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], name: str = name
            ) -> None:
                self._calls[name] += 1
                try:
                    self._take(name, next(iter((*inputs, *named.values()))))
                except torch.OutOfMemoryError:
                    raise
                except (Exception, SystemExit) as error:  # of a user's network
                    self.failed.setdefault(name, in_a_line(error))

            self._handles.append(layer.register_forward_pre_hook(watch, with_kwargs=True))
        return self

    def _take(self, name: str, x: torch.Tensor) -> None:
        call = name, self._calls[name]
        units = x.amax([axis for axis in range(x.dim()) if axis != self._axis.of(x)])
        before = self._largest.get(call)
        self._largest[call] = units if before is None else torch.maximum(before, units)

    def __exit__(self, *_: object) -> None:
        self._axis.__exit__()
        for handle in self._handles:
            handle.remove()

    def fractions(self) -> dict[str, float]:
        """Return the share of inactive units, in [0, 1], by activation layer and call."""
        return {
            name if call == 1 else f"{name} (call {call})": float((largest <= 0).double().mean())
            for (name, call), largest in self._largest.items()
            if name not in self.failed
        }

    def fraction(self) -> float | None:
        """Return the share of inactive units among those of all layers; None if one failed."""
        if self.failed:
            return None
        largest = torch.cat(list(self._largest.values())) if self._largest else torch.ones(1)
        return float((largest <= 0).double().mean())

    @property
    def idle(self) -> list[str]:
        """The names of the layers that did not run."""
        ran = {name for name, _ in self._largest} | set(self.failed)
        return [name for name in self._layers if name not in ran]

    def notes(self) -> tuple[str, ...]:
        """Return which layers did not run, and whose units could not be counted and why."""
        idle = ", ".join(self.idle)
        found = (
            [f"the network never runs its activation layers {idle} in evaluation"] if idle else []
        )
        found += [
            f"inactive units of {name} could not be counted ({why})"
            for name, why in self.failed.items()
        ]
        return tuple(found)


def attempt(what: str, measure: Callable[[], T], notes: list[str]) -> T | None:
    """Return what ``measure`` returns; if it raises, add a line to ``notes`` and return None.

    Raises:
        torch.OutOfMemoryError: a GPU's free memory is not enough.
    """
    try:
        return measure()
    except torch.OutOfMemoryError:
        raise
    except (Exception, SystemExit) as error:  # user code may raise anything
        notes.append(f"{what} could not be measured ({in_a_line(error)})")
        return None


def untrained_note(grad_norms: Iterable[Mapping[str, float]]) -> tuple[str, ...]:
    """Return a sentence on the layers that no gradient reached in any epoch, if any."""
    epochs = list(grad_norms)
    layers = [name for name in epochs[0] if not any(norms[name] for norms in epochs)]
    if not layers:
        return ()
    return (
        f"no gradient reaches {', '.join(layers)}: the loss does not change with their weights",
    )
