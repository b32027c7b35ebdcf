"""Tiny-ImageNet in its published layout, in miniature."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from actbench.data.folders import check_apart
from actbench.data.images import open_images, prepare
from actbench.errors import UsageError
from helpers.made_images import encoded, noise, write_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.runs import Outcome

WNIDS = ("n02124075", "n01443537", "n04067472")  # not sorted, as in the published file
WORDS = (
    "n01443537\tgoldfish, Carassius auratus\n"
    "n02124075\tEgyptian cat\n"
    "n04067472\treel\n"
    "n00000001\tentity, reel\n"
)


def miniature(train: int = 4, val: int = 5) -> dict[str, bytes | str]:
    """Return the files: JPEGs of 64×64 pixels, the boxes and annotations, unlabelled tests."""
    draw = iter(noise(3 * train + val + 1, 64))
    files: dict[str, bytes | str] = {"wnids.txt": "\n".join(WNIDS), "words.txt": WORDS}
    for wnid in WNIDS:
        boxes = ""
        for number in range(train):
            name = f"{wnid}_{number}.JPEG"
            files[f"train/{wnid}/images/{name}"] = encoded(next(draw), "JPEG")
            boxes += f"{name}\t0\t10\t63\t58\n"
        files[f"train/{wnid}/{wnid}_boxes.txt"] = boxes
    annotations = ""
    for number in reversed(range(val)):
        files[f"val/images/val_{number}.JPEG"] = encoded(next(draw), "JPEG")
        annotations += f"val_{number}.JPEG\t{WNIDS[number % 3]}\t0\t0\t63\t60\n"
    files["val/val_annotations.txt"] = annotations
    files["test/images/test_0.JPEG"] = encoded(next(draw), "JPEG")
    return files


def test_the_validation_images_are_the_test_set(tmp_path: Path) -> None:
    data = open_images(prepare("tiny_imagenet", write_files(tmp_path, miniature())))
    assert data.classes == ("goldfish", "Egyptian cat", "reel")
    assert data.train_images.shape == (12, 64, 64, 3)
    assert data.train_labels.tolist() == [0, 1, 2] * 4
    assert data.test_images.shape == (5, 64, 64, 3)
    # in the order of the annotations; the first of wnids.txt is the second class in sorted order
    assert data.test_labels.tolist() == [(1, 0, 2)[number % 3] for number in (4, 3, 2, 1, 0)]
    with Image.open(tmp_path / "val" / "images" / "val_4.JPEG") as image:
        assert np.array_equal(data.test_images[0].numpy(), np.array(image))
    assert data.flip is True
    assert data.notes == ()


def test_grey_images_become_colour(tmp_path: Path) -> None:
    files = miniature()
    grey = noise(1, 64)[0, ..., 0]
    files["train/n01443537/images/n01443537_0.JPEG"] = encoded(grey, "JPEG", quality=100)
    data = open_images(prepare("tiny_imagenet", write_files(tmp_path, files)))
    image = data.train_images[0].numpy()
    assert (image == image[..., :1]).all()


def test_the_folder_above_and_another_size_work(tmp_path: Path) -> None:
    write_files(tmp_path / "tiny-imagenet-200", miniature())
    data = open_images(prepare("tiny_imagenet", str(tmp_path), 32))
    assert data.train_images.shape == (12, 32, 32, 3)
    assert data.own_size == 64
    assert "17 of 17 images were resized to 32×32 pixels (all of them 64×64)" in data.notes


def test_names_of_classes_that_are_not_unique_get_their_id(tmp_path: Path) -> None:
    words = "n01443537\tcrane, machine\nn02124075\tcrane\n"
    root = write_files(tmp_path, miniature() | {"words.txt": words})
    names = ("crane (n01443537)", "crane (n02124075)", "n04067472")
    assert open_images(prepare("tiny_imagenet", root)).classes == names


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    root = write_files(tmp_path, miniature())
    before = prepare("tiny_imagenet", root)
    assert prepare("tiny_imagenet", root) == before
    path = tmp_path / "val" / "val_annotations.txt"
    path.write_text(path.read_text().replace(WNIDS[1], WNIDS[2]))
    os.utime(path, ns=(1, 1))
    assert prepare("tiny_imagenet", root) != before


def without(name: str) -> dict[str, bytes | str]:
    return {key: value for key, value in miniature().items() if not key.startswith(name)}


ANNOTATIONS = str(miniature()["val/val_annotations.txt"])
BAD: dict[str, tuple[dict[str, bytes | str], str]] = {
    "no wnids": (without("wnids.txt"), "cannot read wnids.txt: No such file"),
    "empty wnids": (miniature() | {"wnids.txt": " \n"}, "wnids.txt' is empty"),
    "a wnid twice": (
        miniature() | {"wnids.txt": f"{WNIDS[0]}\n" * 2},
        f"the line '{WNIDS[0]}' twi",
    ),
    "wnids not text": (miniature() | {"wnids.txt": b"\xff\xfe"}, "wnids.txt: it is not UTF-8"),
    "no class folder": (
        without(f"train/{WNIDS[1]}"),
        f"cannot read '.*{WNIDS[1]}/images': No such",
    ),
    "no annotations": (without("val/val_annotations"), "cannot read val/val_annotations.txt"),
    "no val images": (without("val/images"), "cannot read '.*val/images': No such"),
    "an unknown class": (
        miniature() | {"val/val_annotations.txt": ANNOTATIONS.replace(WNIDS[0], "n0")},
        "line 2: the class 'n0' is not in wnids.txt",
    ),
    "an image not there": (
        miniature() | {"val/val_annotations.txt": ANNOTATIONS.replace("val_0", "val_9")},
        "line 5: val/images has no 'val_9.JPEG'",
    ),
    "an image without a class": (
        miniature() | {"val/val_annotations.txt": ANNOTATIONS.partition("\n")[2]},
        "has no class for val/images/val_4.JPEG",
    ),
    "an image annotated twice": (
        miniature() | {"val/val_annotations.txt": f"{ANNOTATIONS}val_0.JPEG\t{WNIDS[0]}\t0"},
        "line 6: 'val_0.JPEG' is annotated twice",
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_folder_is_one_line_that_names_what_is_wrong(fault: str, tmp_path: Path) -> None:
    files, message = BAD[fault]
    with pytest.raises(UsageError, match=message) as error:
        prepare("tiny_imagenet", write_files(tmp_path, files))
    assert "\n" not in str(error.value)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs --data-dir: the folder 'tiny-imagenet-200'"):
        prepare("tiny_imagenet")
    with pytest.raises(UsageError, match=r"absent' is not a folder"):
        prepare("tiny_imagenet", str(tmp_path / "absent"))


def test_results_inside_the_images_are_refused(tmp_path: Path) -> None:
    root = write_files(tmp_path, miniature())
    with pytest.raises(UsageError, match="is inside the data folder"):
        check_apart(tmp_path / "val" / "images" / "results", "tiny_imagenet", root)
    check_apart(tmp_path / "results", "tiny_imagenet", root)


@pytest.mark.usefixtures("short_report")
def test_a_study_of_it_runs_at_its_own_size(
    actbench_here: Callable[..., Outcome], tmp_path: Path
) -> None:
    root = write_files(tmp_path / "images", miniature())
    options = ["--epochs", "1", "--seeds", "1", "--activation", "gelu", "--corruptions", "contrast"]
    options += ["--workers", "0", "--out", "out", "--dataset", "tiny_imagenet"]
    done = actbench_here("run", *options, "--data-dir", root)
    assert done.code == 0, done.err
    with Image.open(tmp_path / "out" / "samples.png") as samples:
        assert samples.size == (6 * 64, 64)
