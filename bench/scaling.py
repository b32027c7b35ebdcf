"""How the time of a study grows with trials, seeds, epochs, images and workers.

Each dimension of a small study on synthetic images is varied separately; time = a + b·x is fitted.

    python bench/scaling.py --repetitions 3
"""

from __future__ import annotations

import argparse
import os
import random
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
from actbench.study.subject_fields import DEFAULT_ACTIVATIONS
from cifar_shaped import write_image_folder
from machine import machine

if TYPE_CHECKING:
    from collections.abc import Sequence

TEST_IMAGES = 500
BASE = {"activations": ("relu",), "seeds": 1, "epochs": 1, "train_images": 6400, "workers": 1}


@dataclass(frozen=True)
class Dimension:
    """A varied dimension: its settings, added to ``BASE``, by x; labels of x and the slope."""

    label: str
    unit: str
    settings: dict[float, dict[str, object]]


def dimensions(most_workers: int) -> list[Dimension]:
    """Return the grid."""
    four = {"activations": DEFAULT_ACTIVATIONS[:4]}
    return [
        Dimension(
            "trials, one seed",
            "s per trial",
            {n: {"activations": DEFAULT_ACTIVATIONS[:n]} for n in (1, 2, 4, 6)},
        ),
        Dimension("seeds, one activation", "s per trial", {n: {"seeds": n} for n in (1, 2, 4, 6)}),
        Dimension("epochs", "s per epoch", {n: {"epochs": n} for n in (1, 2, 4, 8)}),
        Dimension(
            "training images, thousands",
            "s per thousand",
            {n / 1000: {"train_images": n} for n in (3200, 6400, 12_800, 25_600)},
        ),
        Dimension(
            "1 / workers, four trials",
            "s of work",
            {1 / n: {**four, "workers": n} for n in range(1, most_workers + 1)},
        ),
    ]


def measure(settings: dict[str, object], data_dir: Path) -> float:
    """Return the seconds of a complete run with these settings."""
    values = {**BASE, **settings}
    workers = values.pop("workers")
    study = Study(dataset="imagefolder", data_dir=str(data_dir), **values)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        actbench.run(study, folder, workers=workers, quiet=True)
        return time.perf_counter() - begin


def fit(x: Sequence[float], y: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return (b, a) of y = a + b·x, and their standard errors."""
    line, covariance = np.polyfit(x, y, 1, cov=True)
    return line, np.sqrt(np.diag(covariance))


def draw(measured: dict[str, list[tuple[float, float]]], units: dict[str, str]) -> Figure:
    """Return a figure with a panel per dimension: every measurement, and the fitted line."""
    figure = Figure(figsize=(12, 3), layout="constrained")
    panels = figure.subplots(1, len(measured), sharey=True)
    for panel, (label, points) in zip(panels, measured.items(), strict=True):
        x, y = zip(*points, strict=True)
        (b, a), _ = fit(x, y)
        ends = np.array([0, max(x)])
        panel.plot(ends, a + b * ends, color="0.6")
        panel.plot(x, y, ".")
        panel.set(xlabel=label, title=f"{a:.1f} s + {b:.2f} {units[label]}")
        panel.title.set_fontsize("medium")
    panels[0].set_ylabel("seconds, whole run")
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
    options = parser.parse_args()
    if options.repetitions < 2:
        parser.error("--repetitions must be at least 2: a fit to fewer has no standard error")

    grid = dimensions(max(2, default_workers()))
    measured: dict[str, list[tuple[float, float]]] = {d.label: [] for d in grid}
    runs = [(d.label, x, settings) for d in grid for x, settings in d.settings.items()]
    order = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ACTBENCH_CACHE"] = str(Path(folder) / "cache")
        data_dir = Path(folder) / "images"
        write_image_folder(data_dir, 25_600, TEST_IMAGES)
        measure({}, data_dir)  # decodes and corrupts the images into the cache
        for _ in range(options.repetitions):
            # a slow period of the machine then affects more than one dimension
            order.shuffle(runs)
            for label, x, settings in runs:
                measured[label].append((x, measure(settings, data_dir)))

    mpl.rcParams["svg.hashsalt"] = "actbench"
    figure = draw(measured, {d.label: d.unit for d in grid})
    figure.savefig(options.figure, metadata={"Date": None})
    print(f"{machine()}; {options.repetitions} repetitions\n")
    headers = ["x", "values", "a, s ± standard error", "b ± standard error", "n"]
    print(tabulate(rows_of(grid, measured), headers, tablefmt="pipe", disable_numparse=True))


if __name__ == "__main__":
    main()
