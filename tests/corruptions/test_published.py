"""The published CIFAR-10-C files: read unchanged, and refused if they do not fit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import torch

from actbench.corruptions.published import check_published, published_images
from actbench.corruptions.specs import SUITES, expand
from actbench.corruptions.test_sets import corrupted_test_images
from actbench.data.images import open_images, prepare
from actbench.errors import UsageError
from actbench.execution.plan import prepare_study
from actbench.study.measurements import Measurement, measurements_of
from actbench.study.study import Study

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers.runs import Outcome

QUICK = ("run", "--train-images", "64", "--epochs", "1", "--seeds", "1", "--activation", "relu")


pytestmark = pytest.mark.digits


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of the published form for the digits' 360 test images: frost is the image less 9 s."""
    folder = tmp_path_factory.mktemp("published")
    data = open_images(prepare("digits"))
    images = data.test_images.numpy()
    blocks = [np.where(images > 9 * s, images - 9 * s, 0) for s in range(1, 6)]
    np.save(folder / "frost.npy", np.concatenate(blocks).astype(np.uint8))
    np.save(folder / "fog.npy", np.concatenate([images] * 5))
    np.save(folder / "labels.npy", np.tile(data.test_labels.numpy(), 5).astype(np.uint8))
    return folder


@pytest.fixture
def files(published: Path, tmp_path: Path) -> Path:
    """A copy of the files, to damage."""
    shutil.copytree(published, tmp_path / "CIFAR-10-C")
    return tmp_path / "CIFAR-10-C"


def test_a_severity_is_its_block_of_the_file(published: Path) -> None:
    data = open_images(prepare("digits"))
    for severity in (1, 5):
        found = corrupted_test_images(data, "frost", severity, str(published)).numpy()
        expected = np.load(published / "frost.npy")[360 * (severity - 1) : 360 * severity]
        assert np.array_equal(found, expected)


def test_a_study_reads_them_under_their_names(
    files: Path, tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    (files / "frost.npy").rename(files / "caustic_refraction.npy")
    names = "caustic_refraction,fog,gaussian_noise:sigma=0/0.5"
    asked = (*QUICK, "--corruptions", names, "--workers", "0", "--cifar10c", str(files))
    done = actbench_here(*asked, "--out", "out")
    assert done.code == 0, done.err
    table = pd.read_csv(tmp_path / "out" / "corruptions.csv")
    clean = pd.read_csv(tmp_path / "out" / "trials.csv")["clean_accuracy"][0]
    by_name = {name: list(part) for name, part in table.groupby("corruption")["accuracy"]}
    assert by_name.keys() == {"caustic_refraction", "fog", "gaussian_noise:sigma=0/0.5"}
    # the fog of these files changes nothing, and neither does noise without deviation
    assert by_name["fog"] == [clean] * 5
    assert len(by_name["gaussian_noise:sigma=0/0.5"]) == 2
    assert by_name["gaussian_noise:sigma=0/0.5"][0] == clean
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "read from published files, caustic_refraction <code>sha256:" in page

    # the study repeats with these files, and with no others
    again = ("run", "--config", str(Path("out") / "study.toml"), "--workers", "0", "--out", "again")
    changed = np.load(files / "fog.npy")
    changed[0, 0, 0, 0] ^= 1
    np.save(files / "fog.npy", changed)
    refused = actbench_here(*again)
    assert refused.code == 2
    assert "the published file of fog is not the study's" in refused.err


def damage(name: str, files: Path) -> None:
    images, labels = files / "frost.npy", files / "labels.npy"
    if name == "truncated":
        images.write_bytes(images.read_bytes()[:-1])
    elif name == "empty":
        images.write_bytes(b"")
    elif name == "missing":
        images.unlink()
    elif name == "no labels":
        labels.unlink()
    elif name == "shape":
        np.save(images, np.load(images)[:-360])
    elif name == "type":
        np.save(images, np.load(images).astype(np.float32))
    elif name == "objects":
        np.save(images, np.array([{}]), allow_pickle=True)
    elif name == "order":
        np.save(labels, np.roll(np.load(labels), 1))
    elif name == "label type":
        np.save(labels, np.load(labels).astype(np.float32))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("truncated", "frost.npy' is truncated or not a .npy file"),
        ("empty", "frost.npy' is truncated or not a .npy file"),
        ("missing", "has no frost.npy"),
        ("no labels", "has no labels.npy"),
        (
            "shape",
            "is uint8 of shape (1440, 32, 32, 3); it must be uint8 of shape (1800, 32, 32, 3)",
        ),
        ("type", "is float32 of shape (1800, 32, 32, 3); it must be uint8"),
        ("objects", "frost.npy' is truncated or not a .npy file"),
        ("order", "labels.npy' does not have the order of the test set: its label"),
        ("label type", "it must be integers of shape (1800,)"),
    ],
)
def test_a_file_that_does_not_fit_is_named_before_any_training(
    name: str, says: str, files: Path, tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    damage(name, files)
    asked = [*QUICK, "--corruptions", "frost", "--cifar10c", str(files)]
    done = actbench_here(*asked, "--workers", "0", "--out", "nothing")
    assert done.code == 2
    assert says in done.err
    assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "nothing").exists()


