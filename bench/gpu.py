"""The seed experiment on a GPU: its correctness, its duration, and the time of each part.

    python bench/gpu.py --json gpu.json

One call measures everything, on synthetic images of CIFAR-10's shape. Only PyTorch, torchvision,
SciPy, tabulate and py-cpuinfo must be installed; the source next to this folder is used. ``--device
cpu --small`` tests the script without a GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tabulate import tabulate
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import plain_loop
from actbench.corruptions.test_sets import corrupted_test_images
from actbench.data.images import open_images, write_arrays
from actbench.execution.events import Finished
from actbench.execution.local import LocalWorkers
from actbench.models.activations import resolve_activation
from actbench.models.build import build_network
from actbench.store.stored_study import Work
from actbench.study.levels import SEVERITIES
from actbench.study.study import Study, Trial
from actbench.training.cuda import set_precision
from actbench.training.deferred import DeferredSteps
from actbench.training.devices import compute_devices, enter
from actbench.training.steps import Steps
from cifar_shaped import EXPERIMENT, synthetic_images
from machine import machine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actbench.execution.events import Event
    from actbench.store.record import TrialRecord

SPEC = "leaky_relu:0.1"
STEPS_COMPARED = 50
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Size:
    """The sizes of the measurements."""

    train_images: int
    test_images: int
    seeds: int
    epochs: int
    at_once: tuple[int, ...]
    plain_steps: int
    profiled_steps: int


FULL = Size(50_000, 10_000, 5, 10, (1, 2, 4, 8, 16, 30), 300, 200)
SMALL = Size(300, 40, 1, 1, (1, 2), 3, 5)


class Bench:
    """The inputs of every measurement: the device, the sizes and the images."""

    def __init__(self, device: str, size: Size, folder: Path) -> None:
        self.device, self.size, self.folder = device, size, folder
        parts = {"train": size.train_images, "test": size.test_images}
        arrays = {}
        for seed, (part, count) in enumerate(parts.items()):
            arrays[f"{part}_images"], arrays[f"{part}_labels"] = synthetic_images(count, seed)
        write_arrays(folder, {**arrays, "classes": map(str, range(10)), "flip": True})
        self.study = Study(
            **{**EXPERIMENT, "epochs": size.epochs},
            dataset="synthetic",
            device=device,
            kernels="torch",
            seeds=size.seeds,
        )

    @contextlib.contextmanager
    def workers(self, at_once: int) -> Iterator[Workers]:
        """Yield started workers that have already run their first steps."""
        workers = Workers(self, at_once)
        try:
            yield workers
        finally:
            workers.workers.close()


class Workers:
    """Started workers: libraries loaded, device in use.

    Attributes:
        start: the seconds of their start.
    """

    def __init__(self, bench: Bench, at_once: int) -> None:
        self.folder = bench.folder
        begin = time.perf_counter()
        self.workers = LocalWorkers(compute_devices(bench.device), at_once)
        first = replace(bench.study, seeds=(0,), epochs=1, train_images=64, corruptions=())
        self.run(replace(first, activations=("relu",)))
        self.start = time.perf_counter() - begin

    def run(self, study: Study) -> tuple[float, list[TrialRecord]]:
        """Return the seconds that a study's trials take, and their records."""
        records: list[TrialRecord] = []

        def hear(event: Event) -> None:
            if isinstance(event, Finished):
                records.append(event.record)

        begin = time.perf_counter()
        self.workers.run(study, [*map(Work, study.trials())], self.folder, hear)
        seconds = time.perf_counter() - begin
        failed = [f"{r.activation}, seed {r.seed}: {r.reason}" for r in records if r.status != "ok"]
        if failed:
            raise SystemExit("\n".join(failed))
        return seconds, sorted(records, key=lambda record: record.trial_id)


def own_stream(device: str) -> contextlib.AbstractContextManager[object]:
    """Return the context of a separate stream; steps can be captured only there."""
    if device == "cpu":
        return contextlib.nullcontext()
    return torch.cuda.stream(torch.cuda.Stream(device))  # type: ignore[no-untyped-call]


def first_losses(bench: Bench) -> dict[str, Any]:
    """Compare the losses of the first steps with those of single steps on one CPU thread."""
    data = open_images(bench.folder).train_subset(
        min(STEPS_COMPARED * bench.study.batch_size, bench.size.train_images)
    )
    trial = Trial(SPEC, 0)
    losses = []
    device = compute_devices(bench.device)[0]
    for taker, where in ((Steps, "cpu"), (DeferredSteps, device)):
        network, _ = build_network("cnn", resolve_activation(SPEC), 10, trial.seed)
        with own_stream(where):
            steps = taker(network.to(where), data.to(where), bench.study, trial)
            losses.append(list(steps.begin(1)))
    apart = max(abs(a - b) for a, b in zip(*losses, strict=True))
    return {"steps": len(losses[0]), "largest difference": apart, "within 1e-4": apart < TOLERANCE}


def same_records(bench: Bench) -> dict[str, Any]:
    """Return whether trials have the same records when run again, and when run one by one."""
    few = min(5000, bench.size.train_images)
    study = replace(
        bench.study,
        activations=("relu", SPEC, "prelu", "rrelu"),
        seeds=(0, 1),
        epochs=2,
        train_images=few,
        corruptions=("gaussian_noise",),
    )
    found = []
    for at_once in (8, 8, 1):
        with bench.workers(at_once) as workers:
            found.append(workers.run(study)[1])
    return {
        "trials": len(found[0]),
        "again": found[0] == found[1],
        "one by one": found[0] == found[2],
    }


