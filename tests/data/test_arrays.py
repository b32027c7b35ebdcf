"""Arrays of one's own: what is accepted and refused, from Python and from .npz files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

import actbench
from actbench.data.arrays import NAMES
from actbench.data.images import ImageData, open_images, prepare
from actbench.errors import UnavailableError, UsageError
from actbench.files.cache import cache_folder
from actbench.study.study import Study
from helpers.made_images import four_arrays, noise

if TYPE_CHECKING:
    from pathlib import Path


def stored(*arrays: Any, **options: Any) -> ImageData:
    return open_images(prepare(actbench.arrays(*arrays, **options)))


def assert_holds(data: ImageData, arrays: list[np.ndarray]) -> None:
    found = (data.train_images, data.train_labels, data.test_images, data.test_labels)
    for tensor, array in zip(found, arrays, strict=True):
        assert np.array_equal(tensor.numpy(), array)


# accepted arrays


def test_arrays_give_their_images_and_labels() -> None:
    arrays = four_arrays(40)
    data = stored(*arrays)
    assert_holds(data, arrays)
    assert data.classes == ("0", "1", "2")
    assert data.image_size == data.own_size == 40
    assert data.flip is False
    assert data.notes == ()


@pytest.mark.parametrize("side", [28, 32, 64])
@pytest.mark.parametrize("layout", ["channels first", "one channel", "one channel first", "grey"])
def test_every_layout_becomes_rows_columns_colours(layout: str, side: int) -> None:
    x = noise(12, side)
    grey = np.repeat(x[..., :1], 3, axis=3)
    given, expected = {
        "channels first": (x.transpose(0, 3, 1, 2), x),
        "one channel": (x[..., :1], grey),
        "one channel first": (x[..., 0][:, None], grey),
        "grey": (x[..., 0], grey),
    }[layout]
    labels = np.arange(12) % 2
    assert_holds(
        stored(given, labels, given[:6], labels[:6]), [expected, labels, expected[:6], labels[:6]]
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_floats_in_0_to_1_become_the_levels_that_they_are(dtype: Any) -> None:
    x_train, y_train, x_test, y_test = four_arrays()
    data = stored((x_train / 255).astype(dtype), y_train, (x_test / 255).astype(dtype), y_test)
    assert_holds(data, [x_train, y_train, x_test, y_test])
    rounded = [note for note in data.notes if "rounded" in note]
    assert rounded == (
        ["the floats of 18 of 18 images were rounded to 8 bits"] if dtype == np.float16 else []
    )


def test_floats_between_levels_are_rounded_and_counted() -> None:
    x_train, y_train, x_test, y_test = four_arrays()
    between = x_train / 255
    between[3] = 0.3
    data = stored(between, y_train, x_test, y_test)
    assert (data.train_images[3] == 76).all()  # 76.5 to even
    assert "the floats of 1 of 18 images were rounded to 8 bits" in data.notes


@pytest.mark.parametrize("kind", [np.uint8, np.int64, ">i2", "column", "tensor"])
def test_labels_may_be_integers_of_any_type_and_in_a_column(kind: Any) -> None:
    x_train, y_train, x_test, y_test = four_arrays()
    labels: list[Any] = [y_train, y_test]
    if kind == "column":
        labels = [part[:, None] for part in labels]
    elif kind == "tensor":
        labels = [torch.from_numpy(part) for part in labels]
    else:
        labels = [part.astype(kind) for part in labels]
    graph = torch.from_numpy(x_train / 255).requires_grad_()
    data = stored(graph, labels[0], torch.from_numpy(x_test), labels[1])
    assert_holds(data, [x_train, y_train, x_test, y_test])


def test_classes_may_have_names_and_be_missing_in_a_part() -> None:
    x_train, y_train, x_test, y_test = four_arrays()
    data = stored(x_train, y_train, x_test, y_test * 0, classes=["a", "b", "c", "d"])
    assert data.classes == ("a", "b", "c", "d")
    assert "1 of 4 classes have no training image, such as 'd'" in data.notes


def test_images_are_resized_to_the_asked_size() -> None:
    x_train, y_train, x_test, y_test = four_arrays(20)
    data = stored(x_train, y_train, x_test[:, :, :10], y_test, image_size=48)
    assert data.train_images.shape == (12, 48, 48, 3)
    assert data.own_size == 0
    expected = Image.fromarray(x_train[0]).resize((48, 48), Image.Resampling.BILINEAR)
    assert np.array_equal(data.train_images[0].numpy(), np.asarray(expected))
    assert data.notes[0] == (
        "18 of 18 images were resized to 48×48 pixels (of 2 sizes, most often 20×20); "
        "6 of them are not square and lost their aspect ratio"
    )


# refused arrays


def bad(**changes: Any) -> dict[str, Any]:
    return {**dict(zip(NAMES, four_arrays(), strict=True)), **changes}


X, Y = four_arrays()[:2]
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a flat array": (
        bad(x_train=X.reshape(12, -1)),
        r"x_train has shape \(12, 3072\); images must",
    ),
    "five dimensions": (bad(x_test=X[:6, None]), r"x_test has shape \(6, 1, 32, 32, 3\)"),
    "two channels": (bad(x_train=X[..., :2]), r"x_train has shape \(12, 32, 32, 2\)"),
    "four channels": (bad(x_train=np.concatenate([X, X[..., :1]], 3)), r"\(12, 32, 32, 4\)"),
    "integers": (bad(x_train=X.astype(np.int64)), "x_train is int64; images must be uint8"),
    "booleans": (bad(x_train=X > 100), "x_train is bool; images must be uint8"),
    "complex": (bad(x_train=X * 1j), "x_train is complex128; images must be uint8"),
    "texts": (bad(x_train=["a.png"] * 12), r"x_train has shape \(12,\)"),
    "objects": (bad(x_train=[X[0], X[1, 1:]]), "x_train (cannot be read as an array|has elements)"),
    "a number": (bad(x_train=1.0), "x_train is one value; it must be an array"),
    "nothing": (bad(x_train=None), "x_train has elements of different shapes or kinds"),
    "floats to 255": (
        bad(x_train=X.astype(np.float32)),
        r"x_train has floats from 0 to 255; they must be in \[0, 1\]; divide them by 255",
    ),
    "normalised floats": (
        bad(x_test=X[:6] / 127.5 - 1.0),
        r"x_test has floats from -1 to 1; they must be in \[0, 1\]; do not normalise them",
    ),
    "NaN": (bad(x_train=np.full(X.shape, np.nan)), "x_train has floats from nan to nan"),
    "infinity": (bad(x_train=np.full(X.shape, np.inf)), "x_train has floats from inf to inf"),
    "no images": (
        bad(x_train=X[:0], y_train=Y[:0]),
        "y_train is empty; there must be training and",
    ),
    "no pixels": (bad(x_train=X[:, :0]), r"x_train has shape \(12, 0, 32, 3\)"),
    "small": (
        bad(x_train=X[:, :20, :20], x_test=X[:6, :20, :20]),
        "x_train has images of 20×20 pixels and x_test has images of 20×20 pixels; give --image-si",
    ),
    "two sizes": (bad(x_test=noise(6, 64)), "x_train has images of 32×32 pixels and x_test has im"),
    "one-hot labels": (
        bad(y_train=np.eye(3)[Y]),
        r"y_train is float64 of shape \(12, 3\); .*; of one-hot labels take .argmax\(1\)",
    ),
    "float labels": (
        bad(y_train=Y * 1.0),
        r"y_train is float64 of shape \(12,\); labels must be int",
    ),
    "texts as labels": (bad(y_train=["cat"] * 12), r"y_train is <U3 of shape \(12,\)"),
    "fewer labels": (bad(y_test=Y[:5]), "y_test has 5 labels for 6 images"),
    "a negative label": (bad(y_train=Y - 1), "y_train has the label -1; labels must be from 0"),
    "labels from 1": (
        bad(y_train=Y + 1),
        "y_train has 3 different labels from 1 to 3, but no 0; without names",
    ),
    "a gap": (
        bad(y_train=Y * 2),
        "labels from 0 to 4, but no 1; without names of classes they must",
    ),
    "an enormous label": (bad(y_train=Y * 10**15), "3 different labels from 0 to 2000000000000000"),
    "an unsigned label": (bad(y_test=np.full(6, 2**64 - 1, np.uint64)), "which is too large"),
    "an unknown class": (
        bad(y_test=Y[:6] + 1),
        "y_test has the label 3; with 3 classes labels must",
    ),
    "one class": (bad(y_train=Y * 0, y_test=Y[:6] * 0), "there is only one class"),
    "fewer names": (bad(classes=["a", "b"]), "y_train has the label 2; with 2 classes"),
    "equal names": (bad(classes=["a", "b", "a"]), "it must be a list of different texts"),
    "numbers as names": (
        bad(classes=[0, 1, 2]),
        r"classes is \[0, 1, 2\]; it must be a list of dif",
    ),
    "a wrong size": (
        bad(image_size=300),
        r"image_size is 300; it must be 0 \(the data's own\), or",
    ),
    "equal images": (bad(x_train=X * 0), "all 12 training images are the same picture"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_other_arrays_are_refused_in_one_line(fault: str) -> None:
    values, message = REFUSED[fault]
    with pytest.raises(UsageError, match=message) as error:
        actbench.arrays(**values)
    assert "\n" not in str(error.value)


# arrays from Python


def test_the_name_depends_on_the_content_only() -> None:
    x_train, y_train, x_test, y_test = four_arrays()
    name = actbench.arrays(x_train, y_train, x_test, y_test)
    assert name.startswith("arrays:sha256-")
    assert actbench.arrays(x_train / 255, y_train.tolist(), x_test, y_test[:, None]) == name
    others = [
        actbench.arrays(x_train[::-1], y_train, x_test, y_test),
        actbench.arrays(x_train, y_train, x_test, y_test[::-1].copy()),
        actbench.arrays(x_train, y_train, x_test, y_test, classes=["a", "b", "c"]),
        actbench.arrays(x_train, y_train, x_test, y_test, image_size=64),
    ]
    assert len({name, *others}) == 5


def test_stored_arrays_can_be_resized_by_the_study() -> None:
    arrays = four_arrays(64)
    name = actbench.arrays(*arrays)
    assert prepare(name, "", 64) == prepare(name)
    data = open_images(prepare(name, "", 32))
    assert data.test_images.shape == (6, 32, 32, 3)
    assert "18 of 18 images were resized to 32×32 pixels (all of them 64×64)" in data.notes


def test_arrays_that_are_gone_from_the_cache_are_named() -> None:
    name = f"arrays:sha256-{'0' * 16}"
    with pytest.raises(UnavailableError, match=f"'{name}' are not in the cache") as error:
        prepare(name)
    assert str(cache_folder()) in str(error.value)


@pytest.mark.parametrize("name", ["arrays", "arrays:5", "arrays:sha256-xyz", "arrays:../x"])
def test_a_name_that_arrays_does_not_give_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"actbench\.arrays|it must be text"):
        prepare(name)


def test_a_study_of_arrays_runs_and_resumes(tmp_path: Path) -> None:
    dataset = actbench.arrays(*four_arrays(36))
    study = Study(
        dataset=dataset,
        dataset_name="noise",
        activations=["relu", "elu"],
        seeds=1,
        epochs=1,
        corruptions=["contrast"],
    )
    results = actbench.run(study, tmp_path / "out", workers=1, quiet=True)
    assert results.complete
    assert results.study.dataset == dataset
    events: list[object] = []
    again = actbench.run(study, tmp_path / "out", workers=0, on_event=events.append)
    assert [str(getattr(event, "text", event)) for event in events] == [
        "all 2 trials are stored already"
    ]
    assert again.trials.equals(results.trials)
    assert "noise" in (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")


# .npz files


def write_npz(path: Path, **values: Any) -> str:
    np.savez_compressed(path, **{**dict(zip(NAMES, four_arrays(), strict=True)), **values})
    return str(path)


def test_an_npz_file_in_kerass_layout_is_read(tmp_path: Path) -> None:
    arrays = four_arrays(28)
    path = write_npz(tmp_path / "mnist.npz", **dict(zip(NAMES, arrays, strict=True)))
    assert_holds(open_images(prepare("npz", path)), arrays)
    assert open_images(prepare("npz", path, 32)).image_size == 32


def test_a_changed_npz_file_is_read_again(tmp_path: Path) -> None:
    before = prepare("npz", write_npz(tmp_path / "a.npz"))
    assert prepare("npz", str(tmp_path / "a.npz")) == before
    assert prepare("npz", write_npz(tmp_path / "a.npz", y_test=[0, 1, 2, 2, 1, 0])) != before


def test_a_bad_npz_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write_npz(path)
    content = path.read_bytes()
    for damaged in (content[:200], b"", b"PK\x03\x04" + bytes(500), content[:-900] + bytes(900)):
        path.write_bytes(damaged)
        with pytest.raises(UsageError, match=r"a\.npz' is damaged or not an \.npz file"):
            prepare("npz", str(path))
    np.savez(path, x_train=1, data=2)
    with pytest.raises(UsageError, match="no y_train and no x_test and no y_test, only x_train, d"):
        prepare("npz", str(path))
    np.savez(path, **dict.fromkeys(NAMES, np.array([None])))
    with pytest.raises(UsageError, match="Object arrays cannot be loaded"):
        prepare("npz", str(path))
    with pytest.raises(UsageError, match=r"a\.npz': x_train is int64; images must be uint8"):
        prepare("npz", write_npz(path, x_train=X.astype(np.int64)))
    with pytest.raises(UsageError, match=r"needs --data-dir: a \.npz file with x_train, y_train"):
        prepare("npz")
    for name in (str(tmp_path / "absent.npz"), str(tmp_path)):
        with pytest.raises(UsageError, match="is not a file"):
            prepare("npz", name)
    with pytest.raises(UsageError, match=r"npz' begins with no known user's home folder"):
        prepare("npz", "~no-such-user/a.npz")
