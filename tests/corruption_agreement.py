"""How closely each corruption agrees with its plain definition: the table of docs/robustness.md.

    python tests/corruption_agreement.py

A corruption without random numbers is compared value by value, and so is one with them where the
definition can be given the same draws. The noises draw whole batches at once, so there it is the
mean squared change of the images that is compared, with the standard error of the ratio over
images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import numpy as np
import torch
from tabulate import tabulate

from actbench.corruptions import corrupt
from actbench.study import SEVERITIES
from test_corruptions import (
    DETERMINISTIC,
    DRAWN,
    NOISES,
    corrupt_with,
    natural_images,
    reference_images,
)

if TYPE_CHECKING:
    from collections.abc import Callable

COMPARED = 100
NOISY = 2000


def values_off(name: str, severity: int) -> str:
    """Return the share of values that differ from the definition's, and by how many levels."""
    images = natural_images(COMPARED, seed=7)
    seeds = range(COMPARED)
    expected = reference_images(name, images, severity, seeds=seeds).astype(int)
    if name in DETERMINISTIC:
        found = corrupt(torch.from_numpy(images), name, severity).numpy()
    else:
        parts = [corrupt_with(name, images[[seed]], severity, seed) for seed in seeds]
        found = np.concatenate(parts)
    off = np.abs(found - expected)
    share = f"{(off > 0).mean():.3%}" if off.any() else "0"
    return f"{share}, {off.max()}"


def change_ratio(name: str, severity: int) -> str:
    """Return our mean squared change over the definition's, less 1, with its standard error."""
    images = natural_images(NOISY, seed=8).astype(float)
    pixels = images.astype(np.uint8)
    expected = reference_images(name, pixels, severity, seeds=range(NOISY))
    found = corrupt(torch.from_numpy(pixels), name, severity).numpy()
    ours, theirs = (((x - images) ** 2).mean((1, 2, 3)) for x in (found, expected))
    ratio = ours.mean() / theirs.mean()
    error = (ours - ratio * theirs).std(ddof=1) / theirs.mean() / np.sqrt(NOISY)
    return f"{ratio - 1:+.2%} ± {error:.2%}"


def print_table(title: str, names: tuple[str, ...], cell: Callable[[str, int], str]) -> None:
    """Print a row per corruption and a column per severity."""
    rows = [[name.replace("_", " "), *(cell(name, s) for s in SEVERITIES)] for name in names]
    headers = [title, *(f"severity {s}" for s in SEVERITIES)]
    align = ["left", *["right"] * len(SEVERITIES)]
    table = tabulate(rows, headers, tablefmt="pipe", disable_numparse=True, colalign=align)
    click.echo(f"{table}\n")


def main() -> None:
    """Print one table for what is compared by values, one for the noises."""
    print_table(f"values off, levels (n = {COMPARED})", (*DETERMINISTIC, *DRAWN), values_off)
    print_table(f"change, less 1 (n = {NOISY})", NOISES, change_ratio)


if __name__ == "__main__":
    main()
