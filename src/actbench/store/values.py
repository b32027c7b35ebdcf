"""The types of the values in records, which ``from_plain`` checks; counts as packed text."""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from actbench.study.fields import (
    MAX_EPSILON,
    MAX_SEED,
    Rule,
    checksum,
    is_integer,
    is_number,
    is_text,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

STATUSES = ("ok", "diverged", "crashed")
MEAN_TOLERANCE = 1e-9  # of accuracies that are stored twice

Share = Annotated[float, Rule(is_number(0, 1), "a number from 0 to 1")]
NotNegative = Annotated[float, Rule(lambda v: not v < 0, "a number from 0")]  # or NaN
Epsilon = Annotated[float, Rule(is_number(0, MAX_EPSILON, above=True), "a number above 0")]
Count = Annotated[int, Rule(is_integer(1), "an integer from 1")]
CountFrom0 = Annotated[int, Rule(is_integer(0), "an integer from 0")]
Seed = Annotated[int, Rule(is_integer(0, MAX_SEED), "an integer from 0")]
Severity = Annotated[int, Rule(is_integer(1), "a severity")]
Name = Annotated[str, Rule(is_text, "a line of text")]
Layer = Annotated[str, Rule(lambda v: v == "" or is_text(v), "a module's name")]
Status = Annotated[str, Rule(lambda v: v in STATUSES, f"one of {', '.join(STATUSES)}")]
Kernels = Annotated[str, Rule(lambda v: v in ("native", "torch"), "native or torch")]
Checksum = Annotated[str, checksum()]


MAX_IMAGES = 10_000_000  # in packed counts: a few bytes could unpack to gigabytes


def finite(value: Any) -> Any:
    """Return plain values with None for numbers that are not finite, which JSON has not."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


def pack_counts(counts: npt.NDArray[Any]) -> str:
    """Return counts from 0 to 255, one per test image, as zlib-compressed base64 text."""
    packed = zlib.compress(counts.astype(np.uint8).tobytes(), 9)
    return base64.b64encode(packed).decode("ascii")


def unpack_counts(text: str) -> npt.NDArray[np.uint8]:
    """Return the counts, uint8 of shape (test images,), that ``pack_counts`` wrote.

    Raises:
        ValueError: the text is not such counts, or they are of more than ``MAX_IMAGES`` images.
    """
    try:
        unpacked = zlib.decompressobj()
        counts = unpacked.decompress(base64.b64decode(text), MAX_IMAGES)
        if not unpacked.eof:
            raise ValueError(f"packed counts are cut off or of more than {MAX_IMAGES:,} images")
        return np.frombuffer(counts, dtype=np.uint8)
    except (zlib.error, binascii.Error) as error:
        raise ValueError(f"not packed counts: {error}") from None


def checked_counts(text: str, images: int, most: int, name: str) -> float:
    """Return the mean of packed counts after checking them.

    Raises:
        ValueError: they are not one for each of ``images``, or one is above ``most``.
    """
    counts = unpack_counts(text)
    if counts.size != images or images == 0 or counts.max() > most:
        raise ValueError(
            f"{name} is not a count up to {most} for each of {images} test images"
            if most > 1
            else f"{name} is not 0 or 1 for each of {images} test images"
        )
    return float(counts.mean())


def check_mean(mean: float, accuracies: Sequence[float], packed: str, what: str) -> None:
    """Check that the mean count of a test image is the sum of the accuracies.

    Raises:
        ValueError: it is not; ``packed`` and ``what`` are the names of the two.
    """
    total = math.fsum(accuracies)
    if not abs(mean - total) <= MEAN_TOLERANCE:
        raise ValueError(
            f"{packed} has a mean of {mean:.6g} and {what} a sum of {total:.6g}, which must be "
            "equal"
        )
