"""Images of any square size: each data set's own, and the one that image_size asks for."""

from __future__ import annotations

import dataclasses
import os
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

import actbench
from actbench.data import datasets
from actbench.data.images import ImageData, open_images, prepare
from actbench.errors import UnavailableError, UsageError
from actbench.execution.plan import prepare_study
from actbench.files.cache import scratch_images
from actbench.study.study import Study, Trial, trial_id
from helpers.forked import run_script
from helpers.made_images import encoded, noise, write_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.runs import Outcome

NAMES = [f"{part}/{name}/{i}.png" for part in ("train", "test") for name in "ab" for i in range(2)]


def folder_of_size(root: Path, *sizes: tuple[int, int]) -> str:
    """Return a folder whose images have these heights and widths in turn, and different pixels."""
    draw = np.random.default_rng(0)
    files = {}
    for number, name in enumerate(NAMES):
        height, width = sizes[number % len(sizes)]
        files[name] = encoded(draw.integers(0, 256, (height, width, 3), np.uint8))
    return write_files(root, files)


def read(root: str, size: int = 0) -> ImageData:
    return open_images(prepare("imagefolder", root, size))


@pytest.mark.parametrize("size", [28, 33, 64, 256])
def test_square_images_of_one_size_keep_it(size: int, tmp_path: Path) -> None:
    data = read(folder_of_size(tmp_path, (size, size)))
    assert data.train_images.shape == (4, size, size, 3)
    assert data.image_size == data.own_size == size
    assert data.notes == ()
    with Image.open(tmp_path / "train" / "a" / "0.png") as image:
        assert torch.equal(data.train_images[0], torch.from_numpy(np.array(image)))


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ([(40, 30)], "'train/a/0.png' is 30×40 pixels; give --image-size N"),
        ([(27, 27)], "'train/a/0.png' is 27×27 pixels; give --image-size N"),
        ([(257, 257)], "'train/a/0.png' is 257×257 pixels; give --image-size N"),
        ([(32, 32), (64, 64)], "'train/a/1.png' is 64×64 pixels and 'train/a/0.png' 32×32; give"),
    ],
)
def test_images_without_a_size_of_their_own_need_one(
    sizes: list[tuple[int, int]], says: str, tmp_path: Path
) -> None:
    root = folder_of_size(tmp_path, *sizes)
    with pytest.raises(UsageError) as error:
        read(root)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    data = read(root, 48)
    assert data.test_images.shape == (4, 48, 48, 3)
    assert data.own_size == 0 or sizes[0][0] == data.own_size
    assert "of 8 images were resized to 48×48 pixels" in data.notes[0]


def test_every_asked_size_is_cached_by_itself(tmp_path: Path) -> None:
    root = folder_of_size(tmp_path, (64, 64))
    paths = [prepare("imagefolder", root, size) for size in (0, 32, 48, 32)]
    assert paths[1] == paths[3]
    assert len(set(paths)) == 3
    assert [open_images(path).image_size for path in paths] == [64, 32, 48, 32]
    with Image.open(tmp_path / "test" / "b" / "1.png") as image:
        expected = np.array(image.resize((48, 48), Image.Resampling.BILINEAR))
    assert np.array_equal(open_images(paths[2]).test_images[3].numpy(), expected)


def test_digits_are_enlarged_to_the_asked_size() -> None:
    data = open_images(prepare("digits", image_size=28))
    assert data.train_images.shape == (1437, 28, 28, 3)
    assert "all 1797 images were enlarged from 8×8 to 28×28 pixels" in data.notes
    level = np.rint(load_digits().images * (255 / 16)).astype(np.uint8)
    enlarged = {
        np.array(Image.fromarray(image).resize((28, 28), Image.Resampling.BILINEAR)).tobytes()
        for image in level
    }
    assert {image[..., 0].numpy().tobytes() for image in data.test_images} <= enlarged


def test_the_own_size_asked_for_is_the_same_file_and_the_same_study() -> None:
    assert prepare("digits", image_size=32) == prepare("digits")
    asked = Study(image_size=32, train_images=64, corruptions=(), seeds=1, kernels="torch")
    plain = dataclasses.replace(asked, image_size=0)
    studies = [prepare_study(study).study for study in (asked, plain)]
    assert studies[0] == studies[1]
    assert studies[0].image_size == 0


