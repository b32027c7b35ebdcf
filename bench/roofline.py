"""The time of each operation of a training step against the limits of the machine.

The step is the cnn's at batch 64 as a worker computes it: one thread, channels_last, pool first;
with PyTorch's kernels, and with convolution, pool and activation as the native operation. Its
arithmetic is counted as executed: forward, Winograd's 16 multiplications instead of 36; backward, a
quarter, since only the maxima have a gradient.
An operation's floor is the longer of its arithmetic at the rate of a large matrix product and its
bytes, each operand read or written once, at the rate of a copy.

    python bench/roofline.py
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, count
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from tabulate import tabulate
from torch.utils.benchmark import Timer

from actbench.data.augmentation import Augmentation
from actbench.data.batches import batches
from actbench.execution.executors import configure_malloc
from actbench.models.activations import resolve_activation
from actbench.models.build import build_network
from actbench.models.native.conv_pool import conv_pool
from actbench.training.diagnostics import GradientNorms
from actbench.training.optimizers import SGD
from cifar_shaped import BATCH_SIZE, STEPS, UNTIMED
from contenders import our_training, synthetic_data
from machine import machine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MATRIX = 1024
SLOPE = 0.01
NEAR_BYTES = 4 << 20  # the step's largest tensor, the first convolution's output
FAR_BYTES = 256 << 20


@dataclass(frozen=True)
class Operation:
    """A part of the step: its code, its arithmetic, and the bytes of its operands."""

    name: str
    run: Callable[[], object]
    flops: float
    bytes: int


def seconds(run: Callable[[], object]) -> float:
    """Return the median time of a call on one thread."""
    timer = Timer("run()", globals={"run": run}, num_threads=1)
    return timer.blocked_autorange(min_run_time=0 if UNTIMED else 1).median


def size(*tensors: torch.Tensor) -> int:
    """Return the size of tensors in bytes."""
    return sum(t.numel() * t.element_size() for t in tensors)


def matmul_rate() -> float:
    """Return the FLOP/s of a large fp32 matrix product."""
    a, b = torch.randn(2, MATRIX, MATRIX)
    return 2 * MATRIX**3 / seconds(lambda: a @ b)


def copy_rate(length: int) -> float:
    """Return the bytes per second, read plus written, of a copy of ``length`` bytes."""
    source = torch.ones(length, dtype=torch.uint8)
    target = torch.empty_like(source)
    return 2 * length / seconds(lambda: target.copy_(source))


def layer(
    name: str,
    function: Callable[..., torch.Tensor],
    x: torch.Tensor,
    parameters: Sequence[torch.Tensor],
    macs: float,
    *,
    needs_input_gradient: bool = True,
) -> list[Operation]:
    """Return a linear layer's or a convolution's forward and its two backward operations."""
    weight, bias = (p.detach().requires_grad_() for p in parameters)
    fixed_weight, fixed_bias = weight.detach(), bias.detach()
    y = function(x, weight, bias)
    grad = torch.ones_like(y)
    moved = size(x, weight, y)
    operations = [
        Operation(
            f"{name} forward", lambda: function(x, fixed_weight, fixed_bias), 2 * macs, moved
        ),
        Operation(
            f"{name} backward, weight",
            lambda: torch.autograd.grad(y, (weight, bias), grad, retain_graph=True),
            2 * macs,
            moved,
        ),
    ]
    if needs_input_gradient:
        operations.append(
            backward(
                f"{name} backward, input", lambda x: function(x, fixed_weight), x, 2 * macs, moved
            )
        )
    return operations


def backward(
    name: str,
    function: Callable[[torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    flops: float,
    moved: int,
) -> Operation:
    """Return the operation that turns the gradient of ``function(x)`` into that of ``x``."""
    leaf = x.detach().requires_grad_()
    y = function(leaf)
    grad = torch.ones_like(y)
    return Operation(
        name, lambda: torch.autograd.grad(y, leaf, grad, retain_graph=True), flops, moved
    )


def elementwise(
    name: str, function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor
) -> list[Operation]:
    """Return an activation's forward and backward, with one operation per element."""
    return [
        Operation(f"{name} forward", lambda: function(x), x.numel(), 2 * size(x)),
        backward(f"{name} backward", function, x, x.numel(), 3 * size(x)),
    ]


