"""The agreement of corruptions and attacks with reference implementations, as Markdown tables.

Run one of::

    python tools/agreement.py corruptions
    python tools/agreement.py attacks

The first compares every corruption at every severity with its plain definition in
``corruptions_reference.py``, at 32, 64 and 224 pixels or those that ``--size`` gives;
``--images FOLDER`` uses photographs, resized, instead of synthetic images. The second compares FGSM
and PGD with those of foolbox (``pip install -e '.[attacks]'``). ``--count`` is the number of images
of 32×32 pixels; of larger ones there are fewer, with about as many values.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from tabulate import tabulate

from actbench.attacks.perturbations import uniform_in_unit_ball
from actbench.attacks.registry import ATTACKS
from actbench.corruptions.constants import PUBLISHED_SIDES
from actbench.corruptions.corrupt import corrupt
from actbench.corruptions.registry import CORRUPTIONS
from actbench.data.reading import read_image
from actbench.study.levels import SEVERITIES

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from helpers.attacked_network import (
    TRAINED_ON,
    enlarged_digits,
    foolbox_correct,
    foolbox_fgsm,
    foolbox_pgd,
    trained_network,
)
from helpers.corrupted_images import (
    DETERMINISTIC,
    DRAWN,
    NOISES,
    corrupt_with,
    natural_images,
    reference_images,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray
    from torch import Tensor

    Pixels = NDArray[np.uint8]

LEVELS = (1, 2, 4, 8, 16, 32)  # ε in units of 1/255 in L∞ and of 30/255 in L2


def photographs(folder: Path, count: int, size: int) -> Pixels:
    """Return images of a folder and its subfolders, evenly spaced in the order of their paths.

    uint8 of shape (count, size, size, 3).
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if len(files) < count:
        raise SystemExit(f"{folder} has {len(files)} files; give a --count that is no larger")
    return np.stack([read_image(files[i * len(files) // count], size) for i in range(count)])


def show(rows: Iterable[list[str]], headers: list[str]) -> None:
    table = tabulate(
        rows,
        headers,
        tablefmt="pipe",
        disable_numparse=True,
        colalign=["left", *["right"] * (len(headers) - 1)],
    )
    print(f"\n{table}\n", flush=True)


def corruption_tables(images: Pixels) -> None:
    """Print the share of values that differ with the same draws, and how much images change."""
    levels = [f"severity {severity}" for severity in SEVERITIES]
    values, changes = [], []
    for name in CORRUPTIONS:
        shares, ratios, largest, departures = [], [], [], []
        for severity in SEVERITIES:
            expected = reference_images(name, images, severity, seeds=range(len(images)))
            ours = corrupt(torch.tensor(images), name, severity).numpy()
            ratio, error = ratio_of_changes(ours, expected, images)
            ratios.append(f"{ratio:.4f} ± {error:.4f}")
            if name in NOISES:
                continue
            if name in DRAWN:
                singly = [
                    corrupt_with(name, images[[i]], severity, seed=i) for i in range(len(images))
                ]
                ours = np.concatenate(singly)
            off = np.abs(ours.astype(int) - expected)
            shares.append(f"{100 * (off > 0).mean():.3f}")
            largest.append(int(off.max()))
            departures.append(abs(ratio_of_changes(ours, expected, images)[0] - 1))
        label = name.replace("_", " ")
        if name not in NOISES:
            values.append([label, *shares, str(max(largest)), f"{max(departures):.5f}"])
        if name not in DETERMINISTIC:
            changes.append([label, *ratios])
    size = images.shape[1]
    count = f"{len(images)} images of 3 × {size} × {size} values"
    print(f"Values that differ from the reference, % of {count}, both sides with the same draws:")
    extremes = ["largest difference, 1/255", "largest departure of mean squared change from 1 : 1"]
    show(values, ["corruption", *levels, *extremes])
    print(
        f"Mean squared change over that of the reference, each side with draws of its own, ± "
        f"standard error, {count}:"
    )
    show(changes, ["corruption", *levels])


def ratio_of_changes(ours: Pixels, theirs: Pixels, images: Pixels) -> tuple[float, float]:
    """Return the ratio of the mean squared changes and its standard error over images.

    The error is that of a ratio of means of paired values (Cochran, Sampling Techniques, 1977,
    section 6.4), so variation between images that both sides share does not enter.
    """
    above, below = (
        ((side.astype(float) - images) ** 2).mean(axis=(1, 2, 3)) for side in (ours, theirs)
    )
    ratio = above.mean() / below.mean()
    residuals = above - ratio * below
    return ratio, residuals.std(ddof=1) / below.mean() / np.sqrt(len(images))


def attack_table(count: int) -> None:
    """Print accuracy under each attack here and in foolbox, on digits not trained on."""
    import foolbox

    images, labels = enlarged_digits()
    network = trained_network(images, labels)
    attacked = images[TRAINED_ON:][:count], labels[TRAINED_ON:][:count]
    rows = []
    for norm, unit in (("linf", 1), ("l2", 30)):
        start = uniform_in_unit_ball(attacked[0], norm, torch.Generator().manual_seed(0))
        pgd = f"pgd:steps=10,step_size=0.25,norm={norm}"
        pairs = (
            (f"fgsm:norm={norm}", foolbox_fgsm(foolbox, norm)),
            (f"{pgd},random_start=False", foolbox_pgd(foolbox, norm, start=False)),
            (pgd, foolbox_pgd(foolbox, norm, start=start)),
            (pgd, foolbox_pgd(foolbox, norm, start=True)),
        )
        for levels in LEVELS:
            epsilon = unit * levels / 255
            cells = []
            for spec, theirs in pairs:
                expected = foolbox_correct(foolbox, theirs, network, *attacked, epsilon)
                generator = torch.Generator().manual_seed(0)
                correct = ATTACKS.resolve(spec)(
                    network, *attacked, epsilon, generator, count
                ).correct
                differing = int((correct != expected).sum())
                cells.append(f"{percent(correct)}, {percent(expected)}, {differing}")
            rows.append([{"linf": "L∞", "l2": "L2"}[norm], f"{unit * levels}/255", *cells])
    print(
        f"Accuracy under attack here and in foolbox, %, and on how many of {len(attacked[0])} "
        "images they differ:"
    )
    starts = ("from the image", "from the same points", "from points of their own")
    show(rows, ["norm", "ε", "FGSM", *(f"PGD {start}" for start in starts)])


def percent(correct: Tensor) -> str:
    return f"{100 * float(correct.double().mean()):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    corruptions = commands.add_parser("corruptions")
    corruptions.add_argument("--count", type=int, default=1000)
    corruptions.add_argument("--images", type=Path, metavar="FOLDER")
    corruptions.add_argument("--size", type=int, nargs="+", default=PUBLISHED_SIDES)
    attacks = commands.add_parser("attacks")
    attacks.add_argument("--count", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.command == "attacks":
        attack_table(options.count)
        return
    for size in options.size:
        count = max(2, round(options.count * (32 / size) ** 2))
        corruption_tables(
            photographs(options.images, count, size)
            if options.images
            else natural_images(count, seed=1, size=size)
        )


if __name__ == "__main__":
    main()