def test_another_size_is_another_trial() -> None:
    trial = Trial("relu", 0)
    assert trial_id(Study(image_size=48), trial) != trial_id(Study(), trial)
    assert trial_id(Study(image_size=0), trial) == trial_id(Study(), trial)


@pytest.mark.parametrize("size", [1, 27, 257, -1, True, 32.0, "32"])
def test_another_size_than_from_28_to_256_is_refused(size: object) -> None:
    with pytest.raises(UsageError, match=r"image_size is .*; it must be 0 \(the data's own\), or"):
        Study(image_size=size)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [pytest.param(28, marks=pytest.mark.slow), 33])
@pytest.mark.usefixtures("short_report")
def test_a_study_of_images_of_another_size_runs(
    size: int, actbench_here: Callable[..., Outcome], tmp_path: Path
) -> None:
    options = ["--image-size", str(size), "--train-images", "64", "--epochs", "1", "--seeds", "1"]
    options += ["--activation", "leaky_relu:0", "--corruptions", "gaussian_noise"]
    options += ["--attacks", "fgsm", "--attack-images", "8", "--workers", "0", "--out", "out"]
    done = actbench_here("run", *options)
    assert done.code == 0, done.err
    results = actbench.load(tmp_path / "out")
    assert results.study.image_size == size
    # relu and leaky_relu:0 have the same weights to the last bit
    columns = ["clean_accuracy", "clean_loss", "corrupted_accuracy", "grad_norm_first"]
    by_activation = results.trials.set_index(["activation", "seed"])[columns]
    assert by_activation.loc["relu"].equals(by_activation.loc["leaky_relu:0"])
    with Image.open(tmp_path / "out" / "samples.png") as samples:
        assert samples.size == (6 * size, size)


# arrays that are written through a file


def test_scratch_images_are_black_writable_and_leave_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTBENCH_CACHE", str(tmp_path))
    images = scratch_images(5, 7)
    assert images.shape == (5, 7, 7, 3)
    assert not images.any()
    images[:] = noise(5, 7)
    assert np.array_equal(images, noise(5, 7))
    assert scratch_images(2, 3, 4).shape == (2, 3, 4, 3)
    assert list((tmp_path / "actbench").iterdir()) == []


def test_a_folder_of_images_is_read_without_keeping_them_in_memory(tmp_path: Path) -> None:
    """400 images of 256×256 pixels, 79 MB, take less than half of that beside the program."""
    if not sys.platform.startswith("linux"):
        pytest.skip("RssAnon is Linux's")
    files = {}
    for number in range(400):
        pixels = np.full((256, 256, 3), number % 250, np.uint8)
        pixels[number % 200] = number // 2
        part = "train" if number % 4 else "test"
        files[f"{part}/{'ab'[number % 3 % 2]}/{number}.bmp"] = encoded(pixels, "BMP")
    write_files(tmp_path, files)
    script = (
        "import contextlib, ctypes, sys\n"
        "from actbench.data.images import prepare\n"
        "prepare('digits')\n"
        "with contextlib.suppress(AttributeError):  # so that reused memory counts\n"
        "    ctypes.CDLL(None).malloc_trim(0)\n"
        "def anonymous():\n"
        "    lines = open('/proc/self/status').read().splitlines()\n"
        "    return int(next(l for l in lines if l.startswith('RssAnon')).split()[1])\n"
        "before = anonymous()\n"
        "prepare('imagefolder', sys.argv[1])\n"
        "print(anonymous() - before)\n"
    )
    done = run_script(script, str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 40_000  # KiB


def test_a_cache_without_space_for_the_images_is_one_line(tmp_path: Path) -> None:
    script = (
        "import resource, sys\n"
        "from actbench.files.cache import scratch_images\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "scratch_images(10, 32)\n"
    )
    done = run_script(script, env={**os.environ, "ACTBENCH_CACHE": str(tmp_path)})
    assert UnavailableError.__name__ in done.stderr
    assert "cannot write the cache" in done.stderr


def test_the_names_of_data_sets_are_specs() -> None:
    assert datasets.resolve_dataset(" digits ") == "digits"
    assert datasets.resolve_dataset("parquet:label=fine_label") == "parquet:label=fine_label"
    with pytest.raises(UsageError, match="'digits' takes no parameter"):
        datasets.resolve_dataset("digits:3")
    with pytest.raises(UsageError, match="has no parameter 'lable'; did you mean 'label'"):
        datasets.resolve_dataset("parquet:lable=x")
