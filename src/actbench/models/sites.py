"""Where a network's activations are: found by running copies of it, and checked bit by bit."""

from __future__ import annotations

import copy
import functools
import random
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from actbench.errors import UsageError, in_a_line
from actbench.models.activations import FunctionActivation
from actbench.models.global_state import generators_kept, seed_torch
from actbench.models.recording import Calls, Watched
from actbench.models.tracing import (
    FUNCTIONS,
    NotTraceableError,
    is_inplace,
    rewrite,
    traceable,
)
from actbench.study.notes import REPLACED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from actbench.models.tracing import Function, Make

MODULES = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.RReLU,
    nn.ELU,
    nn.CELU,
    nn.SELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Hardswish,
)
# timm's own classes; its Sigmoid, HardSigmoid and Tanh are gates
TIMM_MODULES = ("Swish", "Mish", "HardSwish", "HardMish", "PReLU", "GELU", "GELUTanh", "QuickGELU")
INSTEAD = (
    "use nn.ReLU modules instead of functions, or let the network take an activation factory: "
    "build(activation, classes)"
)


@dataclass(frozen=True)
class Swapped:
    """The activations of a network that were replaced.

    Attributes:
        modules: how many modules of each class.
        calls: how many calls of each function.
        activations: the number of new activations: one for each place that calls one.
        shared: the names of modules that call one activation several times and cannot be traced,
            and therefore have one new activation for all these calls.
    """

    modules: dict[str, int]
    calls: dict[str, int]
    activations: int
    shared: tuple[str, ...] = ()

    def __str__(self) -> str:
        modules, calls = sum(self.modules.values()), sum(self.calls.values())
        text = (
            f"{REPLACED}{modules} modules{_listed(self.modules)}, "
            f"{calls} calls{_listed(self.calls)}; {self.activations} activations in all"
        )
        if self.shared:
            text += f"; one for all calls in each of {', '.join(self.shared)}"
        return text


def _listed(counts: dict[str, int]) -> str:
    return f" ({', '.join(f'{n} {name}' for name, n in sorted(counts.items()))})" if counts else ""


@dataclass(frozen=True)
class Sites:
    """Where a network's activations are.

    Attributes:
        slots: the module and the attribute of each activation that is a module or a function.
        rewritten: the modules that ``rewrite`` changes, with the parameters that are passed.
        swapped: the summary.
    """

    slots: tuple[tuple[str, str], ...]
    rewritten: dict[str, frozenset[str]]
    swapped: Swapped


def find_sites(subject: str, make_copy: Callable[[], nn.Module], inputs: torch.Tensor) -> Sites:
    """Return where a network's activations are.

    A copy with the original functions, out of place and one for each call, must give the original's
    outputs to the last bit, in training and in evaluation.

    Args:
        subject: the network in messages.
        make_copy: returns a network with the same weights at every call.
        inputs: a batch that it takes.

    Raises:
        UsageError: as ``swap_activations``.
    """
    with generators_kept():
        original, probe, trial = make_copy(), make_copy(), make_copy()
        _check_module(subject, original)
        expected = [_run(subject, original, inputs, training=mode) for mode in (True, False)]
        slots = tuple(_slots(subject, probe))
        fill_slots(probe, slots, Watched)
        calls = Calls(probe)
        with calls:
            for mode in (True, False):
                _run(subject, probe, inputs, training=mode)
        sites = _replaced_by_themselves(subject, trial, slots, calls)
        left = Calls(trial)
        with left:
            found = [_run(subject, trial, inputs, training=mode) for mode in (True, False)]
    for owner, names in left.functions.items():
        where = _named(owner, trial.get_submodule(owner))
        raise UsageError(
            f"{subject} calls {', '.join(sorted(names))} in {where} where torch.fx does not see "
            f"it; {INSTEAD}"
        )
    if not _same_bits(expected, found):
        raise UsageError(
            f"replacing the activations of {subject} by themselves changes what it computes, "
            "probably because one of them overwrites a tensor that is read elsewhere; "
            f"{INSTEAD}"
        )
    trained = _trained(original, expected[0])
    if trained is not None and trained != _trained(trial, found[0]):
        raise UsageError(
            f"replacing the activations of {subject} by themselves changes which parameters get a "
            f"gradient, because torch.fx does not see torch.no_grad and the like; {INSTEAD}"
        )
    return sites


def _check_module(subject: str, network: object) -> None:
    """Raise ``UsageError`` if a network is no Python module, or replacing would lose a hook."""
    if not isinstance(network, nn.Module):
        found = f"class {network.__name__}" if isinstance(network, type) else type(network).__name__
        raise UsageError(f"{subject} is built as {found}; it must be a torch.nn.Module")
    for name, module in network.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise UsageError(f"{subject} is compiled by TorchScript; give the Python module")
        in_place = getattr(module, "_compiled_call_impl", None) is not None
        if in_place or type(module).__module__.startswith("torch._dynamo"):
            raise UsageError(f"{subject} is compiled by torch.compile; give the Python module")
        if _is_activation(module) and (module._forward_hooks or module._forward_pre_hooks):
            raise UsageError(
                f"{subject} has a forward hook on its activation {name}, which would be lost with "
                "the activation; put what the hook does into the network"
            )


def _trained(network: nn.Module, outputs: Any) -> set[str] | None:
    """Return the names of the parameters that get a gradient from the outputs; None if it fails."""
    leaves = [t for t in tree_leaves(outputs) if isinstance(t, torch.Tensor) and t.requires_grad]
    try:
        torch.autograd.backward(leaves, [torch.ones_like(t) for t in leaves])
    except RuntimeError:  # it may overwrite what its derivatives need
        return None
    return {name for name, p in network.named_parameters() if p.grad is not None}


