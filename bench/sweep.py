"""The complete sweep against the plain loop, from interleaved repetitions of its parts.

The sweep is the experiment for which actbench was written: six activations, ten epochs of 50,000
images with a clean test after each, then four noises at five severities on 10,000 images. Each
repetition times one trial of the plain loop, and two trials of actbench at once on two workers,
for one epoch; the sweep's cost follows from the parts.

    python bench/sweep.py --repetitions 5 --json sweep.json
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import multiprocessing
import os
import shutil
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from tabulate import tabulate

from actbench.execution.corrupted_sets import prepare_corruptions
from actbench.execution.events import Finished
from actbench.execution.plan import prepare_study
from actbench.execution.trials import PendingTrials, make_executor, run_trials
from actbench.report.write import write_report
from actbench.store.store import Store
from actbench.study.run_options import RunOptions
from actbench.study.study import Study
from actbench.training.devices import has_bfloat16
from actbench.training.events import Progress
from actbench.training.trial import STEPS_BETWEEN_REPORTS
from cifar_shaped import EXPERIMENT, TEST_IMAGES, TRAIN_IMAGES, write_image_folder
from interleaved import Ratio, own_process
from machine import machine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.process import BaseProcess

    from actbench.execution.events import Event
    from actbench.study.study import Trial

    Parts = dict[str, float]
    TimedEvent = tuple[float, Event]

EPOCHS = EXPERIMENT["epochs"]
TRIALS = len(EXPERIMENT["activations"])
WORKERS = 2
FEWEST_IMAGES = 2 * STEPS_BETWEEN_REPORTS * EXPERIMENT["batch_size"]
# how actbench may compute: precision and kernels
WAYS = {
    "native": ("fp32", "native"),
    "PyTorch's kernels": ("fp32", "torch"),
    "bf16": ("bf16", "torch"),
}
PARTS = ("training epoch", "clean test", "noise evaluation")


def plain_trial(train_images: int) -> Parts:
    """Return the seconds of each part of one trial of the plain loop."""
    import torch

    from plain_loop import (
        TEST_TRANSFORM,
        TRAIN_TRANSFORM,
        corrupted_accuracy,
        evaluate,
        make_cnn,
        make_loader,
        make_optimizer,
        synthetic_data,
        train_epoch,
    )

    make_dataset = synthetic_data(train_images, TEST_IMAGES)
    torch.manual_seed(0)
    model = make_cnn(negative_slope=0.01)
    optimizer = make_optimizer(model)
    train_loader = make_loader(make_dataset("train", TRAIN_TRANSFORM), shuffle=True)
    test_loader = make_loader(make_dataset("test", TEST_TRANSFORM), shuffle=False)
    train_epoch(model, [next(iter(train_loader))], optimizer)  # a first step takes longer
    with contextlib.redirect_stderr(io.StringIO()):
        return {
            "training epoch": seconds(lambda: train_epoch(model, train_loader, optimizer)),
            "clean test": seconds(lambda: evaluate(model, test_loader)),
            "noise evaluation": seconds(lambda: corrupted_accuracy(model, make_dataset)),
        }


def seconds(run: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def actbench_trials(data_dir: Path, way: str) -> Parts:
    """Return the seconds of each part of a trial, the mean of two that run at once.

    ``trial start`` is from the assignment of a trial to its first step; ``once`` is the work that
    a study does once: start of the workers, self-checks, corrupted test sets, report. ``peak MiB``
    is the largest memory that a worker used, including shared memory.
    """
    # the corrupted test sets belong to what is measured
    shutil.rmtree(Path(os.environ["ACTBENCH_CACHE"]) / "images", ignore_errors=True)
    precision, kernels = WAYS[way]
    activations = EXPERIMENT["activations"][:WORKERS]
    study = Study(
        **{**EXPERIMENT, "activations": activations, "epochs": 1},
        dataset="imagefolder",
        data_dir=str(data_dir),
        seeds=1,
        precision=precision,
        kernels=kernels,
    )
    events: list[TimedEvent] = []
    peaks: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        total = seconds(lambda: run_study(study, Path(folder), events, peaks))
    trials = [trial_parts(events, trial) for trial in study.trials()]
    means = {part: sum(t[part] for t in trials) / len(trials) for part in trials[0]}
    ends = [(at, event.seconds) for at, event in events if isinstance(event, Finished)]
    busy = max(at for at, _ in ends) - min(at - took for at, took in ends)
    return {**means, "once": total - busy, "peak MiB": max(peaks, default=math.nan)}


def run_study(study: Study, folder: Path, events: list[TimedEvent], peaks: list[float]) -> None:
    """Do what ``actbench.run`` does in a new folder; record peaks and every event's time."""
    executor = make_executor(study, RunOptions(workers=WORKERS))
    try:
        plan = prepare_study(study)
        store = Store(folder)
        with store.locked():
            stored = store.open(plan.study)
            stored.begin()
            prepare_corruptions(plan, prepare=executor.prepare)
            run_trials(
                PendingTrials(plan, stored, stored.pending()),
                executor,
                lambda event: events.append((time.perf_counter(), event)),
            )
            write_report(store, plan.study)
        peaks.extend(map(peak_memory, multiprocessing.active_children()))
    finally:
        executor.close()