def pool(name: str, x: torch.Tensor) -> list[Operation]:
    """Return a 2×2 max-pool's forward and backward; a graph keeps the maxima's int64 indices."""
    y, indices = F.max_pool2d(x, 2, return_indices=True)
    moved = size(x, y, indices)
    leaf = x.detach().requires_grad_()
    return [
        Operation(f"{name} forward", lambda: F.max_pool2d(leaf, 2), 3 * y.numel(), moved),
        backward(f"{name} backward", lambda x: F.max_pool2d(x, 2), x, y.numel(), moved),
    ]


def native_layer(
    name: str, x: torch.Tensor, parameters: Sequence[torch.Tensor], macs: float
) -> list[Operation]:
    """Return the native convolution, pool and leaky ReLU: forward, and each input's gradient.

    Images of up to three channels are the network's input, convolved by the definition.
    """
    features = x.shape[1] > 3
    weight, bias = (p.detach() for p in parameters)
    inputs, leaves = x.detach(), [weight.clone().requires_grad_(), bias.clone().requires_grad_()]

    def function(*tensors: torch.Tensor) -> torch.Tensor:
        return conv_pool(*tensors, slope=SLOPE)

    def backward_of(wanted: Sequence[torch.Tensor], pooled: torch.Tensor) -> Callable[[], object]:
        g = torch.ones_like(pooled)
        return lambda: torch.autograd.grad(pooled, wanted, g, retain_graph=True)

    pooled = function(inputs, *leaves)
    moved = size(x, weight, pooled) + pooled.numel()
    found = [
        Operation(
            f"{name} forward",
            lambda: function(inputs, *leaves),
            2 * macs * (16 / 36 if features else 1),
            moved,
        ),
        Operation(
            f"{name} backward, weight",
            backward_of(leaves, pooled),
            2 * macs / 4,
            moved,
        ),
    ]
    if features:
        leaf = inputs.clone().requires_grad_()
        found.append(
            Operation(
                f"{name} backward, input",
                backward_of([leaf], function(leaf, weight, bias)),
                2 * macs / 4,
                moved,
            )
        )
    return found


