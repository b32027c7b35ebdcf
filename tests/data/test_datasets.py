"""Data sets read from image folders and from the files that torchvision downloads."""

from __future__ import annotations

import io
import os
import shutil
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from actbench.data import datasets, folders, pictures
from actbench.data.images import ImageData, open_images, prepare
from actbench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from helpers.runs import Outcome

RED, GREEN, BLUE = (200, 30, 40), (10, 180, 20), (0, 0, 250)


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


def test_a_folder_gives_its_images_labels_and_class_names(tmp_path: Path) -> None:
    data = read_folder(tmp_path, SMALL)
    assert data.classes == ("a", "b")
    assert sorted(data.train_labels.tolist()) == [0, 0, 1]
    assert data.test_labels.tolist() == [0, 1]
    assert data.train_images.shape == (3, 32, 32, 3)
    assert data.test_images[0, 5, 7].tolist() == list(BLUE)
    assert data.test_images[1, 5, 7].tolist() == list(GREEN)


def test_photographs_may_be_mirrored(tmp_path: Path) -> None:
    assert read_folder(tmp_path, SMALL).flip is True


def test_classes_alternate_so_that_the_first_images_are_of_all_classes(
    tmp_path: Path,
) -> None:
    many = {f"train/{c}/{i}.png": solid((i, 0, 0)) for c in "abc" for i in range(4)}
    data = read_folder(tmp_path, {**many, **{f"test/{c}/0.png": solid(RED) for c in "abc"}})
    assert data.train_labels.tolist() == [0, 1, 2] * 4


def test_subfolders_are_read_and_hidden_files_ignored(tmp_path: Path) -> None:
    data = read_folder(
        tmp_path,
        {
            **SMALL,
            "train/b/deeper/still/2.png": solid(GREEN),
            "train/b/.DS_Store": b"x",
            "train/b/Thumbs.db": b"x",
            "train/.hidden/1.png": b"x",
        },
    )
    assert data.train_labels.tolist() == [0, 1, 0, 1]


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


def test_test_images_that_are_training_images_are_counted(tmp_path: Path) -> None:
    data = read_folder(tmp_path, SMALL)
    assert "1 of 2 test images are identical to training images, pixel by pixel" in data.notes


