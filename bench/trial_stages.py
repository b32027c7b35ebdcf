"""The time of each stage of a study's trials: training, corrupted images, evaluation, attacks.

The first trials of the study are run one after the other, each as a worker runs it, with one
thread. The first trial makes the corrupted images; the others only map them.

    python bench/trial_stages.py bench/robustness.toml --trials 2
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from collections import defaultdict
from inspect import isgeneratorfunction
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
from tabulate import tabulate

from actbench.attacks.base import Attack
from actbench.data.images import open_images, prepare
from actbench.execution.executors import configure_malloc
from actbench.execution.plan import prepare_study
from actbench.study.toml import study_from_toml
from actbench.training import measurements
from actbench.training import trial as trial_module
from actbench.training.trial import run_to_end
from machine import machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from actbench.data.images import ImageData
    from actbench.study.study import Study, Trial

STAGES = {
    (trial_module, "train"): "training, with a clean test after each epoch",
    (measurements, "corrupted_test_images"): "corrupted images",
    (measurements, "predict"): "evaluation: logits",
    (measurements, "score"): "evaluation: measures of them",
    (measurements, "calibration_error"): "evaluation: measures of them",
    (measurements, "input_gradient_norm"): "input gradients",
    (measurements, "masking_checks"): "masking guard",
}


@contextlib.contextmanager
def timed(seconds: dict[str, float]) -> Iterator[None]:
    """Add to ``seconds`` the duration of each stage of the trials in this block.

    A stage within a stage, such as an attack by the masking guard, counts as the outer one.
    """
    under_way: list[str] = []

    def timing(run: Callable[..., Any], name: Callable[..., str]) -> Callable[..., Any]:
        @contextlib.contextmanager
        def stage(*arguments: Any) -> Iterator[None]:
            if under_way:
                yield
                return
            under_way.append(name(*arguments))
            begun = time.perf_counter()
            yield
            seconds[under_way.pop()] += time.perf_counter() - begun

        def run_and_time(*arguments: Any, **options: Any) -> Any:
            with stage(*arguments):
                return run(*arguments, **options)

        def run_in_stretches_and_time(*arguments: Any, **options: Any) -> Any:
            with stage(*arguments):
                return (yield from run(*arguments, **options))

        return run_in_stretches_and_time if isgeneratorfunction(run) else run_and_time

    with contextlib.ExitStack() as patches:
        for (module, function), stage in STAGES.items():
            run = timing(getattr(module, function), lambda *_, stage=stage: stage)
            patches.enter_context(mock.patch.object(module, function, run))
        run = timing(Attack.__call__, lambda attack, *_: f"attack: {attack.spec}")
        patches.enter_context(mock.patch.object(Attack, "__call__", run))
        yield


def stages(study: Study, trial: Trial, data: ImageData) -> dict[str, float]:
    """Return the seconds of one trial by stage, and of the complete trial as ``total``."""
    seconds: dict[str, float] = defaultdict(float)
    begun = time.perf_counter()
    with timed(seconds):
        run_to_end(trial_module.run_trial(study, trial, data, lambda progress: None))
    return {**seconds, "total": time.perf_counter() - begun}


def main() -> None:
    """Run the trials and print a column of seconds for each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("study", type=Path, help="a study.toml")
    parser.add_argument("--trials", type=int, default=2)
    options = parser.parse_args()
    study = study_from_toml(options.study.read_text(encoding="utf-8"), str(options.study))
    configure_malloc()
    torch.set_num_threads(1)
    study = prepare_study(study).study
    trials = study.trials()[: options.trials]
    data = open_images(prepare(study.dataset, study.data_dir, study.image_size))
    with tempfile.TemporaryDirectory() as cache:
        os.environ["ACTBENCH_CACHE"] = cache
        columns = [stages(study, trial, data) for trial in trials]
    rows = [
        [stage, *(f"{column.get(stage, 0):.1f}" for column in columns)]
        for stage in dict.fromkeys(stage for column in columns for stage in column)
    ]
    print(f"{machine()}\n")
    headers = ["seconds", *(f"{trial.activation}, seed {trial.seed}" for trial in trials)]
    align = ["left", *["right"] * len(trials)]
    print(tabulate(rows, headers, tablefmt="pipe", disable_numparse=True, colalign=align))


if __name__ == "__main__":
    main()
