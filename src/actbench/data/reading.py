"""Read one image file as RGB of a square size."""

from __future__ import annotations

import contextlib
import io
import re
import threading
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TextIO

import numpy as np

from actbench.errors import UsageError, message_of, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy.typing as npt
    from PIL import Image

    Pixels = npt.NDArray[np.uint8]

# Formats that Pillow decodes itself; for others, such as EPS, it starts programs.
IMAGE_FORMATS = (
    "AVIF",
    "BMP",
    "DIB",
    "GIF",
    "ICO",
    "JPEG",
    "JPEG2000",
    "PCX",
    "PNG",
    "PPM",
    "QOI",
    "SGI",
    "TGA",
    "TIFF",
    "WEBP",
)
_BITS_PER_SAMPLE = 258  # the TIFF tag
_EXIF_WARNING = re.compile("Corrupt EXIF data|Truncated File Read")
_found = threading.local()


@dataclass(frozen=True)
class DecodedImage:
    """An image of a file.

    Attributes:
        pixels: uint8 of shape (S, S, 3).
        size: width and height in the file, after rotation.
        damaged_exif: whether Pillow cannot read its EXIF data, or warns of it; see
            ``warnings_recorded``.
        used: the largest grey level, as a share of the largest possible one, if these have more
            than 8 bits.
    """

    pixels: Pixels
    size: tuple[int, int]
    damaged_exif: bool
    used: float | None

    def without_pixels(self) -> DecodedImage:
        """Return what was found, without the image."""
        return replace(self, pixels=np.empty((0, 0, 3), np.uint8))


@contextlib.contextmanager
def warnings_recorded() -> Iterator[None]:
    """Show no warnings of Pillow in the block; ``decode`` then takes those of damaged EXIF data.

    Pillow warns of every unusual tag of every file.
    """
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def record(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if "PIL" not in filename:
                shown(message, category, filename, lineno, file, line)
            elif _EXIF_WARNING.match(str(message)):
                _found.exif_warning = True

        warnings.filterwarnings("always", module="PIL")
        warnings.showwarning = record
        yield


def read_image(path: Path, size: int) -> Pixels:
    """Return an image file as uint8 (size, size, 3), resized if necessary.

    Transparent pixels are composited over white. Grey levels of more than 8 bits are scaled from
    the range of their format, and floats from [0, 1].

    Raises:
        UsageError: the format or mode is not supported, or the file is damaged.
    """
    return decode(path.read_bytes, size, str(path)).pixels


def decode(read: Callable[[], bytes], size: int, name: str) -> DecodedImage:
    """Return an image with what was found on reading it: see ``read_image``.

    Args:
        read: returns the content of an image file.
        size: the side of the result; 0 keeps the image's own size, (H, W, 3).
        name: the image's name in messages.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    _found.exif_warning = False
    try:
        with Image.open(io.BytesIO(read()), formats=IMAGE_FORMATS) as image:
            image.load()
            bits = _grey_bits(image)
            used = None
            if image.mode.startswith("I") and bits:
                used = int(np.asarray(image).max()) / (2**bits - 1)
            rotated: Image.Image = image
            damaged_exif = False
            try:
                rotated = ImageOps.exif_transpose(image)
            except Exception:  # Pillow raises many types for invalid tags
                damaged_exif = True
            picture = as_rgb(rotated, bits)
            damaged_exif = damaged_exif or _found.exif_warning
            return DecodedImage(resized(picture, size), picture.size, damaged_exif, used)
    except UsageError as error:
        raise UsageError(f"cannot read the image {name!r}: {error}") from None
    except UnidentifiedImageError:
        raise UsageError(
            f"{name!r} is not an image in a supported format ({', '.join(IMAGE_FORMATS)})"
        ) from None
    except OSError as error:
        raise UsageError(f"cannot read the image {name!r}: {reason_of(error)}") from None
    except Exception as error:  # Pillow's readers raise many types
        raise UsageError(f"cannot read the image {name!r}: {message_of(error, name)}") from None


def resized(picture: Image.Image, size: int) -> Pixels:
    """Return an RGB picture as uint8 (size, size, 3), resized bilinearly; 0 keeps its own size."""
    from PIL import Image

    if size and picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.BILINEAR)
    return np.array(picture)


def _grey_bits(image: Image.Image) -> int:
    """Return the bits per grey level of a file with more than 8; 0 if it does not give them."""
    if image.format != "TIFF":
        return 16  # Pillow scales them to 16 bits
    # mode I is signed or of 32 bits, of which files use any part
    tags: dict[int, tuple[int, ...]] = getattr(image, "tag_v2", {})
    return tags.get(_BITS_PER_SAMPLE, (16,))[0] if image.mode != "I" else 0


def as_rgb(image: Image.Image, grey_bits: int) -> Image.Image:
    """Return an image of any mode as 8-bit RGB; see ``_grey_bits``.

    Raises:
        UsageError: the range of its values is unknown, or they are floats outside [0, 1].
    """
    from PIL import Image

    if image.mode == "F":
        values = np.asarray(image)
        if not (values.min() >= 0 and values.max() <= 1):
            raise UsageError(
                f"its pixels are floats from {values.min():.4g} to {values.max():.4g}; they must "
                "be in [0, 1], or be saved as integers of 8 or 16 bits"
            )
        image = Image.fromarray(np.rint(values * 255).astype(np.uint8))
    elif image.mode.startswith("I"):
        if not grey_bits:
            raise UsageError(
                "its pixels are signed or 32-bit integers, whose range the file does not give; "
                "save it with 8 or 16 bits"
            )
        levels = np.asarray(image).astype(np.int64) >> (grey_bits - 8)
        image = Image.fromarray(levels.astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")
