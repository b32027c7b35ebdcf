"""One test image under every corruption and severity, as a PNG in the results folder.

With it, the report can be written without the data set.
"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from actbench.study.levels import severities

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    Samples = Mapping[tuple[str, int], NDArray[np.uint8]]

SAMPLES_FILE = "samples.png"
_NAMES = "corruptions"  # the text in the file that lists them; files of earlier versions have none


def samples_to_png(samples: Samples) -> bytes:
    """Return the images as one PNG: a row for each corruption, a column for each severity.

    Args:
        samples: uint8 of shape (S, S, 3) by corruption and severity from 0, the clean image, to the
            last that it has. Rows of fewer severities than others end in black.
    """
    names = list(dict.fromkeys(name for name, _ in samples))
    side = len(next(iter(samples.values())))
    picture = np.zeros((len(names) * side, _columns(names) * side, 3), dtype=np.uint8)
    for (name, level), image in samples.items():
        top, left = names.index(name) * side, level * side
        picture[top : top + side, left : left + side] = image
    buffer = io.BytesIO()
    about = PngInfo()
    about.add_text(_NAMES, json.dumps(names))
    Image.fromarray(picture).save(buffer, "PNG", optimize=True, pnginfo=about)
    return buffer.getvalue()


def samples_from_png(content: bytes, corruptions: Sequence[str]) -> Samples:
    """Return the images that ``samples_to_png`` wrote, for the same corruptions in the same order.

    Raises:
        ValueError: the content is no PNG, has another shape, or is of other corruptions.
    """
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            pixels = np.asarray(image.convert("RGB"))
            names = image.info.get(_NAMES)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from None
    if names not in (None, json.dumps(list(corruptions))):
        raise ValueError("the images are of other corruptions")
    columns = _columns(corruptions)
    side = pixels.shape[1] // columns
    if pixels.shape != (len(corruptions) * side, columns * side, 3):
        raise ValueError(f"{pixels.shape} pixels for {len(corruptions)} corruptions")
    return {
        (name, level): pixels[row * side : (row + 1) * side, level * side : (level + 1) * side]
        for row, name in enumerate(corruptions)
        for level in (0, *severities(name))
    }


def _columns(corruptions: Iterable[str]) -> int:
    return 1 + max(len(severities(name)) for name in corruptions)
