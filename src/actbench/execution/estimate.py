"""How long trials will take, from a few timed training steps."""

from __future__ import annotations

import contextlib
import math
import statistics
import time
import timeit
from typing import TYPE_CHECKING

import torch

from actbench.data.images import study_images
from actbench.execution.executors import default_workers
from actbench.models.global_state import settings_kept
from actbench.report.formatting import duration
from actbench.study.levels import severities
from actbench.study.measurements import measurements_of
from actbench.study.study import Trial
from actbench.training.measure import predict
from actbench.training.recipe import trained_images
from actbench.training.steps import Steps
from actbench.training.trial import trial_network

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actbench.data.images import ImageData
    from actbench.execution.trials import PendingTrials
    from actbench.store.record import TrialRecord
    from actbench.study.run_options import RunOptions
    from actbench.study.study import Study

TIMED_STEPS = 4  # the first, which is slower, does not count; fewer if trials have few steps
TIMED_IMAGES = 128
CLEAN_PASSES = 4  # a prediction, and the gradient in the images
TIMED_SECONDS = 2.0  # no other activation is timed after these


def estimate(parts: Iterable[PendingTrials], options: RunOptions) -> str:
    """Return a line that says about how long trials will take; empty if that is not known.

    Training steps and the evaluation of images are timed, and the time for anything else is left
    out. It is not known for GPUs and Ray, if there is nothing to do but attacks, or if user code
    raises an exception.

    Args:
        parts: the trials that are to be run.
        options: how they are run.
    """
    found = [part for part in parts if part.works]
    if not found or found[0].plan.study.device != "cpu" or options.executor == "ray":
        return ""
    seconds = 0.0
    # what user code raises ends only its trials
    with contextlib.suppress(Exception, SystemExit), settings_kept(fresh=True):
        seconds = sum(map(_seconds, found))
    if not seconds:
        return ""
    count = sum(len(part.works) for part in found)
    workers = default_workers() if options.workers is None else options.workers
    workers = max(1, min(workers, count))
    at_once = min(workers, default_workers())
    attacks = ", without the attacks" if any(part.plan.study.attacks for part in found) else ""
    which = f"{count} trials in {workers} processes" if workers > 1 else f"{count} trials"
    return f"{which}: about {duration(seconds / at_once)}{attacks}"


def _seconds(part: PendingTrials) -> float:
    """Return the seconds of trials, one after another on one thread.

    Each activation is timed, or as many as ``TIMED_SECONDS`` allow.
    """
    study, works = part.plan.study, part.works
    data = study_images(part.plan.data_folder, study)
    amounts = [_amount(study, work.record, data, part.is_trained(work)) for work in works]
    steps = max(steps for steps, _ in amounts)
    timed = max(2, min(TIMED_STEPS, steps // 4)) if steps else 0
    speeds: dict[str, tuple[float, float]] = {}
    begin = time.perf_counter()
    for activation in dict.fromkeys(work.trial.activation for work in works):
        if time.perf_counter() - begin < TIMED_SECONDS:
            speeds[activation] = _speeds(study, activation, data, timed)
    seconds = 0.0
    for work, (steps, images) in zip(works, amounts, strict=True):
        step, image = speeds.get(work.trial.activation) or max(speeds.values())
        seconds += steps * step + images * image
    return seconds


def _amount(
    study: Study, record: TrialRecord | None, data: ImageData, is_trained: bool
) -> tuple[int, int]:
    """Return the training steps of a trial and the images that it evaluates, but for attacks."""
    tests, steps, images = len(data.test_images), 0, 0
    if not is_trained:
        count = trained_images(study, data)
        in_epoch = math.ceil(count / study.batch_size)
        steps = study.steps or study.epochs * in_epoch
        scored = len(data.train_images) - count if study.validation else tests
        images = math.ceil(steps / in_epoch) * scored
    missing = measurements_of(study, tests) if record is None else record.missing(study)
    for measurement in missing:
        if measurement.kind == "clean":
            images += CLEAN_PASSES * tests
        elif measurement.kind == "corruption":
            images += len(severities(measurement.spec)) * tests
    return steps, images


def _speeds(study: Study, activation: str, data: ImageData, steps: int) -> tuple[float, float]:
    """Return the seconds of a training step, if any are timed, and of evaluating one image."""
    step = step_seconds(study, activation, data, steps) if steps else 0.0
    network, _ = trial_network(
        study, Trial(activation, study.seeds[0]), len(data.classes), data.image_size
    )
    some = data.test_images[:TIMED_IMAGES]
    with settings_kept(), torch.random.fork_rng(devices=[]):
        torch.set_num_threads(1)
        passes = timeit.repeat(lambda: predict(network, some, study.precision), repeat=2, number=1)
    return step, min(passes) / len(some)


def step_seconds(study: Study, activation: str, data: ImageData, steps: int) -> float:
    """Return the mean seconds of a trial's first training steps without the very first.

    They are taken on one thread.
    """
    trial = Trial(activation, study.seeds[0])
    with settings_kept(), torch.random.fork_rng(devices=[]):
        torch.set_num_threads(1)
        few = data.train_subset(min(steps * study.batch_size, len(data.train_images)))
        network, _ = trial_network(study, trial, len(data.classes), data.image_size)
        losses = Steps(network, few, study, trial).begin(1)
        found = []
        begin = time.perf_counter()
        for _ in losses:
            found.append(time.perf_counter() - begin)
            begin = time.perf_counter()
    return statistics.fmean(found[1:] or found)
