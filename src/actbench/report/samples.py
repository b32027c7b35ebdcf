"""One test image under every corruption and severity, as a PNG in the results folder.

With it, the report can be written without the data set.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from actbench.study.levels import SEVERITIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Samples = Mapping[tuple[str, int], NDArray[np.uint8]]

SAMPLES_FILE = "samples.png"
_LEVELS = (0, *SEVERITIES)


def samples_to_png(samples: Samples) -> bytes:
    """Return the images as one PNG: a row for each corruption, a column for each severity.

    Args:
        samples: uint8 of shape (S, S, 3) by corruption and severity from 0, the clean image, to 5.
    """
    names = dict.fromkeys(name for name, _ in samples)
    rows = [np.hstack([samples[name, level] for level in _LEVELS]) for name in names]
    buffer = io.BytesIO()
    Image.fromarray(np.vstack(rows)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def samples_from_png(content: bytes, corruptions: Sequence[str]) -> Samples:
    """Return the images that ``samples_to_png`` wrote, for the same corruptions in the same order.

    Raises:
        ValueError: the content is no PNG, or has another shape.
    """
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from None
    side = pixels.shape[1] // len(_LEVELS)
    if pixels.shape != (len(corruptions) * side, len(_LEVELS) * side, 3):
        raise ValueError(f"{pixels.shape} pixels for {len(corruptions)} corruptions")
    return {
        (name, level): pixels[row * side : (row + 1) * side, level * side : (level + 1) * side]
        for row, name in enumerate(corruptions)
        for level in _LEVELS
    }
