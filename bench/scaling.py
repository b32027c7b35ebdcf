"""How the time of a study grows with trials, seeds, epochs, images, pixels and workers.

Each dimension of a small study on synthetic images is varied separately; time = a + b·x is fitted.
The peak memory of a process that trains is measured for each size of the images.

    python bench/scaling.py --repetitions 3
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from tabulate import tabulate

import actbench
from actbench.execution.executors import default_workers
from actbench.study.study import Study
from cifar_shaped import EXPERIMENT, write_image_folder
from machine import machine

if TYPE_CHECKING:
    from collections.abc import Sequence

TEST_IMAGES = 500
TRAIN_IMAGES = 6400
MAX_TRAIN_IMAGES = 25_600
SIZES = (32, 48, 64, 96, 128)
BASE = {
    **EXPERIMENT,
    "activations": ("relu",),
    "seeds": 1,
    "epochs": 1,
    "train_images": TRAIN_IMAGES,
    "workers": 1,
}


@dataclass(frozen=True)
class Dimension:
    """A varied dimension: its settings, added to ``BASE``, by x; labels of x and the slope."""

    label: str
    unit: str
    settings: dict[float, dict[str, object]]


def dimensions(most_workers: int) -> list[Dimension]:
    """Return the grid."""
    four = {"activations": EXPERIMENT["activations"][:4]}
    return [
        Dimension(
            "trials, one seed",
            "s per trial",
            {n: {"activations": EXPERIMENT["activations"][:n]} for n in (1, 2, 4, 6)},
        ),
        Dimension("seeds, one activation", "s per trial", {n: {"seeds": n} for n in (1, 2, 4, 6)}),
        Dimension("epochs", "s per epoch", {n: {"epochs": n} for n in (1, 2, 4, 8)}),
        Dimension(
            "training images, thousands",
            "s per thousand",
            {n / 1000: {"train_images": n} for n in (3200, 6400, 12_800, MAX_TRAIN_IMAGES)},
        ),
        Dimension(
            "thousand pixels per image",
            "s per thousand",
            {size**2 / 1000: {"image_size": size} for size in SIZES},
        ),
        Dimension(
            "1 / workers, four trials",
            "s of work",
            {1 / n: {**four, "workers": n} for n in range(1, most_workers + 1)},
        ),
    ]


def measure(settings: dict[str, object], root: Path) -> float:
    """Return the seconds of a complete run with these settings; ``root`` is from ``write_images``.

    Images of another size are those of the smaller folder, which has as many as ``BASE`` uses.
    """
    values = {**BASE, **settings}
    workers = values.pop("workers")
    data_dir = root / ("few" if "image_size" in settings else "many")
    study = Study(dataset="imagefolder", data_dir=str(data_dir), **values)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        actbench.run(study, folder, workers=workers, quiet=True)
        return time.perf_counter() - begin


def write_images(root: Path) -> None:
    """Write the image folders ``many`` and ``few``."""
    write_image_folder(root / "many", MAX_TRAIN_IMAGES, TEST_IMAGES)
    write_image_folder(root / "few", TRAIN_IMAGES, TEST_IMAGES)


def peak_memory(size: int, root: Path) -> float:
    """Return the peak resident memory, in MB, of a process that runs a trial at this size.

    It includes the mapped images, whose memory the system can take back.
    """
    command = [sys.executable, __file__, "--memory-of", str(size), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def print_own_peak_memory(size: int, root: Path) -> None:
    """Run a trial in this process, and print its peak resident memory in MB."""
    measure({"image_size": size, "workers": 0}, root)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)


def fit(x: Sequence[float], y: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return (b, a) of y = a + b·x, and their standard errors."""
    line, covariance = np.polyfit(x, y, 1, cov=True)
    return line, np.sqrt(np.diag(covariance))


def draw(measured: dict[str, list[tuple[float, float]]], units: dict[str, str]) -> Figure:
    """Return a figure with a panel per dimension: every measurement, and the fitted line."""
    figure = Figure(figsize=(2.4 * len(measured), 3), layout="constrained")
    panels = figure.subplots(1, len(measured), sharey=True)
    for panel, (label, points) in zip(panels, measured.items(), strict=True):
        x, y = zip(*points, strict=True)
        (b, a), _ = fit(x, y)
        ends = np.array([0, max(x)])
        panel.plot(ends, a + b * ends, color="0.6")
        panel.plot(x, y, ".")
        panel.set(xlabel=label, title=f"{a:.1f} s + {b:.2f} {units[label]}")
        panel.title.set_fontsize("medium")
    panels[0].set_ylabel("seconds, complete run")
    panels[0].set_ylim(bottom=0)
    return figure


def rows_of(
    grid: Sequence[Dimension], measured: dict[str, list[tuple[float, float]]]
) -> list[list[str]]:
    """Return the table: a fitted line for each dimension."""
    rows = []
    for dimension in grid:
        x, y = zip(*measured[dimension.label], strict=True)
        (b, a), (b_error, a_error) = fit(x, y)
        values = ", ".join(f"{value:g}" for value in dimension.settings)
        constant = f"{a:.2f} ± {a_error:.2f}"
        slope = f"{b:.3f} ± {b_error:.3f} {dimension.unit}"
        rows.append([dimension.label, values, constant, slope, str(len(x))])
    return rows


def main() -> None:
    """Measure the grid in random order, write the figure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument(
        "--figure", type=Path, default=Path(__file__).with_name("scaling.svg"), help="an SVG file"
    )
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        print_own_peak_memory(int(options.memory_of[0]), Path(options.memory_of[1]))
        return
    if options.repetitions < 2:
        parser.error("--repetitions must be at least 2: a fit to fewer has no standard error")

    grid = dimensions(max(2, default_workers()))
    measured: dict[str, list[tuple[float, float]]] = {d.label: [] for d in grid}
    runs = [(d.label, x, settings) for d in grid for x, settings in d.settings.items()]
    order = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ACTBENCH_CACHE"] = str(Path(folder) / "cache")
        root = Path(folder) / "images"
        write_images(root)
        for settings in ({}, *({"image_size": size} for size in SIZES)):
            measure(settings, root)  # decodes and corrupts the images into the cache
        for _ in range(options.repetitions):
            # a slow period of the machine then affects more than one dimension
            order.shuffle(runs)
            for label, x, settings in runs:
                measured[label].append((x, measure(settings, root)))
        memory = [[f"{size}×{size}", f"{peak_memory(size, root):.0f}"] for size in SIZES]

    mpl.rcParams["svg.hashsalt"] = "actbench"
    figure = draw(measured, {d.label: d.unit for d in grid})
    figure.savefig(options.figure, metadata={"Date": None})
    print(f"{machine()}; {options.repetitions} repetitions\n")
    headers = ["x", "values", "a, s ± standard error", "b ± standard error", "n"]
    print(tabulate(rows_of(grid, measured), headers, tablefmt="pipe", disable_numparse=True))
    headers = ["size of the images", "peak memory of a training process, MB"]
    print("\n" + tabulate(memory, headers, tablefmt="pipe", disable_numparse=True))


if __name__ == "__main__":
    main()
