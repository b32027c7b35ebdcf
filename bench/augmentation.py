"""The share of a training step that each augmentation takes, on one thread.

Run ``python bench/augmentation.py [--rounds N]``. Each round takes the processor time of batches
with an augmentation, of batches without, and of training steps without, in turn; the table has the
median of (with − without) / step over the rounds, and its quartiles, with each kind of kernels.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from typing import TYPE_CHECKING, Any

import torch

import cifar_shaped
from actbench.data.augmentation import Augmentation
from actbench.data.batches import batches
from actbench.execution.executors import configure_malloc
from actbench.models.activations import resolve_activation
from actbench.models.build import build_network
from actbench.study.study import Study, Trial
from actbench.training.steps import Steps
from cifar_shaped import BATCH_SIZE, RECIPE
from contenders import synthetic_data

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actbench.data.images import ImageData

AUGMENTATIONS = (
    "flip",
    "crop:4",
    "flip,crop:4",
    "cutout:8",
    "flip,crop:4,cutout:8",
    "gaussian_noise:0.1",
)
STEPS = cifar_shaped.STEPS // 5


def batches_with(data: ImageData, kernels: str, *changes: str) -> Iterator[Any]:
    """Yield endless batches."""
    native = kernels == "native"
    augmentation = Augmentation(changes, flip=True)
    return itertools.chain.from_iterable(
        batches(data, BATCH_SIZE, 0, epoch, augmentation, native=native)
        for epoch in itertools.count(1)
    )


def training_steps(data: ImageData, kernels: str) -> Iterator[Any]:
    """Yield the losses of endless training steps of cnn without augmentation."""
    study = Study(**RECIPE, augment=(), epochs=10**6)
    network, _ = build_network("cnn", resolve_activation("relu"), 10, 0, kernels=kernels)
    steps = Steps(network, data, study, Trial("relu", 0))
    return itertools.chain.from_iterable(steps.begin(epoch) for epoch in itertools.count(1))


def seconds(stream: Iterator[Any]) -> float:
    """Return the processor seconds of ``STEPS`` items of a stream."""
    begin = time.thread_time()
    for _ in range(STEPS):
        next(stream)
    return time.thread_time() - begin


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    configure_malloc()  # as in a worker process
    data = synthetic_data(test_images=1)
    steps = {kernels: training_steps(data, kernels) for kernels in ("torch", "native")}
    print(f"percent of a step, median (quartiles) of {rounds} rounds\n")
    print("| augmentation | torch: ms per batch | share | native: ms per batch | share |")
    print("|---|---|---|---|---|")
    without = {kernels: batches_with(data, kernels) for kernels in steps}
    for text in AUGMENTATIONS:
        changed = {kernels: batches_with(data, kernels, *text.split(",")) for kernels in steps}
        extra: dict[str, list[float]] = {kernels: [] for kernels in steps}
        shares: dict[str, list[float]] = {kernels: [] for kernels in steps}
        for _ in range(rounds):
            for kernels, stream in steps.items():
                extra[kernels].append(seconds(changed[kernels]) - seconds(without[kernels]))
                shares[kernels].append(100 * extra[kernels][-1] / seconds(stream))
        cells = []
        for kernels, values in shares.items():
            low, middle, high = statistics.quantiles(values, n=4)
            milliseconds = 1000 * statistics.median(extra[kernels]) / STEPS
            cells.append(f"{milliseconds:.2f} | {middle:.1f} ({low:.1f} to {high:.1f})")
        print(f"| {text} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
