"""Small image data sets for tests: distinct random images, and their files."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def noise(count: int, size: int = 32, seed: int = 0) -> NDArray[np.uint8]:
    """Return random images, uint8 (count, size, size, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8)


def four_arrays(size: int = 32, train: int = 12, test: int = 6) -> list[NDArray[Any]]:
    """Return x_train, y_train, x_test and y_test of three classes."""
    x_train, x_test = noise(train, size, 1), noise(test, size, 2)
    return [x_train, np.arange(train) % 3, x_test, np.arange(test) % 3]


def encoded(pixels: NDArray[np.uint8], format_: str = "PNG", **options: Any) -> bytes:
    """Return an image file's content."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format_, **options)
    return buffer.getvalue()


def write_files(root: Path, files: dict[str, bytes | str]) -> str:
    """Write files below a folder, which is returned as text."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(root)
