"""Many image files → one uint8 array of square images, and what was done to them."""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from actbench.data.reading import decode, resized, warnings_recorded
from actbench.errors import UsageError
from actbench.files.cache import scratch_images
from actbench.study.fields import MAX_IMAGE_SIZE, MIN_IMAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from actbench.data.reading import DecodedImage, Pixels

    File = tuple[str, Callable[[], bytes]]

# Half of the range is one bit of eight.
MAX_UNUSED = 0.5
IMAGES_BETWEEN_REPORTS = 100


def own_size(sizes: Iterable[tuple[int, int]]) -> int:
    """Return the side of images of these widths and heights.

    It is 0 unless all are square, of one size from ``MIN_IMAGE_SIZE`` to ``MAX_IMAGE_SIZE``.
    """
    (width, height), *others = sizes
    is_own = not others and width == height and MIN_IMAGE_SIZE <= width <= MAX_IMAGE_SIZE
    return width if is_own else 0


def needs_image_size(found: str) -> UsageError:
    """Return the error for images that have no side of their own; ``found`` says what they are."""
    return UsageError(
        f"{found}; give --image-size N to resize all images to N×N pixels (without it they must be "
        f"square, all of one size from {MIN_IMAGE_SIZE} to {MAX_IMAGE_SIZE})"
    )


def resizing_notes(sizes: Mapping[tuple[int, int], int], size: int) -> list[str]:
    """Return a sentence if some images were resized, else none.

    Args:
        sizes: the number of images of each width and height.
        size: the side to which they were resized.
    """
    others = {key: count for key, count in sizes.items() if key != (size, size)}
    if not others:
        return []
    (width, height), _ = max(others.items(), key=lambda item: (item[1], item[0]))
    which = "all of them" if len(others) == 1 else f"of {len(others)} sizes, most often"
    note = (
        f"{sum(others.values())} of {sum(sizes.values())} images were resized to {size}×{size} "
        f"pixels ({which} {width}×{height})"
    )
    stretched = sum(count for (w, h), count in others.items() if w != h)
    if stretched:
        note += f"; {stretched} of them are not square and lost their aspect ratio"
    return [note]


class PictureReader:
    """Reads the image files below a folder, all to one size.

    Attributes:
        size: the side of the images that ``read`` returns; if it is 0 at first, the side of the
            first image, which all others must have too.
    """

    def __init__(
        self,
        root: Path,
        size: int,
        on_progress: Callable[[int, int], None] = lambda done, count: None,
    ) -> None:
        """Prepare to read files.

        Args:
            root: the folder.
            size: the side of the images, or 0.
            on_progress: called with the number of images that are read, and of all, by ``read``.
        """
        self.size, self._on_progress = size, on_progress
        self._root = root
        self._must_fit = size == 0
        self._first = ""
        self._sizes: Counter[tuple[int, int]] = Counter()
        self._damaged_exif: list[str] = []
        self._used: list[float] = []

    @property
    def own_size(self) -> int:
        """The side in all files that were read, 0 if they differ; see the function ``own_size``."""
        return own_size(self._sizes)

    def read(self, count: int, parts: Iterable[Sequence[File]]) -> Pixels:
        """Return the images of files as uint8 (N, S, S, 3).

        Args:
            count: the number of files, N ≥ 1.
            parts: the files, in one or more parts: names relative to the folder, with functions
                that return the content.

        Raises:
            UsageError: a file is not an image, or has another size than the first one if no size
                was given.
        """
        images, start = np.empty((0, 0, 0, 3), np.uint8), 0
        with warnings_recorded(), ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            for files in parts:
                if start == 0:
                    name, content = files[0]
                    if not self.size:
                        self._check_size(name, decode(content, 0, str(self._root / name)).size)
                    images = scratch_images(count, self.size)
                targets = images[start : start + len(files)]
                found = zip(files, pool.map(self._read_one, files, targets), strict=True)
                for number, ((name, _), image) in enumerate(found, start=start + 1):
                    self._count(name, image)
                    if number % IMAGES_BETWEEN_REPORTS == 0:
                        self._on_progress(number, count)
                start += len(files)
        return images

    def _read_one(self, file: File, target: Pixels) -> DecodedImage:
        """Write an image to ``target`` if it has its shape; return what was found."""
        name, content = file
        size = 0 if self._must_fit else self.size
        image = decode(content, size, str(self._root / name))
        if image.pixels.shape == target.shape:
            target[:] = image.pixels
        return image.without_pixels()

    def _count(self, name: str, image: DecodedImage) -> None:
        self._check_size(name, image.size)
        self._sizes[image.size] += 1
        if image.damaged_exif:
            self._damaged_exif.append(name)
        if image.used is not None:
            self._used.append(image.used)

    def _check_size(self, name: str, size: tuple[int, int]) -> None:
        if not self._must_fit:
            return
        if not self.size:
            self._first, self.size = name, own_size([size])
        if size != (self.size, self.size):
            found = f"{name!r} is {size[0]}×{size[1]} pixels"
            if self.size:
                found += f" and {self._first!r} {self.size}×{self.size}"
            raise needs_image_size(found)

    def notes(self) -> list[str]:
        """Return what was done to the images that were read, a sentence each."""
        notes, count = resizing_notes(self._sizes, self.size), self._sizes.total()
        if self._damaged_exif:
            notes.append(
                f"{len(self._damaged_exif)} of {count} images have damaged EXIF data, so they may "
                f"not be rotated as intended, such as {self._damaged_exif[0]!r}"
            )
        if self._used and max(self._used) <= MAX_UNUSED:
            notes.append(
                f"values use only {100 * max(self._used):.3g} % of their range in "
                f"{len(self._used)} images with more than 8 bits, so these are dark and have few "
                "grey levels; rescale the files"
            )
        return notes


def fitted(images: Pixels, size: int) -> Pixels:
    """Return uint8 images (N, H, W, 3) as (N, size, size, 3), resized bilinearly if necessary."""
    from PIL import Image

    if images.shape[1:3] == (size, size):
        return images
    found = scratch_images(len(images), size)

    def resize(number: int) -> None:
        found[number] = resized(Image.fromarray(np.ascontiguousarray(images[number])), size)

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for _ in pool.map(resize, range(len(images))):
            pass
    return found
