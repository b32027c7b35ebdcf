"""One image under corruptions, the picture of ``actbench show-corruptions``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from actbench.corruptions.corrupt import corrupt
from actbench.corruptions.own import check_own_corruptions
from actbench.corruptions.specs import expand
from actbench.data.reading import read_image
from actbench.errors import UsageError
from actbench.report.figures.strip import corruption_strip
from actbench.report.figures.style import to_png
from actbench.study.levels import severities

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]


def contact_sheet(image: Pixels, corruptions: Sequence[str] = ("all",)) -> bytes:
    """Return a PNG with a row for each corruption: clean, then its severities or levels.

    Args:
        image: uint8 of shape (S, S, 3). The random draws are those of the first test image.
        corruptions: names, suites and specs, at least one.

    Raises:
        UsageError: one of them is unknown or wrong, or there is none.
    """
    names = expand(corruptions)
    if not names:
        raise UsageError("there is no corruption to show; give at least one")
    batch = torch.from_numpy(image)[None]
    check_own_corruptions(names, batch)
    samples: dict[tuple[str, int], Pixels] = {}
    for name in names:
        samples[name, 0] = image
        for severity in severities(name):
            samples[name, severity] = corrupt(batch, name, severity)[0].numpy()
    return to_png(corruption_strip(samples, "One image under each corruption"))


def image_to_show(path: Path | None, size: int) -> Pixels:
    """Return the image of a file, or a photograph, as uint8 (size, size, 3).

    The photograph, of a flower, is from scikit-learn: its central square, resized.

    Raises:
        UsageError: the file is not a readable image.
    """
    if path is not None:
        return read_image(path, size)
    from PIL import Image
    from sklearn.datasets import load_sample_image

    photograph: Pixels = load_sample_image("flower.jpg")
    height, width, _ = photograph.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    middle = Image.fromarray(photograph[top : top + side, left : left + side])
    return np.array(middle.resize((size, size), Image.Resampling.BOX))