def test_frost_is_in_the_suites_if_there_are_files(published: Path) -> None:
    found = expand(["cifar10c"], str(published))
    assert len(found) == 15
    assert found[found.index("snow") + 1] == "frost"
    assert set(found) - {"frost"} == set(SUITES["cifar10c"])
    assert len(expand(["all"], str(published))) == 19
    assert "frost" not in expand(["extra", "noise"], str(published))


def test_every_file_of_the_folder_is_offered_under_its_name(files: Path) -> None:
    shutil.copy(files / "fog.npy", files / "caustic_refraction.npy")
    shutil.copy(files / "fog.npy", files / "two words.npy")
    (files / "README.txt").write_text("no images")
    folder = str(files)
    assert expand(["published"], folder) == ("caustic_refraction", "fog", "frost")
    assert expand(["caustic_refraction"], folder) == ("caustic_refraction",)
    with pytest.raises(UsageError, match="did you mean 'caustic_refraction'"):
        expand(["caustic_refracton"], folder)
    with pytest.raises(UsageError, match="did you mean 'gaussian_noise'"):
        expand(["gausian_noise"], folder)
    with pytest.raises(UsageError, match="unknown corruption 'two words'"):
        expand(["two words"], folder)
    with pytest.raises(UsageError, match="unknown corruption 'published'"):
        expand(["published"])


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read cifar10c '.*absent': No such file"):
        expand(["fog"], str(tmp_path / "absent"))


def test_levels_are_computed_and_names_are_read_from_files(published: Path) -> None:
    data = open_images(prepare("digits"))
    spec = expand(["brightness:added=0.3/0"], str(published))[0]
    for folder in ("", str(published)):
        brighter, same = (corrupted_test_images(data, spec, level, folder) for level in (1, 2))
        assert float(brighter.float().mean()) > float(data.test_images.float().mean()) + 40
        assert (same.int() - data.test_images.int()).abs().max() <= 1


def test_a_measurement_depends_on_the_files_content_not_on_their_path(published: Path) -> None:
    def measurement(**changes: Any) -> Measurement:
        study = Study(activations=("relu",), corruptions=("fog",), **changes)
        return measurements_of(prepare_study(study).study, 360)[1]

    assert measurement(cifar10c=str(published)) == measurement(cifar10c=f"{published}/.")
    assert measurement(cifar10c=str(published)) != measurement()


def made_files(folder: Path, labels: torch.Tensor, side: int) -> None:
    draws = np.random.default_rng(0)
    images = draws.integers(256, size=(5 * len(labels), side, side, 3), dtype=np.uint8)
    np.save(folder / "snow.npy", images)
    np.save(folder / "labels.npy", np.tile(labels.numpy(), 5).astype(np.uint8))


def test_files_of_a_hundred_classes_and_of_another_size_are_checked_alike(tmp_path: Path) -> None:
    labels = torch.arange(100).roll(3)
    made_files(tmp_path, labels, side=64)
    folder = str(tmp_path)
    ((name, checksum),) = check_published(folder, ["snow"], labels, (64, 64, 3))
    assert name == "snow"
    assert checksum.startswith("sha256:")
    blocks = np.load(tmp_path / "snow.npy").reshape(5, 100, 64, 64, 3)
    for severity in (1, 5):
        found = published_images(folder, "snow", severity).numpy()
        assert np.array_equal(found, blocks[severity - 1])
    with pytest.raises(UsageError, match=r"it must be uint8 of shape \(500, 32, 32, 3\)"):
        check_published(folder, ["snow"], labels, (32, 32, 3))
    with pytest.raises(UsageError, match="CIFAR-100-C to cifar100"):
        check_published(folder, ["snow"], labels % 10, (64, 64, 3))


def test_files_of_another_size_than_the_studys_images_are_refused(published: Path) -> None:
    study = Study(image_size=48, cifar10c=str(published), train_images=64, corruptions=("fog",))
    expected = "its images have 32×32 pixels, and the study's have 48×48"
    with pytest.raises(UsageError, match=expected):
        prepare_study(study)
