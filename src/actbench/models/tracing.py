"""The code of a module as a graph, in which each call of an activation gets its own module."""

from __future__ import annotations

import functools
import inspect
import operator
from collections import Counter
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from actbench.errors import in_a_line
from actbench.models.networks.layers import overwriting

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    Function = Callable[..., torch.Tensor]
    Make = Callable[[nn.Module | Function], nn.Module]

_torch: Any = torch  # some of its functions have no types
# each function that counts as an activation, with one that computes the same out of place
FUNCTIONS: dict[Any, Function] = {
    F.relu: F.relu,
    _torch.relu: F.relu,
    _torch.relu_: F.relu,
    torch.Tensor.relu: F.relu,
    torch.Tensor.relu_: F.relu,
    F.relu6: F.relu6,
    F.leaky_relu: F.leaky_relu,
    F.leaky_relu_: F.leaky_relu,
    F.rrelu: F.rrelu,
    F.rrelu_: F.rrelu,
    _torch.rrelu: F.rrelu,
    _torch.rrelu_: F.rrelu,
    F.elu: F.elu,
    F.elu_: F.elu,
    F.celu: F.celu,
    F.celu_: F.celu,
    _torch.celu: F.celu,
    _torch.celu_: F.celu,
    F.selu: F.selu,
    F.selu_: F.selu,
    _torch.selu: F.selu,
    _torch.selu_: F.selu,
    F.gelu: F.gelu,
    F.silu: F.silu,
    F.mish: F.mish,
    F.hardswish: F.hardswish,
}
_METHODS = {"relu": F.relu, "relu_": F.relu}  # of tensors
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
# their output is a new tensor that their derivative does not need
_NEW_OUTPUT = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
# their derivatives need their output, if they overwrite their input, so nothing overwrites that
_NEED_OUTPUT = (nn.ReLU, nn.LeakyReLU, F.relu, F.leaky_relu)


def is_inplace(activation: nn.Module | Function) -> bool:
    """Return whether a module or function overwrites its input."""
    if isinstance(activation, nn.Module):
        return bool(getattr(activation, "inplace", False))
    if isinstance(activation, functools.partial):
        return bool(activation.keywords.get("inplace")) or is_inplace(activation.func)
    return activation.__name__.endswith("_")


class _OneModule(fx.Tracer):
    """Traces the code of one module; the modules in it are calls in its graph."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


class NotTraceableError(Exception):
    """The code of a module cannot be turned into a graph; the text is the reason."""


def rewrite(
    owner: nn.Module,
    slots: Mapping[str, nn.Module | Function],
    passed: Collection[str],
    make: Make,
) -> Counter[str] | None:
    """Give every call of an activation in a module's own code its own module.

    In the code of ``owner.forward``, each call of an activation function becomes a call of a new
    module, and so does each call but the first of a module in ``slots``. Where the original
    overwrote its input, later readers of that input read the activation's output. If the code shows
    no other reader, one ReLU or leaky ReLU in place of another overwrites it too, with the same
    bits. The names of the other modules and parameters stay as they are.

    Args:
        owner: changed in place, if anything in it has to be.
        slots: the activations in it that are modules now: their names, and what was there.
        passed: the parameters of ``forward`` that its callers give; the others have their defaults.
        make: returns the new module for an original module or function.

    Returns:
        How many calls of each function were replaced; None if nothing had to be changed.

    Raises:
        NotTraceableError: the code depends on values of tensors, or calls different activations in
            training and in evaluation. Nothing is changed.
    """
    graphs = {mode: _graph(owner, passed, training=mode) for mode in (True, False)}
    sites = {mode: _sites(graph, slots) for mode, graph in graphs.items()}
    if [kind for _, kind in sites[True]] != [kind for _, kind in sites[False]]:
        raise NotTraceableError("it calls other activations in training than in evaluation")
    new: list[tuple[str, nn.Module | Function]] = []
    functions: Counter[str] = Counter()
    names: list[str] = []
    taken: Counter[str] = Counter()
    for node, kind in sites[True]:
        taken[kind] += 1
        if kind in slots and taken[kind] == 1:
            names.append(kind)
            continue
        name = _free_name(owner, kind, [*names, *slots])
        names.append(name)
        new.append((name, slots[kind] if kind in slots else _without_inplace(node)))
        if kind not in slots:
            functions[kind] += 1
    makers = [
        {name: _only_for(owner, node, slots) for (node, _), name in zip(found, names, strict=True)}
        for found in sites.values()
    ]
    rewired = [
        _replace(graph, [node for node, _ in sites[mode]], names, slots)
        for mode, graph in graphs.items()
    ]
    for name, original in new:
        owner.add_module(name, make(original).train(owner.training))
    is_new_code = bool(new) or any(rewired)
    if is_new_code:
        _install(owner, graphs)
    # in the original code, an addition may be in place
    known = ("call_module", "call_function") if is_new_code else ("call_module",)
    alone = [name for name in names if all(made[name] in known for made in makers)]
    if not (is_new_code or alone):
        return None
    for name in alone:
        overwriting(owner.get_submodule(name))
    return functions


def _graph(owner: nn.Module, passed: Collection[str], *, training: bool) -> fx.Graph:
    parameters = list(inspect.signature(type(owner).forward).parameters.values())[1:]
    defaults = {
        p.name: p.default
        for p in parameters
        if p.name not in passed and p.default is not inspect.Parameter.empty
    }
    before = owner.training
    owner.training = training
    try:
        return _OneModule().trace(owner, concrete_args=defaults)
    except Exception as error:  # tracing runs the module's own code
        raise NotTraceableError(in_a_line(error)) from error
    finally:
        owner.training = before


def _sites(graph: fx.Graph, slots: Collection[str]) -> list[tuple[fx.Node, str]]:
    """Return the nodes that call an activation, and its slot or the function's name."""
    found = []
    for node in graph.nodes:
        if node.op == "call_module" and node.target in slots:
            found.append((node, str(node.target)))
        elif (node.op == "call_function" and node.target in FUNCTIONS) or (
            node.op == "call_method" and node.target in _METHODS
        ):
            found.append((node, _out_of_place(node).__name__))
    return found


