"""Small image folders of solid colours."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from PIL import Image

from actbench.data.images import ImageData, open_images, prepare

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np


RED = (200, 30, 40)
GREEN = (10, 180, 20)
BLUE = (0, 0, 250)


# a folder of images


def solid(colour: tuple[int, int, int], size: tuple[int, int] = (32, 32)) -> Image.Image:
    return Image.new("RGB", size, colour)


def as_bytes(image: Image.Image, format_: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def write_folder(root: Path, files: Mapping[str, Image.Image | bytes]) -> str:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else as_bytes(content))
    return str(root)


SMALL = {
    "train/a/1.png": solid(RED),
    "train/a/2.png": solid(RED),
    "train/b/1.png": solid(GREEN),
    "test/a/1.png": solid(BLUE),
    "test/b/1.png": solid(GREEN),
}


def read_folder(root: Path, files: Mapping[str, Image.Image | bytes], size: int = 32) -> ImageData:
    return open_images(prepare("imagefolder", write_folder(root, files), size))


def first_test_image(root: Path, content: Image.Image | bytes, name: str = "1.png") -> np.ndarray:
    """Return how an image is read, given as the one test image of class a."""
    files = {k: v for k, v in SMALL.items() if k != "test/a/1.png"}
    return read_folder(root, {**files, f"test/a/{name}": content}).test_images[0].numpy()
