"""Fixtures: studies that are measured later, and networks that are checked before training."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from actbench.data.images import ImageData, open_images, prepare
from actbench.training import trial as trial_module
from helpers.checked_networks import SOURCE
from helpers.measured_later import BARE, MEASURED, run_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from actbench.study.study import Trial


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a study that measured the test images only; read-only."""
    folder = tmp_path_factory.mktemp("bare") / "out"
    run_in(folder, BARE)
    return folder


@pytest.fixture(scope="module")
def at_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the same study with all measurements from the start; read-only."""
    folder = tmp_path_factory.mktemp("once") / "out"
    run_in(folder, MEASURED)
    return folder


@pytest.fixture
def folder(bare: Path, tmp_path: Path) -> Path:
    """Return a copy of the bare study's folder, to write to."""
    return shutil.copytree(bare, tmp_path / "out")


@pytest.fixture
def full(at_once: Path, tmp_path: Path) -> Path:
    """Return a copy of the measured study's folder, to write to."""
    return shutil.copytree(at_once, tmp_path / "out")


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Trial]:
    """Return the list to which every trial that is trained adds itself."""
    found: list[Trial] = []
    train = trial_module.train

    def counted(network: Any, data: Any, study: Any, trial: Trial, *rest: Any, **more: Any) -> Any:
        found.append(trial)
        return train(network, data, study, trial, *rest, **more)

    monkeypatch.setattr(trial_module, "train", counted)
    return found


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list to which every measurement adds its name."""
    found: list[str] = []
    measure = trial_module.measure

    def counted(*arguments: Any) -> Any:
        found.append(str(arguments[-1]))
        return measure(*arguments)

    monkeypatch.setattr(trial_module, "measure", counted)
    return found


@pytest.fixture
def own(user_module: Callable[[str], str]) -> str:
    """Return the name of a module with the networks and activations of ``odd_networks``."""
    return user_module(SOURCE)


@pytest.fixture(scope="module")
def data() -> ImageData:
    """Return 129 images to train on, so that the last batch of 64 has one; read-only."""
    return open_images(prepare("digits")).train_subset(129)