def _out_of_place(node: fx.Node) -> Function:
    functions: dict[Any, Function] = _METHODS if node.op == "call_method" else FUNCTIONS
    return functions[node.target]


def _arguments(node: fx.Node) -> dict[str, Any]:
    """Return the arguments of a call of a function or method, by the names of ``F``'s function."""
    function = _out_of_place(node)
    try:
        return dict(inspect.signature(function).bind(*node.args, **node.kwargs).arguments)
    except ValueError:  # F.gelu is built in and has no signature
        return {"input": node.args[0], **node.kwargs} if node.args else dict(node.kwargs)


def _without_inplace(node: fx.Node) -> Function:
    others = {k: v for k, v in _arguments(node).items() if k not in ("input", "inplace")}
    return functools.partial(_out_of_place(node), **others)


def _input(node: fx.Node, slots: Mapping[str, nn.Module | Function]) -> tuple[Any, bool]:
    """Return what a call of an activation reads, and whether it overwrites it."""
    if node.op == "call_module":
        x = node.args[0] if node.args else next(iter(node.kwargs.values()))
        return x, is_inplace(slots[str(node.target)])
    arguments = _arguments(node)
    called = str(getattr(node.target, "__name__", node.target))
    return arguments["input"], called.endswith("_") or bool(arguments.get("inplace"))


def _only_for(
    owner: nn.Module, node: fx.Node, slots: Mapping[str, nn.Module | Function]
) -> str | None:
    """Return the kind of node that makes a new tensor only for an activation that overwrites it.

    None if the code shows another reader, or if there may be one: the tensor may be a view or an
    argument, or a derivative may need it.
    """
    x, overwrites = _input(node, slots)
    called = type(slots[str(node.target)]) if node.op == "call_module" else _out_of_place(node)
    alone = overwrites and isinstance(x, fx.Node) and len(x.users) == 1
    if not alone or called not in _NEED_OUTPUT:
        return None
    if x.op == "call_module":
        module = owner.get_submodule(str(x.target))
        changed = module._forward_hooks or "forward" in vars(module)
        return x.op if type(module) in _NEW_OUTPUT and not changed else None
    return x.op if x.target is operator.add else None


def _replace(
    graph: fx.Graph,
    nodes: list[fx.Node],
    names: list[str],
    slots: Mapping[str, nn.Module | Function],
) -> bool:
    """Replace the nodes by calls of modules; return whether readers of an input were rewired."""
    rewired = False
    for node, name in zip(nodes, names, strict=True):
        x, overwrites = _input(node, slots)
        with graph.inserting_before(node):
            new = graph.call_module(name, (x,))
        if overwrites and isinstance(x, fx.Node):
            order = {other: position for position, other in enumerate(graph.nodes)}
            later = [user for user in x.users if order[user] > order[node]]
            for user in later:
                user.replace_input_with(x, new)
            rewired = rewired or bool(later)
        node.replace_all_uses_with(new)
        graph.erase_node(node)
    return rewired


def _free_name(owner: nn.Module, kind: str, others: Collection[str]) -> str:
    number = 2 if kind in others else 1
    while hasattr(owner, f"{kind}_{number}") or f"{kind}_{number}" in others:
        number += 1
    return f"{kind}_{number}"


def _install(owner: nn.Module, graphs: Mapping[bool, fx.Graph]) -> None:
    """Make a module run the code of the graph of its mode."""
    code = {mode: type(fx.GraphModule(owner, graph)).forward for mode, graph in graphs.items()}
    sources = {graph.python_code("self").src for graph in graphs.values()}

    def forward(self: nn.Module, *arguments: Any, **named: Any) -> Any:
        return code[self.training](self, *arguments, **named)

    only = code[True] if len(sources) == 1 else forward
    owner.forward = MethodType(only, owner)


def traceable(owner: nn.Module) -> bool:
    """Return whether a module has code of its own, unlike ``nn.Sequential``."""
    return not isinstance(owner, _CONTAINERS)
