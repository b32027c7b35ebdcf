"""Optimisations that brought no gain, timed alternately with what actbench does.

    python bench/tried.py

A ratio is the time of the attempt over the time of actbench's way; above 1 the attempt is slower.
Each side runs in a separate process, with one thread and freed memory kept, as in a worker.
"""

from __future__ import annotations

import argparse
import shutil
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
import torch.nn.functional as F
from tabulate import tabulate

from actbench.training import measure as evaluation
from actbench.training import steps
from actbench.training import trial as training
from cifar_shaped import BATCH_SIZE, STEPS
from contenders import our_evaluation, our_training
from interleaved import Contender, Ratio
from machine import machine

if TYPE_CHECKING:
    from collections.abc import Callable

    Code = Callable[[], object]

OURS = partial(our_training, STEPS * BATCH_SIZE)


class StridedPool(torch.autograd.Function):
    """2×2 max-pool of four strided slices; its backward pass writes the gradient once."""

    @staticmethod
    def forward(context: Any, x: torch.Tensor) -> torch.Tensor:
        """Return the maxima, and keep the position of each among the four."""
        slices = torch.stack([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)])
        largest, context.where = slices.max(0)
        context.shape = x.shape
        return largest

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        """Return the gradient; each of its four slices is written once."""
        out = torch.empty(context.shape).to(memory_format=torch.channels_last)
        for position in range(4):
            i, j = divmod(position, 2)
            out[..., i::2, j::2] = gradient * (context.where == position)
        return out


def train_with_strided_pool() -> Code:
    """Return the training with that pool."""
    run = OURS()

    def patched() -> None:
        with mock.patch.object(F, "max_pool2d", lambda x, _: StridedPool.apply(x)):
            run()

    return patched


def evaluate(batch: int = evaluation.EVALUATION_BATCH["cpu"]) -> Code:
    """Return the evaluation of 10,000 images in batches of some size."""
    run = our_evaluation()

    def patched() -> None:
        with mock.patch.dict(evaluation.EVALUATION_BATCH, cpu=batch):
            run()

    return patched


def train_with_optimizer(**options: bool) -> Code:
    """Return the training with torch.optim's SGD."""
    run = OURS()

    def optimizer(spec: str, parameters: Any, *, learning_rate: float, **_: Any) -> torch.optim.SGD:
        return torch.optim.SGD(parameters, lr=learning_rate, momentum=0.9, **options)

    def patched() -> None:
        with mock.patch.object(steps, "make_optimizer", optimizer):
            run()

    return patched


def train_compiled() -> Code:
    """Return the training with a compiled network."""
    run, compiled = OURS(), torch.compile
    train = training.train
    networks: dict[int, Any] = {}

    def of_compiled(network: torch.nn.Module, *arguments: Any) -> object:
        faster = networks.setdefault(id(network), compiled(network))
        return train(faster, *arguments)

    def patched() -> None:
        with mock.patch("contenders.train", of_compiled):
            run()

    return patched


def attempts() -> dict[str, tuple[Callable[[], Code], Callable[[], Code]]]:
    """Return each attempt and actbench's way, by name."""
    tried: dict[str, tuple[Callable[[], Code], Callable[[], Code]]] = {
        "training: a max-pool of strided slices": (train_with_strided_pool, OURS),
        "training: torch.optim.SGD, fused": (partial(train_with_optimizer, fused=True), OURS),
        "training: torch.optim.SGD, foreach": (partial(train_with_optimizer, foreach=True), OURS),
        "evaluation: batches of 32": (partial(evaluate, 32), evaluate),
        "evaluation: batches of 256": (partial(evaluate, 256), evaluate),
        "evaluation: batches of 1,000": (partial(evaluate, 1000), evaluate),
    }
    if shutil.which("c++"):
        tried["training: torch.compile"] = (train_compiled, OURS)
    return tried


def main() -> None:
    """Time every attempt and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=12)
    options = parser.parse_args()
    rows = []
    for name, (attempt, standard) in attempts().items():
        tried, ours = Contender(attempt), Contender(standard)
        seconds = [(tried(), ours()) for _ in range(options.rounds)]
        rows.append([name, str(Ratio.of(*zip(*seconds, strict=True)))])
        print(*rows[-1], sep=": ", flush=True)
    print(f"\n{machine()}\n")
    headers = ["attempt", "its time over ours [95 % interval]"]
    print(tabulate(rows, headers, tablefmt="pipe", disable_numparse=True))


if __name__ == "__main__":
    main()