@pytest.mark.parametrize(("largest", "noted"), [(4095, True), (40_000, False)])
def test_grey_levels_that_use_little_of_their_range_are_named(
    largest: int, noted: bool, tmp_path: Path
) -> None:
    levels = np.linspace(0, largest, 1024).astype(np.uint16).reshape(32, 32)
    dark, bright = Image.fromarray(levels // 2), Image.fromarray(levels)
    data = read_folder(tmp_path, {**SMALL, "train/a/1.png": dark, "test/a/1.png": bright})
    note = (
        "values use only 6.25 % of their range in 2 images with more than 8 bits, so these are "
        "dark and have few grey levels; rescale the files"
    )
    assert (note in data.notes) == noted
    assert data.test_images.max() >= data.train_images[0].max()


def test_notes_count_the_images_that_were_changed(tmp_path: Path) -> None:
    files = {**SMALL, "train/a/1.png": solid(RED, (64, 48)), "test/a/1.png": solid(BLUE, (64, 48))}
    data = read_folder(tmp_path, {**files, "test/b/1.png": solid(GREEN, (20, 20))})
    assert data.notes[0] == (
        "3 of 5 images were resized to 32×32 pixels (of 2 sizes, most often 64×48); "
        "2 of them are not square and lost their aspect ratio"
    )


def test_images_of_32_by_32_need_no_note(tmp_path: Path) -> None:
    noise = {name: Image.effect_noise((32, 32), 50) for name in SMALL}
    assert read_folder(tmp_path, noise).notes == ()


def test_the_same_picture_in_two_classes_is_named(tmp_path: Path) -> None:
    data = read_folder(tmp_path, {**SMALL, "train/b/2.png": solid(RED)})
    assert (
        "1 picture is in more than one class, pixel by pixel, such as in 'a' and 'b'" in data.notes
    )
    assert "6 of 6 images have only one colour" in data.notes


def test_a_data_set_of_one_picture_is_refused(tmp_path: Path) -> None:
    alike = {name: solid(RED) for name in SMALL} | {"test/a/1.png": solid(BLUE)}
    with pytest.raises(UsageError, match="all 3 training images are the same picture"):
        read_folder(tmp_path, alike)


def test_a_class_may_be_named_in_either_unicode_form(tmp_path: Path) -> None:
    train, test = "caf\u00e9", "cafe\u0301"
    files = {name.replace("/a/", f"/{train}/"): image for name, image in SMALL.items()}
    files[f"test/{test}/1.png"] = files.pop(f"test/{train}/1.png")
    data = read_folder(tmp_path, files)
    assert data.classes == ("b", train)
    assert data.test_images[data.test_labels == 1][0, 0, 0].tolist() == list(BLUE)


def test_a_class_in_both_unicode_forms_in_one_part_is_named(tmp_path: Path) -> None:
    files = {**SMALL, "train/caf\u00e9/1.png": solid(RED), "train/cafe\u0301/1.png": solid(RED)}
    with pytest.raises(UsageError, match=r"two folders for the class 'café'.*NFC and NFD"):
        read_folder(tmp_path, files)


@pytest.mark.parametrize("place", ["train/results", "test/a/results"])
def test_results_and_cache_inside_the_images_are_refused(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_folder(tmp_path, SMALL)
    with pytest.raises(UsageError, match="is inside the data folder"):
        folders.check_apart(tmp_path / place, "imagefolder", root)
    folders.check_apart(tmp_path / "results", "imagefolder", root)
    folders.check_apart(tmp_path / place, "cifar10", root)
    monkeypatch.setenv("ACTBENCH_CACHE", str(tmp_path / place))
    with pytest.raises(UsageError, match="is inside the data folder"):
        prepare("imagefolder", root)
    assert not (tmp_path / place).exists()


def test_a_second_start_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_folder(tmp_path, SMALL)
    folder = prepare("imagefolder", root)

    def poison(path: Path) -> None:
        raise AssertionError(f"{path} is decoded again")

    monkeypatch.setattr(pictures, "decode", poison)
    assert prepare("imagefolder", root) == folder


@pytest.mark.parametrize("change", ["content", "time", "new", "gone", "renamed"])
def test_a_changed_folder_is_read_again(change: str, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "images", SMALL)
    before = prepare("imagefolder", root)
    path = tmp_path / "images" / "train" / "a" / "1.png"
    match change:
        case "content":
            time = path.stat().st_mtime_ns
            path.write_bytes(as_bytes(solid(BLUE), "BMP"))
            os.utime(path, ns=(time, time))
        case "time":
            path.write_bytes(as_bytes(solid(BLUE)))
            os.utime(path, ns=(1, 1))
        case "new":
            shutil.copy2(path, path.with_name("3.png"))
        case "gone":
            path.unlink()
        case "renamed":
            path.rename(path.with_name("9.png"))
    after = prepare("imagefolder", root)
    assert after != before
    blue = open_images(after).train_images[..., 2].eq(250).any()
    assert bool(blue) is (change in {"content", "time"})


def without(*parts: str) -> dict[str, Image.Image | bytes]:
    return {k: v for k, v in SMALL.items() if not k.startswith(parts)}


BAD_FOLDERS: dict[str, tuple[Mapping[str, Image.Image | bytes], str]] = {
    "nothing": ({}, "has no folder 'train'"),
    "no train": (without("train"), "has no folder 'train'"),
    "no test": (without("test"), "has no folder 'test'"),
    "one class": (without("train/b", "test/b"), "has only one class"),
    "a class only in train": ({**SMALL, "train/c/1.png": solid(RED)}, "test has no 'c'"),
    "a class only in test": ({**SMALL, "test/0/1.png": solid(RED)}, "train has no '0'"),
    "an image outside the classes": (
        {**SMALL, "train/1.png": solid(RED)},
        "1.png' is not in a class folder",
    ),
    "a text as image": ({**SMALL, "train/a/notes.txt": b"cats\n"}, "a/notes.txt' is not an image"),
    "an empty file": ({**SMALL, "train/a/3.png": b""}, "train/a/3.png' is not an image"),
    "a truncated PNG": (
        {**SMALL, "test/b/half.png": as_bytes(solid(RED, (99, 99)))[:90]},
        "cannot read the image",
    ),
    "a truncated JPEG": (
        {**SMALL, "test/b/half.jpg": as_bytes(Image.effect_noise((99, 99), 50), "JPEG")[:2000]},
        "test/b/half.jpg': image file is truncated",
    ),
}


@pytest.mark.parametrize("fault", BAD_FOLDERS)
def test_a_bad_folder_is_one_line_that_names_what_is_wrong(fault: str, tmp_path: Path) -> None:
    files, message = BAD_FOLDERS[fault]
    with pytest.raises(UsageError) as error:
        prepare("imagefolder", write_folder(tmp_path, files))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert " at 0x" not in str(error.value)


def test_empty_folders_are_named(tmp_path: Path) -> None:
    write_folder(tmp_path, SMALL)
    (tmp_path / "train" / "c").mkdir()
    with pytest.raises(UsageError, match=r"class folder '.*/train/c' has no images"):
        prepare("imagefolder", str(tmp_path))
    shutil.rmtree(tmp_path / "train")
    (tmp_path / "train").mkdir()
    with pytest.raises(UsageError, match=r"train' has no images; it needs train/<class>/"):
        prepare("imagefolder", str(tmp_path))


def test_a_path_that_is_not_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs --data-dir"):
        prepare("imagefolder", "")
    with pytest.raises(UsageError, match=r"absent' is not a folder"):
        prepare("imagefolder", str(tmp_path / "absent"))
    (tmp_path / "file").write_text("")
    for name in (str(tmp_path / "file"), "x" * 300, "~no-such-user-here/images"):
        with pytest.raises(UsageError, match="' is not a folder"):
            prepare("imagefolder", name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_in_the_folder_is_refused_rather_than_waited_for(tmp_path: Path) -> None:
    write_folder(tmp_path, SMALL)
    os.mkfifo(tmp_path / "train" / "a" / "pipe.png")
    with pytest.raises(UsageError, match=r"pipe\.png' is not a regular file"):
        prepare("imagefolder", str(tmp_path))


def test_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, SMALL)
    (tmp_path / "train" / "a" / "link.png").symlink_to(tmp_path / "absent.png")
    with pytest.raises(UsageError, match=r"link\.png"):
        prepare("imagefolder", str(tmp_path))


def test_a_data_dir_that_is_not_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent' is not a folder"):
        prepare("cifar10", str(tmp_path / "absent"))


def test_the_users_cache_folder_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ACTBENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / name))
    assert datasets.cache_folder() == tmp_path / "actbench"
    monkeypatch.setenv("ACTBENCH_CACHE", str(tmp_path / "mine"))
    assert datasets.cache_folder() == tmp_path / "mine" / "actbench"