def step_operations(kernels: str) -> list[Operation]:
    """Return the parts of a step, in the order in which it does them."""
    data = synthetic_data(test_images=1)
    network, _ = build_network("cnn", resolve_activation(f"leaky_relu:{SLOPE}"), 10, seed=0)
    augmentation = Augmentation(("flip",), flip=True)
    stream = chain.from_iterable(
        batches(data, BATCH_SIZE, 0, epoch, augmentation, native=kernels == "native")
        for epoch in count(1)
    )
    images, labels = next(stream)

    def activation(x: torch.Tensor) -> torch.Tensor:
        return F.leaky_relu(x, SLOPE)

    def convolution(x: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, *parameters, padding=1)

    def loss(x: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(x, labels)

    with torch.no_grad():
        x1 = convolution(images, network.conv1.weight, network.conv1.bias)
        p1 = F.max_pool2d(x1, 2)
        a1 = activation(p1)
        x2 = convolution(a1, network.conv2.weight, network.conv2.bias)
        p2 = F.max_pool2d(x2, 2)
        a2 = activation(p2)
        flat = a2.flatten(1)
        x3 = network.fc1(flat)
        a3 = activation(x3)
        logits = network.fc2(a3)

    parameters = list(network.parameters())
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer = SGD(parameters, learning_rate=0.01, momentum=0.9, weight_decay=0)
    norms = GradientNorms(network)
    weights = sum(p.numel() for p in parameters)
    first, second, third, fourth = (
        (m.weight, m.bias) for m in (network.conv1, network.conv2, network.fc1, network.fc2)
    )
    macs1, macs2 = x1.numel() * 27, x2.numel() * 16 * 9
    if kernels == "native":
        block1 = native_layer("conv1, pool1 and act1", images, first, macs1)
        block2 = native_layer("conv2, pool2 and act2", a1, second, macs2)
    else:
        conv1 = layer("conv1", convolution, images, first, macs1, needs_input_gradient=False)
        block1 = [*conv1, *pool("pool1", x1), *elementwise("act1", activation, p1)]
        conv2 = layer("conv2", convolution, a1, second, macs2)
        block2 = [*conv2, *pool("pool2", x2), *elementwise("act2", activation, p2)]
    return [
        Operation(
            "gather, flip, normalise",
            lambda: next(stream),
            2 * images.numel(),
            images.numel() + size(images),
        ),
        *block1,
        *block2,
        Operation("flatten forward", lambda: a2.flatten(1), 0, 2 * size(a2)),
        backward("flatten backward", lambda x: x.flatten(1), a2, 0, 2 * size(a2)),
        *layer("fc1", F.linear, flat, third, x3.numel() * 2048),
        *elementwise("act3", activation, x3),
        *layer("fc2", F.linear, a3, fourth, logits.numel() * 128),
        Operation("loss forward", lambda: loss(logits), 5 * logits.numel(), size(logits)),
        backward("loss backward", loss, logits, 2 * logits.numel(), 2 * size(logits)),
        Operation("gradient norms", norms.add_step, 2 * weights, 4 * weights),
        Operation("optimiser", optimizer.step, 4 * weights, 5 * 4 * weights),
    ]


def main() -> None:
    """Measure everything and print the table."""
    configure_malloc()
    torch.set_num_threads(1)
    arithmetic, near, far = matmul_rate(), copy_rate(NEAR_BYTES), copy_rate(FAR_BYTES)
    print(
        f"{machine()}\n\nOne thread: {arithmetic / 1e9:.1f} GFLOP/s in a {MATRIX}×{MATRIX} matrix "
        f"product; copies at {near / 1e9:.1f} GB/s ({NEAR_BYTES >> 20} MiB) and "
        f"{far / 1e9:.1f} GB/s ({FAR_BYTES >> 20} MiB), read plus written. Floors are from the "
        "first two.\n"
    )
    for kernels in ("torch", "native"):
        print_table(kernels, arithmetic, near)


def print_table(kernels: str, arithmetic: float, copying: float) -> None:
    """Print a line for each operation of the step, their sum, and a complete step."""
    rows = []
    total_flops = total_bytes = total_time = total_floor = 0.0
    for operation in step_operations(kernels):
        floor = max(operation.flops / arithmetic, operation.bytes / copying)
        time = seconds(operation.run)
        rows.append(row(operation.name, operation.flops, operation.bytes, time, floor))
        total_flops += operation.flops
        total_bytes += operation.bytes
        total_time += time
        total_floor += floor
    rows.append(row("sum", total_flops, total_bytes, total_time, total_floor))
    step = seconds(our_training(STEPS * BATCH_SIZE, kernels=kernels)) / STEPS
    rows.append(row("a complete step", total_flops, total_bytes, step, total_floor))
    headers = [f"operation, {kernels}", "MFLOP", "MB", "µs measured", "µs floor", "share of peak"]
    align = ["left", *["right"] * 5]
    print(tabulate(rows, headers, tablefmt="pipe", disable_numparse=True, colalign=align), "\n")


def row(name: str, flops: float, moved: float, time: float, floor: float) -> list[str]:
    """Return the cells of one line."""
    numbers = (f"{flops / 1e6:.2f}", f"{moved / 1e6:.2f}", f"{time * 1e6:.0f}")
    return [name, *numbers, f"{floor * 1e6:.0f}", f"{floor / time:.0%}"]


if __name__ == "__main__":
    main()