def sweep(bench: Bench) -> dict[str, Any]:
    """Time the seed experiment: only training, then with the noise evaluation."""
    study, trials = bench.study, len(bench.study.trials())
    begin = time.perf_counter()
    data = open_images(bench.folder)
    for name in study.corruptions:
        for severity in SEVERITIES:
            corrupted_test_images(data, name, severity)
    found: dict[str, Any] = {"trials": trials, "noisy images, once": time.perf_counter() - begin}
    with bench.workers(trials) as workers:
        found["start"] = workers.start
        found["trained"], _ = workers.run(replace(study, corruptions=()))
        found["trained and evaluated"], records = workers.run(study)
    found["mean accuracy"] = sum(r.clean.accuracy for r in records) / trials
    return found


def at_once(bench: Bench) -> dict[str, float]:
    """Return the seconds per trial and epoch by the number of trials that run at once."""
    found = {}
    for count in bench.size.at_once:
        seeds = range(-(-count // len(bench.study.activations)))
        study = replace(bench.study, seeds=tuple(seeds), epochs=1, corruptions=())
        with bench.workers(count) as workers:
            seconds, records = workers.run(study)
        found[str(count)] = seconds / len(records)
    return found


def precisions(bench: Bench) -> dict[str, float]:
    """Return the seconds of one epoch of every trial in each precision of the device."""
    found = {}
    for precision in ("fp32", "bf16", *(["tf32"] if bench.device == "cuda" else [])):
        study = replace(bench.study, precision=precision, epochs=1, corruptions=())
        with bench.workers(len(study.trials())) as workers:
            found[precision], _ = workers.run(study)
    return found


def plain(bench: Bench) -> dict[str, float]:
    """Return the seconds of the tutorial's loop for a trial's epoch, from its first steps."""
    device = compute_devices(bench.device)[0]
    count = (bench.size.plain_steps + 1) * plain_loop.BATCH_SIZE
    images = plain_loop.synthetic_data(min(count, bench.size.train_images), test_images=1)
    loader = plain_loop.make_loader(images("train", plain_loop.TRAIN_TRANSFORM), shuffle=True)
    model = plain_loop.make_cnn(negative_slope=0.1).to(device)
    optimizer = plain_loop.make_optimizer(model)
    begin, taken = 0.0, -1  # the first step is not timed
    for images_now, labels in loader:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images_now.to(device)), labels.to(device))
        loss.backward()
        optimizer.step()
        if taken < 0:
            loss.item()
            begin = time.perf_counter()
        taken += 1
    loss.item()
    step = (time.perf_counter() - begin) / taken
    return {"steps": taken, "epoch": step * bench.size.train_images / plain_loop.BATCH_SIZE}


def steps_by_kernel(bench: Bench) -> dict[str, float]:
    """Return the µs per step of the slowest kernels, for a single trial."""
    device, trial = compute_devices(bench.device)[0], Trial(SPEC, 0)
    wanted = bench.size.profiled_steps * bench.study.batch_size
    data = open_images(bench.folder).train_subset(min(wanted, bench.size.train_images)).to(device)
    network, _ = build_network("cnn", resolve_activation(SPEC), 10, trial.seed)
    steps = DeferredSteps(network.to(device), data, bench.study, trial)
    activity = ProfilerActivity.CUDA if bench.device == "cuda" else ProfilerActivity.CPU
    with own_stream(device):
        list(steps.begin(1))  # graphs are captured
        begin = time.perf_counter()
        list(steps.begin(2))
        seconds = time.perf_counter() - begin
        with profile(activities=[activity]) as profiled:
            list(steps.begin(3))
    kind = "self_device_time_total" if bench.device == "cuda" else "self_cpu_time_total"
    events = [(event.key, getattr(event, kind)) for event in profiled.key_averages()]
    events.sort(key=lambda event: -event[1])
    found = {name[:70]: total / steps.count for name, total in events[:15]}
    every = sum(total for _, total in events) / steps.count
    return {"a complete step": 1e6 * seconds / steps.count, "all kernels": every, **found}


MEASUREMENTS = {
    "first losses, CPU and device": first_losses,
    "the same records": same_records,
    "the seed experiment, s": sweep,
    "s per trial and epoch, by trials at once": at_once,
    "s per epoch of all trials, by precision": precisions,
    "the tutorial's loop, s": plain,
    "µs per step, a single trial": steps_by_kernel,
}


def main() -> None:
    """Measure everything, write it after each part, and print the table last."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--small", action="store_true", help="test the script: no useful figures")
    parser.add_argument("--json", type=Path, help="where the figures are written")
    options = parser.parse_args()
    if not compute_devices(options.device):
        raise SystemExit("PyTorch finds no GPU; --device cpu --small tests the script without one")
    found: dict[str, Any] = {"machine": machine()}
    if options.device == "cuda":
        found["gpus"] = [torch.cuda.get_device_name(device) for device in compute_devices("cuda")]
    with tempfile.TemporaryDirectory() as name:
        os.environ["ACTBENCH_CACHE"] = str(Path(name) / "cache")
        bench = Bench(options.device, SMALL if options.small else FULL, Path(name) / "images")
        enter(compute_devices(options.device)[0])
        set_precision("fp32")
        rows = []
        for title, measure in MEASUREMENTS.items():
            begin = time.perf_counter()
            found[title] = measure(bench)
            print(f"{title}: {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
            rows += [[title, *item] for item in found[title].items()]
            if options.json:
                options.json.write_text(json.dumps(found, indent=1))
    print(f"{found['machine']}, {', '.join(found.get('gpus', []))}")
    print(tabulate(rows, ["what", "which", "measured"], tablefmt="pipe", floatfmt=".4g"))


if __name__ == "__main__":
    main()
