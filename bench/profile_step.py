"""The time of each operation in a training step, for the plain loop and for actbench.

    python bench/profile_step.py

Both use images that are already in memory, so the plain loop's loading is not included; both
compute on one thread. A share is of the time inside PyTorch's operations, by its profiler.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import torch
from tabulate import tabulate
from torch.profiler import ProfilerActivity, profile

import plain_loop
from cifar_shaped import BATCH_SIZE, STEPS, synthetic_images
from contenders import our_training
from interleaved import own_process
from machine import machine

if TYPE_CHECKING:
    from collections.abc import Callable

SHOWN = 12


def plain_steps() -> Callable[[], object]:
    """Return the plain loop's training of ``STEPS`` batches that are loaded already."""
    images, labels = synthetic_images(STEPS * BATCH_SIZE, 0)
    rows = [plain_loop.TRAIN_TRANSFORM.transforms[1](image) for image in images]
    batches = list(
        zip(
            plain_loop.NORMALISE(torch.stack(rows)).split(BATCH_SIZE),
            torch.from_numpy(labels).split(BATCH_SIZE),
            strict=True,
        )
    )
    model = plain_loop.make_cnn(negative_slope=0.01)
    optimizer = plain_loop.make_optimizer(model)
    return partial(plain_loop.train_epoch, model, batches, optimizer)


def our_steps(kernels: str) -> Callable[[], object]:
    """Return actbench's training of ``STEPS`` batches, with freed memory kept as in a worker."""
    from actbench.execution.executors import configure_malloc

    configure_malloc()
    return our_training(STEPS * BATCH_SIZE, kernels=kernels)


def milliseconds(prepare: Callable[[], Callable[[], object]]) -> Counter[str]:
    """Return the milliseconds per step of each operation, without the operations that it calls."""
    torch.set_num_threads(1)
    run = prepare()
    run()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        run()
    return Counter({e.key: e.self_cpu_time_total / 1000 / STEPS for e in profiler.key_averages()})


def main() -> None:
    """Profile both and print the tables."""
    print(f"{machine()}; {STEPS} steps of batch {BATCH_SIZE} on one thread\n")
    for name, prepare in (
        ("plain loop", plain_steps),
        ("PyTorch's kernels", partial(our_steps, "torch")),
        ("native", partial(our_steps, "native")),
    ):
        with own_process() as process:
            found = process.submit(milliseconds, prepare).result()
        total = found.total()
        rows = [[key, f"{ms:.2f}", f"{ms / total:.0%}"] for key, ms in found.most_common(SHOWN)]
        rest = total - sum(ms for _, ms in found.most_common(SHOWN))
        rows += [["the rest", f"{rest:.2f}", f"{rest / total:.0%}"], ["sum", f"{total:.2f}", ""]]
        headers = [f"{name}: operation", "ms per step", "share"]
        print(tabulate(rows, headers, tablefmt="pipe", disable_numparse=True), end="\n\n")


if __name__ == "__main__":
    main()
