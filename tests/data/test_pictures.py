"""Pictures of an image folder: any size, mode, range and orientation becomes 8-bit colours."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from actbench.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

from helpers.picture_folders import BLUE, RED, SMALL, as_bytes, first_test_image, read_folder, solid


@pytest.mark.parametrize("size", [(1, 1), (7, 100), (31, 33), (640, 480)])
def test_an_image_of_any_size_becomes_32_by_32(size: tuple[int, int], tmp_path: Path) -> None:
    image = first_test_image(tmp_path, solid(RED, size))
    assert image.shape == (32, 32, 3)
    assert (image == RED).all()


@pytest.mark.parametrize(
    ("format_", "tolerance"), [("PNG", 0), ("BMP", 0), ("TIFF", 0), ("PPM", 0), ("JPEG", 4)]
)
def test_an_image_of_32_by_32_is_read_unchanged(
    format_: str, tolerance: int, tmp_path: Path
) -> None:
    ramp = np.zeros((32, 32, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(32) * 8, np.arange(32)[:, None] * 8
    options = {"quality": 100, "subsampling": 0} if format_ == "JPEG" else {}
    content = as_bytes(Image.fromarray(ramp), format_, **options)
    image = first_test_image(tmp_path, content, f"1.{format_.lower()}")
    assert np.abs(image.astype(int) - ramp).max() <= tolerance


def saved_float(value: float) -> bytes:
    return as_bytes(Image.fromarray(np.full((32, 32), value, np.float32)), "TIFF")


def saved_int32(value: int) -> bytes:
    return as_bytes(Image.fromarray(np.full((32, 32), value, np.int32)), "TIFF")


def pgm(level: int, largest: int) -> bytes:
    kind = ">u2" if largest > 255 else "u1"
    return f"P5 32 32 {largest}\n".encode() + np.full(1024, level, kind).tobytes()


def tiff_of_12_bits(level: int) -> bytes:
    """Return a TIFF of 32×32 grey levels, two of them packed into three bytes."""
    pair = (level << 12 | level).to_bytes(3, "big")
    tags = [(256, 32), (257, 32), (258, 12), (259, 1), (262, 1), (273, 122), (277, 1), (278, 32)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    entries += struct.pack("<HHII", 279, 4, 1, 1536)
    return struct.pack("<2sHIH", b"II", 42, 8, 9) + entries + b"\0" * 4 + pair * 512


def blended(colour: int, opacity: int) -> int:
    """Return a colour on white under an opacity from 0 to 255."""
    return round((colour * opacity + 255 * (255 - opacity)) / 255)


def half_red_palette() -> bytes:
    image = solid(RED).convert("P", palette=Image.Palette.ADAPTIVE, colors=4)
    return as_bytes(image, "PNG", transparency=bytes([128] * 4))


HALF_RED = tuple(blended(value, 128) for value in RED)


MODES: dict[str, tuple[bytes, tuple[int, int, int], int]] = {
    "palette": (as_bytes(solid(RED).convert("P", palette=Image.Palette.ADAPTIVE)), RED, 0),
    "palette with transparency": (half_red_palette(), HALF_RED, 1),
    "alpha": (as_bytes(Image.new("RGBA", (32, 32), (*RED, 128))), HALF_RED, 1),
    "opaque alpha": (as_bytes(Image.new("RGBA", (32, 32), (*RED, 255))), RED, 0),
    "grey": (as_bytes(Image.new("L", (32, 32), 77)), (77, 77, 77), 0),
    "grey with alpha": (
        as_bytes(Image.new("LA", (32, 32), (77, 51))),
        (blended(77, 51),) * 3,
        1,
    ),
    "grey with a transparent level": (
        as_bytes(Image.new("L", (32, 32), 77), "PNG", transparency=77),
        (255, 255, 255),
        0,
    ),
    "black and white": (as_bytes(Image.new("1", (32, 32), 1)), (255, 255, 255), 0),
    "16 bits": (as_bytes(Image.fromarray(np.full((32, 32), 200 * 257, np.uint16))), (200,) * 3, 0),
    "16-bit TIFF": (
        as_bytes(Image.fromarray(np.full((32, 32), 200 * 257, np.uint16)), "TIFF"),
        (200,) * 3,
        0,
    ),
    "12-bit TIFF": (tiff_of_12_bits(200 * 16), (200,) * 3, 0),
    "8-bit PGM": (pgm(200, 255), (200,) * 3, 0),
    "16-bit PGM": (pgm(200 * 257, 65535), (200,) * 3, 0),
    "10-bit PGM": (pgm(512, 1023), (128,) * 3, 1),
    "floats": (saved_float(0.4), (102,) * 3, 0),
    "CMYK": (as_bytes(solid(RED).convert("CMYK"), "JPEG", quality=100), RED, 4),
    "GIF": (as_bytes(solid(RED), "GIF"), RED, 0),
    "WebP": (as_bytes(solid(RED), "WEBP", lossless=True), RED, 0),
}


@pytest.mark.parametrize("mode", MODES)
def test_an_image_of_any_mode_becomes_red_green_and_blue(mode: str, tmp_path: Path) -> None:
    content, colour, tolerance = MODES[mode]
    image = first_test_image(tmp_path, content)
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - colour).max() <= tolerance


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_a_drawing_in_the_alpha_channel_is_black_on_white(mode: str, tmp_path: Path) -> None:
    alpha = Image.new("L", (32, 32), 0)
    alpha.paste(255, (8, 8, 24, 24))
    if mode == "P":
        drawing = alpha.point(lambda level: level // 255, "L").convert("P")
        drawing.putpalette([0] * 6)
        content = as_bytes(drawing, "PNG", transparency=bytes([0, 255]))
    else:
        drawing = Image.new(mode, (32, 32))
        drawing.putalpha(alpha)
        content = as_bytes(drawing)
    image = first_test_image(tmp_path, content)
    assert (image[8:24, 8:24] == 0).all()
    assert int((image == 255).all(axis=2).sum()) == 32 * 32 - 16 * 16


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (saved_float(300.0), "floats from 300 to 300; they must be in [0, 1]"),
        (saved_float(float("nan")), "floats from nan to nan"),
        (saved_int32(70_000), "integers, whose range the file does not give"),
    ],
)
def test_an_image_whose_range_is_not_known_is_refused_by_name(
    content: bytes, says: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"cannot read the image '.*1\.png'") as error:
        first_test_image(tmp_path, content)
    assert says in str(error.value)


@pytest.mark.parametrize("name", ["x.jpg", "x.eps"])
def test_an_eps_of_any_name_starts_no_ghostscript(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gs here leaves a file when it is started."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    (programs / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    eps = as_bytes(solid(RED), "EPS")
    with pytest.raises(UsageError, match="is not an image in a supported format"):
        first_test_image(tmp_path / "data", eps, name)
    assert not (tmp_path / "started").exists()


def test_a_photograph_is_rotated_by_its_exif_orientation(tmp_path: Path) -> None:
    image = solid(RED)
    image.paste(BLUE, (0, 0, 32, 16))  # the sky, on top
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    read = first_test_image(tmp_path, as_bytes(image.rotate(180), "PNG", exif=exif))
    assert tuple(read[3, 3]) == BLUE


def broken_exif() -> bytes:
    """Return EXIF data with an orientation, and with a text as resolution."""
    exif = Image.Exif()
    exif[0x0112], exif[0x011A] = 6, 72.0
    content = bytearray(exif.tobytes())
    content[content.index(b"\x01\x1a\x00\x05") + 3] = 2
    return bytes(content)


def test_a_picture_with_broken_exif_is_not_rotated_and_counted(tmp_path: Path) -> None:
    image = solid(RED)
    image.paste(BLUE, (0, 0, 32, 16))
    content = as_bytes(image, "JPEG", quality=100, exif=broken_exif())
    data = read_folder(tmp_path, {**SMALL, "train/a/1.png": content, "test/b/1.png": content})
    assert data.train_images[0, 3, 16, 2] > 200
    assert (
        "2 of 5 images have damaged EXIF data, so they may not be rotated as intended, such as "
        "'train/a/1.png'"
    ) in data.notes


def test_exif_data_of_which_pillow_only_warns_is_counted(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x011A] = 6, 72.0
    content = as_bytes(solid(RED), "JPEG", exif=exif.tobytes()[:-4])
    data = read_folder(tmp_path, {**SMALL, "test/b/1.png": content})
    assert (
        "1 of 5 images have damaged EXIF data, so they may not be rotated as intended, such as "
        "'test/b/1.png'"
    ) in data.notes
