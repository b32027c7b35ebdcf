"""The gain of each design decision: two ways of doing the same work, timed alternately."""

from __future__ import annotations

import shutil
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from actbench.data.images import prepare
from actbench.execution.corrupted_sets import prepare_corruptions
from actbench.execution.plan import prepare_study
from actbench.execution.trials import make_executor
from actbench.files.cache import cache_folder
from actbench.store.stored_study import Work
from actbench.study.run_options import RunOptions
from actbench.study.study import Study
from cifar_shaped import BATCH_SIZE, STEPS, TEST_IMAGES, write_image_folder
from contenders import our_evaluation, our_training, plain_steps, plain_training
from helpers.compiler import has_compiler
from interleaved import Contender

if TYPE_CHECKING:
    from pathlib import Path

    from actbench.execution.executors import Executor
    from conftest import Compare

OURS = partial(our_training, STEPS * BATCH_SIZE)


@has_compiler
def test_plain_loop(compare: Compare) -> None:
    """A step of the plain loop, all threads and two loaders, against actbench's on one thread."""
    images = 2 * STEPS * BATCH_SIZE
    plain = Contender(partial(plain_training, images), threads=None, memory_kept=False)
    ours = Contender(partial(our_training, images, kernels="native"))
    compare({"plain loop": plain, "one worker": ours}, rounds=7)


@has_compiler
@pytest.mark.parametrize(
    ("model", "steps", "rounds"),
    [
        ("resnet20", 10, 12),
        ("resnet18", 5, 7),
        ("deep_cnn", 10, 12),
        ("torchvision:resnet18", 15, 12),
        ("torchvision:mobilenet_v2", 8, 12),
    ],
)
def test_plain_step(compare: Compare, model: str, steps: int, rounds: int) -> None:
    """A step with ReLU against a plain one on prepared batches, channels_last.

    deep_cnn has the native kernels for two of its layers, as by default; torchvision's network is
    converted.
    """
    images = min(steps, STEPS) * BATCH_SIZE
    kernels = "native" if model == "deep_cnn" else "torch"
    step = partial(our_training, images, model=model, activation="relu", kernels=kernels)
    ours = Contender(step)
    plain = Contender(partial(plain_steps, images, model))
    compare({f"step of {model}": ours, "plain step": plain}, rounds=rounds)


@has_compiler
@pytest.mark.parametrize("activation", ["leaky_relu:0.01", "tanh", "elu", "gelu", "silu", "mish"])
def test_native_training(compare: Compare, activation: str) -> None:
    """A step with PyTorch's kernels against convolution and pool as one native operation."""
    usual = partial(OURS, activation=activation)
    theirs, native = Contender(usual), Contender(partial(usual, kernels="native"))
    compare({f"{activation}: PyTorch's kernels": theirs, "native": native}, rounds=12)


@has_compiler
def test_native_evaluation(compare: Compare) -> None:
    """The same for an evaluation."""
    ours = partial(our_evaluation, kernels="native")
    usual, native = Contender(our_evaluation), Contender(ours)
    compare({"evaluation: PyTorch's kernels": usual, "native": native}, rounds=12)


def test_activation_before_the_pool(compare: Compare) -> None:
    """A step with the activation before the pool, as defined, against the pool first."""
    defined, ours = Contender(partial(OURS, pool_first=False)), Contender(OURS)
    compare({"activation first": defined, "pool first": ours}, rounds=12)


def test_default_memory_format(compare: Compare) -> None:
    """A step in NCHW against channels_last."""
    nchw, ours = Contender(partial(OURS, channels_last=False)), Contender(OURS)
    compare({"NCHW": nchw, "channels_last": ours}, rounds=12)


def test_pool_without_indices(compare: Compare) -> None:
    """An evaluation with PyTorch's max-pool against two comparisons."""
    usual_pool = partial(our_evaluation, pool_with_indices=True)
    usual, ours = Contender(usual_pool), Contender(our_evaluation)
    compare({"max_pool2d": usual, "two comparisons": ours}, rounds=12)


def test_precision(compare: Compare) -> None:
    """A step in fp32 against bf16."""
    fine, coarse = Contender(OURS), Contender(partial(OURS, precision="bf16"))
    compare({"fp32": fine, "bf16": coarse}, rounds=12)


def test_gradient_norms(compare: Compare) -> None:
    """A step with gradient norms against one without."""
    ours, without = Contender(OURS), Contender(partial(OURS, gradient_norms=False))
    compare({"gradient norms": ours, "no gradient norms": without}, rounds=20)


def test_allocator(compare: Compare) -> None:
    """A step with glibc's defaults against memory that is kept."""
    default, ours = Contender(OURS, memory_kept=False), Contender(OURS)
    compare({"glibc's defaults": default, "memory kept": ours}, rounds=12)


def test_workers(compare: Compare, tmp_path: Path) -> None:
    """Four trials on one worker against two; the workers are already started."""
    write_image_folder(tmp_path, STEPS * BATCH_SIZE, min(TEST_IMAGES, 1000))
    data_folder = prepare("imagefolder", str(tmp_path))
    study = Study(
        dataset="imagefolder",
        data_dir=str(tmp_path),
        activations=("relu", "leaky_relu:0.01"),
        seeds=2,
        epochs=2,
        corruptions=("gaussian_noise",),
    )

    works = [Work(trial) for trial in study.trials()]

    def seconds(executor: Executor) -> float:
        begin = time.perf_counter()
        executor.run(study, works, data_folder, lambda event: None)
        return time.perf_counter() - begin

    one, two = (make_executor(study, RunOptions(workers=n)) for n in (1, 2))
    try:
        for executor in (one, two):
            seconds(executor)
        compare(
            {"one worker": partial(seconds, one), "two workers": partial(seconds, two)}, rounds=7
        )
    finally:
        one.close()
        two.close()


def test_corrupted_sets(compare: Compare, tmp_path: Path) -> None:
    """All corruptions of 2,000 images, made by one process of one thread against two workers."""
    write_image_folder(tmp_path, STEPS * BATCH_SIZE, min(TEST_IMAGES, 2000))
    study = Study(dataset="imagefolder", data_dir=str(tmp_path), corruptions=("all",))
    plan = prepare_study(study)

    def seconds(executor: Executor) -> float:
        shutil.rmtree(cache_folder() / "images", ignore_errors=True)
        begin = time.perf_counter()
        prepare_corruptions(plan, prepare=executor.prepare)
        return time.perf_counter() - begin

    one, two = (make_executor(study, RunOptions(workers=n)) for n in (1, 2))
    try:
        ways = {"sets by one process": partial(seconds, one), "two workers": partial(seconds, two)}
        for run in ways.values():
            run()
        compare(ways, rounds=7)
    finally:
        one.close()
        two.close()