def _replaced_by_themselves(
    subject: str, network: nn.Module, slots: tuple[tuple[str, str], ...], calls: Calls
) -> Sites:
    """Replace a network's activations by the same functions, and return where they are."""
    built: list[nn.Module] = []

    def make(activation: nn.Module | Function) -> nn.Module:
        built.append(Watched(_out_of_place(activation)))
        return built[-1]

    originals = fill_slots(network, slots, make)
    rewritten: dict[str, frozenset[str]] = {}
    kinds: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    shared = []
    for name, module in list(network.named_modules()):
        inside = originals.get(name, {})
        for original in inside.values():
            if isinstance(original, nn.Module):
                kinds[type(original).__name__] += 1
            else:
                functions[_name_of(original)] += 1
        several = any(calls.several(name, slot) for slot in inside)
        # torch.fx traces the code of the class, not a forward that is set on the instance
        own_code = traceable(module) and "forward" not in vars(module)
        overwrites = any(map(is_inplace, inside.values())) and own_code
        if not (name in calls.functions or several or overwrites):
            continue
        passed = frozenset(calls.passed.get(name, ()))
        try:
            replaced = rewrite(module, inside, passed, make)
        except NotTraceableError as error:
            if name in calls.functions:
                raise UsageError(
                    f"{subject} calls {', '.join(sorted(calls.functions[name]))} in "
                    f"{_named(name, module)}, whose code cannot be traced by torch.fx ({error}); "
                    f"{INSTEAD}"
                ) from error
            if several:
                shared.append(_named(name, module))
            continue
        if replaced is not None:
            rewritten[name] = passed
            functions += replaced
    if not built:
        raise UsageError(
            f"{subject} has no activation to replace: neither a module such as nn.ReLU nor a call "
            f"such as F.relu; {INSTEAD}"
        )
    swapped = Swapped(dict(kinds), dict(functions), len(built), tuple(shared))
    return Sites(slots, rewritten, swapped)


def _named(name: str, module: nn.Module) -> str:
    return f"{name} ({type(module).__name__})" if name else type(module).__name__


def _is_activation(value: object) -> bool:
    """Return whether a value is a module or function that is replaced."""
    if isinstance(value, nn.Module):
        kind = type(value)
        own = kind.__module__.startswith("timm.layers") and kind.__name__ in TIMM_MODULES
        # a subclass with code of its own is a network around an activation
        unchanged = kind.forward in {module.forward for module in MODULES}
        return own or (isinstance(value, MODULES) and unchanged)
    function = value.func if isinstance(value, functools.partial) else value
    try:
        return function in FUNCTIONS
    except TypeError:  # not hashable
        return False


def _slots(subject: str, network: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield the module and the attribute of each activation module or function."""
    for owner, module in network.named_modules():
        if _is_activation(module):
            if not owner:
                raise UsageError(f"{subject} is a single activation; it must be a network")
            continue
        for name, value in (*module._modules.items(), *vars(module).items()):
            if _is_activation(value):
                yield owner, name


def fill_slots(
    network: nn.Module, slots: tuple[tuple[str, str], ...], make: Make
) -> dict[str, dict[str, nn.Module | Function]]:
    """Replace what is in the slots in place, and return it by owner and attribute.

    Dropout then no longer overwrites its input, which a new activation's derivative may need.
    """
    modules = dict(network.named_modules())
    for module in modules.values():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.inplace = False
    found: dict[str, dict[str, nn.Module | Function]] = {}
    for owner, name in slots:
        module = modules[owner]
        original = getattr(module, name)
        found.setdefault(owner, {})[name] = original
        setattr(module, name, make(original).train(module.training))
        if isinstance(module, nn.TransformerEncoderLayer):
            module.activation_relu_or_gelu = 0  # or its fast path computes ReLU or GELU itself
    return found


def _name_of(function: Any) -> str:
    function = function.func if isinstance(function, functools.partial) else function
    return FUNCTIONS[function].__name__


def _out_of_place(activation: nn.Module | Function) -> nn.Module:
    """Return a module that computes an activation without overwriting its input."""
    if isinstance(activation, nn.Module):
        copied = copy.deepcopy(activation)
        if is_inplace(copied):
            copied.inplace = False  # type: ignore[assignment]
        return copied
    function, arguments = activation, {}
    if isinstance(activation, functools.partial):
        function, arguments = activation.func, dict(activation.keywords)
        arguments.pop("inplace", None)
    return FunctionActivation(FUNCTIONS[function], arguments)


def _run(subject: str, network: nn.Module, inputs: torch.Tensor, *, training: bool) -> Any:
    """Return a network's outputs; with a graph, so that transformers take no fast path."""
    seed_generators()
    try:
        with torch.enable_grad():
            return network.train(training)(inputs.clone())
    except UsageError:
        raise
    except (Exception, SystemExit) as error:  # the network is the user's
        when = "training" if training else "evaluation"
        small = isinstance(error, RuntimeError) and inputs.shape[-1] < 224
        hint = " (perhaps it needs larger images)" if small else ""
        raise UsageError(
            f"{subject} fails in {when} on inputs of shape {tuple(inputs.shape)}: "
            f"{in_a_line(error)}{hint}"
        ) from error


def seed_generators() -> None:
    """Seed the global generators, so that copies draw the same random numbers."""
    seed_torch(0)
    np.random.seed(0)  # noqa: NPY002 - a user's layer may draw from it
    random.seed(0)


def _same_bits(expected: Any, found: Any) -> bool:
    pairs = zip(tree_leaves(expected), tree_leaves(found), strict=True)
    return all(
        torch.equal(a.nan_to_num(), b.nan_to_num())
        for a, b in pairs
        if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor)
    )
