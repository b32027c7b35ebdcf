"""Data sets read from image folders and from the files that torchvision downloads."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from actbench.data import datasets, folders, pictures
from actbench.data.images import open_images, prepare
from actbench.errors import UsageError
from helpers.picture_folders import (
    BLUE,
    GREEN,
    RED,
    SMALL,
    as_bytes,
    read_folder,
    solid,
    write_folder,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from helpers.runs import Outcome


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


@pytest.mark.parametrize("inside", ["train/results", "test/a/results"])
def test_results_and_cache_inside_the_images_are_refused(
    inside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_folder(tmp_path, SMALL)
    with pytest.raises(UsageError, match="is inside the data folder"):
        folders.check_apart(tmp_path / inside, "imagefolder", root)
    folders.check_apart(tmp_path / "results", "imagefolder", root)
    folders.check_apart(tmp_path / inside, "cifar10", root)
    monkeypatch.setenv("ACTBENCH_CACHE", str(tmp_path / inside))
    with pytest.raises(UsageError, match="is inside the data folder"):
        prepare("imagefolder", root)
    assert not (tmp_path / inside).exists()


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
    for name in (str(tmp_path / "file"), "x" * 300):
        with pytest.raises(UsageError, match="' is not a folder"):
            prepare("imagefolder", name)
    with pytest.raises(UsageError, match="images' begins with no known user's home folder"):
        prepare("imagefolder", "~no-such-user-here/images")


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
