"""A user's function as a data set: what it may return, and how its faults are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from actbench.data.images import open_images, prepare
from actbench.errors import UsageError
from helpers.made_images import noise

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.runs import Outcome

SOURCE = """
import numpy as np

def arrays(seed=0, count=12):
    draw = np.random.default_rng(seed)
    x = draw.integers(0, 256, (count, 32, 32, 3), np.uint8)
    y = np.arange(count) % 3
    return x, y, x[:6], y[:6]

def keras():
    x, y, x_test, y_test = arrays()
    return (x, y), (x_test, y_test)

def named():
    x, y, x_test, y_test = arrays()
    return {"x_train": x, "y_train": y, "x_test": x_test, "y_test": y_test, "classes": list("abc")}

def datasets():
    x, y, x_test, y_test = arrays()
    return list(zip(x, y)), list(zip(x_test, y_test))

def from_folder(data_dir):
    loaded = np.load(data_dir + "/x.npy")
    return loaded, np.arange(len(loaded)) % 2, loaded[:2], [0, 1]

def fails(): raise OSError("the disk\\nis gone")
def leaves(): raise SystemExit(3)
def nothing(): return None
def three(): return 1, 2, 3
def wrong(): return {"x": 1}
def bad_labels(): return arrays()[0], [1.5] * 12, *arrays()[2:]
number = 3
"""


@pytest.mark.parametrize("name", ["arrays", "keras", "named", "datasets"])
def test_a_function_may_return_any_form(name: str, user_module: Callable[[str], str]) -> None:
    module = user_module(SOURCE)
    data = open_images(prepare(f"{module}:{name}"))
    assert data.train_images.shape == (12, 32, 32, 3)
    assert data.train_labels.tolist() == [0, 1, 2] * 4
    assert data.classes == (("a", "b", "c") if name == "named" else ("0", "1", "2"))
    assert data.checksum == open_images(prepare(f"{module}:arrays")).checksum


def test_a_function_gets_its_parameters_the_folder_and_the_size(
    user_module: Callable[[str], str], tmp_path: Path
) -> None:
    module = user_module(SOURCE)
    assert len(open_images(prepare(f"{module}:arrays:count=24,seed=3")).train_images) == 24
    np.save(tmp_path / "x.npy", noise(4, 20))
    found = open_images(prepare(f"{module}:from_folder", str(tmp_path), 48))
    assert found.train_images.shape == (4, 48, 48, 3)
    before = prepare(f"{module}:from_folder", str(tmp_path), 48)
    np.save(tmp_path / "x.npy", noise(4, 20, seed=5))
    assert prepare(f"{module}:from_folder", str(tmp_path), 48) != before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fails", "fails: OSError: the disk is gone"),
        ("leaves", "fails: SystemExit: 3"),
        ("nothing", "it returns a value of type NoneType; it must return x_train, y_train"),
        ("three", "it returns 3 values; it must return"),
        ("wrong", "it returns a dict of x; it must return"),
        ("bad_labels", r"y_train is float64 of shape \(12,\)"),
        ("number", "is not a function; it must return"),
        ("arays", "has no 'arays'; did you mean 'arrays'"),
        ("arrays:size=3", "fails: TypeError: .*unexpected keyword argument 'size'"),
        ("arrays:3", "give its parameters by name"),
    ],
)
def test_a_function_that_fails_is_one_line(
    name: str, message: str, user_module: Callable[[str], str]
) -> None:
    with pytest.raises(UsageError, match=message) as error:
        prepare(f"{user_module(SOURCE)}:{name}")
    assert "\n" not in str(error.value)


def test_a_folder_that_a_function_does_not_take_is_refused(
    user_module: Callable[[str], str], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="has no parameter data_dir, and --data-dir was given"):
        prepare(f"{user_module(SOURCE)}:arrays", str(tmp_path))


@pytest.mark.usefixtures("short_report")
def test_the_data_of_a_function_decides_whether_there_is_something_to_do(
    user_module: Callable[[str], str], actbench_here: Callable[..., Outcome], tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", noise(8))
    options = ["--dataset", f"{user_module(SOURCE)}:from_folder", "--data-dir", str(tmp_path)]
    options += ["--epochs", "1", "--seeds", "1", "--activation", "elu", "--corruptions", "none"]
    command = ["run", *options, "--workers", "0", "--out", "out"]
    done = actbench_here(*command)
    assert done.code == 0, done.err
    again = actbench_here(*command)
    assert again.code == 0
    assert "all 2 trials are stored already" in again.err
    np.save(tmp_path / "x.npy", noise(8, seed=5))
    changed = actbench_here(*command)
    assert changed.code == 3
    assert "data_checksum is" in changed.err