# what a run reports about the images


def drawings(root: Path) -> str:
    noise = np.random.default_rng(0)
    sizes = {"train": 8, "test": 4}
    return write_folder(
        root,
        {
            f"{part}/{name}/{i}.png": Image.fromarray(noise.integers(0, 256, (30, 40), np.uint8))
            for part, count in sizes.items()
            for name in "ab"
            for i in range(count)
        },
    )


def test_changes_to_the_images_are_reported_before_training_and_in_the_report(
    actbench_here: Callable[..., Outcome], tmp_path: Path
) -> None:
    options = ["run", "--dataset", "imagefolder", "--data-dir", drawings(tmp_path / "images")]
    refused = actbench_here(*options, "--out", "out")
    assert refused.code == 2
    assert "'train/a/0.png' is 40×30 pixels; give --image-size N" in refused.err
    options += ["--image-size", "32"]
    options += ["--epochs", "1", "--seeds", "2", "--activation", "leaky_relu:0.1"]
    options += ["--corruptions", "none", "--workers", "0", "--out"]
    done = actbench_here(*options, "out")
    assert done.code == 0
    said = (
        "24 of 24 images were resized to 32×32 pixels (all of them 40×30); "
        "24 of them are not square and lost their aspect ratio"
    )
    assert f"data: {said}" in done.err
    assert said in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")

    inside = tmp_path / "images" / "train" / "results"
    refused = actbench_here(*options, str(inside))
    assert refused.code == 2
    assert "is inside the data folder" in refused.err
    assert not inside.exists()
