"""Which modules of a network call activations, recorded while it runs."""

from __future__ import annotations

import functools
import inspect
from collections import Counter
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.overrides import TorchFunctionMode

from actbench.models.tracing import FUNCTIONS

if TYPE_CHECKING:
    from actbench.models.tracing import Function


class Watched(nn.Module):
    """An activation whose own calls of functions are not recorded."""

    def __init__(self, original: nn.Module | Function) -> None:
        super().__init__()
        self.original = original

    def forward(self, *arguments: Any, **named: Any) -> Any:
        """Return what the original returns."""
        return self.original(*arguments, **named)


class Calls(TorchFunctionMode):
    """Records which modules call activation functions in their own code, and how often they run.

    Attributes:
        functions: by module, the names of the activation functions that its own code calls.
        passed: by module, the parameters of ``forward`` that callers give.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.functions: dict[str, set[str]] = {}
        self.passed: dict[str, set[str]] = {}
        self._runs: Counter[str] = Counter()
        self._stack: list[tuple[str, nn.Module]] = []
        for name, module in network.named_modules():
            enter = functools.partial(self._enter, name)
            module.register_forward_pre_hook(enter, with_kwargs=True)
            module.register_forward_hook(self._leave, always_call=True)

    def several(self, owner: str, slot: str) -> bool:
        """Return whether the activation in a slot ran more often than the module that has it."""
        return self._runs[f"{owner}.{slot}" if owner else slot] > self._runs[owner]

    def _enter(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        self._stack.append((name, module))
        self._runs[name] += 1
        names = list(inspect.signature(module.forward).parameters)
        self.passed.setdefault(name, set()).update(names[: len(args)], kwargs)

    def _leave(self, *_: object) -> None:
        self._stack.pop()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in FUNCTIONS and not any(isinstance(module, Watched) for _, module in self._stack):
            owner = self._stack[-1][0]
            self.functions.setdefault(owner, set()).add(FUNCTIONS[func].__name__)
        return func(*args, **(kwargs or {}))