def peak_memory(process: BaseProcess) -> float:
    """Return the peak resident memory of a process in MiB; NaN if Linux does not report it."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    except OSError:
        return math.nan
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def trial_parts(events: Sequence[TimedEvent], trial: Trial) -> Parts:
    """Return the seconds of a trial's parts, from the times of its progress reports.

    The rate between the first and the last report inside the epoch is scaled to the complete epoch.
    """
    reports = [
        (at, event) for at, event in events if isinstance(event, Progress) and event.trial == trial
    ]
    (first, first_report), *_, (last, last_report), (tested, end) = reports
    ended, took = next(
        (at, event.seconds)
        for at, event in events
        if isinstance(event, Finished) and event.record.trial == trial
    )
    step = (last - first) / (last_report.step - first_report.step)
    return {
        "training epoch": end.steps * step,
        "clean test": tested - last - (end.steps - last_report.step) * step,
        "noise evaluation": ended - tested,
        "trial start": first - first_report.step * step - (ended - took),
    }


def plain_sweep(parts: Parts) -> float:
    """Return the seconds of the complete sweep with the plain loop."""
    epoch = parts["training epoch"] + parts["clean test"]
    return TRIALS * (EPOCHS * epoch + parts["noise evaluation"])


def actbench_sweep(parts: Parts) -> float:
    """Return the seconds of the complete sweep with actbench on two workers."""
    epoch = parts["training epoch"] + parts["clean test"]
    trial = parts["trial start"] + EPOCHS * epoch + parts["noise evaluation"]
    return parts["once"] + TRIALS / WORKERS * trial


def rows_of(plain: Sequence[Parts], ours: Sequence[Parts]) -> list[list[str]]:
    """Return the table: the time of each part per trial, and of the sweep, with the ratio."""
    compared = {
        part: ([p[part] for p in plain], [o[part] / WORKERS for o in ours]) for part in PARTS
    }
    compared["the complete sweep"] = (
        [plain_sweep(parts) for parts in plain],
        [actbench_sweep(parts) for parts in ours],
    )
    rows = [
        [part, f"{median(a):.2f}", f"{median(b):.2f}", str(Ratio.of(a, b))]
        for part, (a, b) in compared.items()
    ]
    for part, shared in (("trial start", WORKERS), ("once", 1)):
        rows.insert(-1, [part, "", f"{median(o[part] / shared for o in ours):.2f}", ""])
    return rows


def main() -> None:
    """Measure, and print the tables last."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument(
        "--train-images",
        type=int,
        default=TRAIN_IMAGES,
        help=f"fewer take less time; the epoch is scaled up from them; at least {FEWEST_IMAGES}",
    )
    parser.add_argument(
        "--ways",
        choices=WAYS,
        nargs="+",
        default=[way for way in WAYS if way != "bf16" or has_bfloat16("cpu")],
        help="how actbench computes; by default bf16 only if the processor has it",
    )
    parser.add_argument("--json", type=Path, help="write all repetitions to this file")
    options = parser.parse_args()
    if options.train_images < FEWEST_IMAGES:
        parser.error(f"--train-images must be at least {FEWEST_IMAGES}")

    plain: list[Parts] = []
    ours: dict[str, list[Parts]] = {way: [] for way in options.ways}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ACTBENCH_CACHE"] = str(Path(folder) / "cache")
        data_dir = Path(folder) / "images"
        write_image_folder(data_dir, options.train_images, TEST_IMAGES)
        actbench_trials(data_dir, "native")  # decodes the images and compiles, once
        for repetition in range(1, options.repetitions + 1):
            with own_process() as process:
                plain.append(process.submit(plain_trial, options.train_images).result())
            for way, measured in ours.items():
                measured.append(actbench_trials(data_dir, way))
            for parts in (plain[-1], *(measured[-1] for measured in ours.values())):
                parts["training epoch"] *= TRAIN_IMAGES / options.train_images
            ratios = (plain_sweep(plain[-1]) / actbench_sweep(m[-1]) for m in ours.values())
            shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
            print(f"repetition {repetition} of {options.repetitions}: {shown}", flush=True)

    if options.json:
        content = {
            "machine": machine(),
            "train_images": options.train_images,
            "plain_loop": plain,
            "actbench": ours,
            "sweep_ratio": {
                way: asdict(
                    Ratio.of([plain_sweep(p) for p in plain], [actbench_sweep(o) for o in measured])
                )
                for way, measured in ours.items()
            },
        }
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"\n{machine()}; n = {options.repetitions} interleaved repetitions")
    for way, measured in ours.items():
        print_table(way, plain, measured)


def print_table(way: str, plain: Sequence[Parts], ours: Sequence[Parts]) -> None:
    """Print the times of the plain loop and actbench, those of the noise, and the memory."""
    headers = ["seconds per trial", "plain loop", f"actbench, {way}", "ratio [95 % interval]"]
    table = tabulate(rows_of(plain, ours), headers, tablefmt="pipe", disable_numparse=True)
    share = median(
        o["noise evaluation"] / (EPOCHS * (o["training epoch"] + o["clean test"])) for o in ours
    )
    peak = max(o["peak MiB"] for o in ours)
    print(
        f"\n{table}\n\nThe noise evaluation takes {share:.1%} of a trial's {EPOCHS} epochs; "
        f"a worker had at most {peak:.0f} MiB resident, the mapped images included."
    )


if __name__ == "__main__":
    main()
