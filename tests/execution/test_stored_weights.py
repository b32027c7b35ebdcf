"""Measuring a trained study with its stored weights, and training again without them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from actbench.data.images import open_images, prepare
from actbench.report.warnings import record_notes
from actbench.store.store import Store
from actbench.store.values import unpack_counts
from actbench.study.study import Trial, trial_id
from actbench.training import trial as trial_module
from helpers.measured_later import BARE, MEASURED, files_of, resolved, run_in, weights_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class PlainCNN(torch.nn.Module):
    """The tool's `cnn` with ReLU, written again in plain PyTorch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, 16, 3, padding=1)
        self.conv2 = torch.nn.Conv2d(16, 32, 3, padding=1)
        self.fc1 = torch.nn.Linear(2048, 128)
        self.fc2 = torch.nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv in (self.conv1, self.conv2):
            x = torch.nn.functional.max_pool2d(torch.relu(conv(x)), 2)
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


def test_plain_pytorch_gets_the_stored_accuracy_from_the_weights_to_the_image(
    tmp_path: Path,
) -> None:
    study = replace(BARE, model="cnn", activations=("relu",), train_images=400, epochs=4)
    frames, _ = run_in(tmp_path / "out", study)
    network = PlainCNN()
    network.load_state_dict(load_file(weights_of(tmp_path / "out")))
    data = open_images(prepare("digits"))
    images = (data.test_images.permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    with torch.no_grad():
        correct = network(images).argmax(1) == data.test_labels
    assert 0.3 < frames.trials["clean_accuracy"][0] == correct.double().mean()
    assert unpack_counts(frames.records[0].clean_correct).tolist() == correct.tolist()
    by_class = [int(correct[data.test_labels == label].sum()) for label in range(10)]
    assert list(frames.records[0].class_correct) == by_class


def removed(path: Path) -> None:
    path.unlink()


def damaged(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def of_another_network(path: Path) -> None:
    save_file({name: 0 * value for name, value in load_file(path).items()}, path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (removed, "are missing; it is trained again"),
        (damaged, "are damaged or of another network, renamed to"),
        (of_another_network, "are damaged or of another network, renamed to"),
    ],
)
def test_a_trial_without_its_weights_is_trained_again_and_keeps_its_results(
    change: Callable[[Path], None],
    reason: str,
    folder: Path,
    at_once: Path,
    trained: list[Trial],
    measured: list[str],
) -> None:
    path = weights_of(folder)
    before = path.read_bytes()
    change(path)
    _, text = run_in(folder, MEASURED)
    assert trained == [Trial("relu", 0)]
    assert f"relu, seed 0: its weights {str(path)!r} {reason}" in text
    assert "the test images" not in measured
    assert path.read_bytes() == before
    assert path.with_name(f"{path.name}.corrupt").exists() == (change is not removed)
    assert files_of(folder) == files_of(at_once)


def test_training_again_that_fails_keeps_the_results(
    full: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (before, *_) = Store(full).open(resolved(full)).records().values()
    weights_of(full).unlink()

    def fails(*_: Any, **__: Any) -> Any:
        raise RuntimeError("not this time")
        yield

    monkeypatch.setattr(trial_module, "train", fails)
    more = replace(MEASURED, corruptions=(*MEASURED.corruptions, "brightness"))
    run_in(full, more)
    (record, *_) = Store(full).open(resolved(full)).records().values()
    assert (record.status, record.clean, record.history) == ("ok", before.clean, before.history)
    assert all(result in record.corruptions for result in before.corruptions)
    (failure,) = record.failures(resolved(full))
    assert failure.failure == "RuntimeError: not this time"


COUNTING = """
import torch
from torch import nn

class Counting(nn.Module):
    def __init__(self, activation, classes):
        super().__init__()
        self.first, self.act = nn.Linear(3072, 8), activation()
        self.last = nn.Linear(8, classes)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        self.seen = self.seen + len(x)  # a new tensor
        return self.last(self.act(self.first(x.flatten(1)))) * (1 + self.seen / 1000)
"""


def test_what_a_network_replaces_in_a_measurement_is_put_back_before_the_next(
    tmp_path: Path, user_module: Callable[[str], str]
) -> None:
    model = f"{user_module(COUNTING)}:Counting"
    bare, measured = (replace(study, model=model, attacks=()) for study in (BARE, MEASURED))
    run_in(tmp_path / "one", measured)
    run_in(tmp_path / "two", bare)
    run_in(tmp_path / "two", measured)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_if_training_again_gives_other_weights_everything_is_measured_again(
    full: Path, at_once: Path, trained: list[Trial], measured: list[str]
) -> None:
    study = resolved(full)
    stored = Store(full).open(study)
    record = stored.records()[trial_id(study, Trial("relu", 0))]
    stored.write(replace(record, weights=f"sha256:{'1' * 64}"))  # as of another machine
    wanted = replace(MEASURED, corruptions=("contrast", "gaussian_noise", "fog"))
    _, text = run_in(full, wanted)
    assert trained == [Trial("relu", 0)]
    assert "relu, seed 0: training gave other weights than those that were measured" in text
    assert measured.count("the test images") == 1
    assert len(measured) == 9 + 1  # relu in all ways, prelu in fog
    of_relu = Store(full).open(study).records()[record.trial_id]
    expected = Store(at_once).open(study).records()[record.trial_id]
    assert of_relu.without(set(of_relu.results) - set(expected.results)) == expected


def test_without_weights_a_later_measurement_trains_again(
    at_once: Path, tmp_path: Path, trained: list[Trial]
) -> None:
    run_in(tmp_path, BARE, keep_weights=False)
    assert not (tmp_path / "weights").exists()
    assert len(trained) == 2
    run_in(tmp_path, MEASURED, keep_weights=False)
    assert not (tmp_path / "weights").exists()
    assert len(trained) == 4
    records = {n: f for n, f in files_of(at_once).items() if n.endswith(".json")}
    assert files_of(tmp_path) == records


ODD = """
import torch
class Net(torch.nn.Module):
    def __init__(self, activation, num_classes):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Flatten(),
            torch.nn.LazyLinear(8),
            activation(),
            torch.nn.Linear(8, num_classes),
        )
        self.layers[3].weight = torch.nn.Parameter(self.layers[3].weight.detach())
        self.again = self.layers[3]  # the same tensors under two names
    def forward(self, x):
        return self.layers(x)
    {state}
"""


def test_tied_weights_are_stored_and_read(
    tmp_path: Path, user_module: Callable[[str], str], trained: list[Trial]
) -> None:
    study = replace(BARE, model=f"{user_module(ODD.format(state=''))}:Net")
    run_in(tmp_path / "out", study)
    assert load_file(weights_of(tmp_path / "out")).keys() >= {"again.weight"}
    grown, _ = run_in(tmp_path / "out", replace(study, corruptions=("contrast",)))
    assert grown.complete
    assert len(trained) == 2


def test_a_state_of_other_values_than_tensors_is_said_not_to_be_stored(
    tmp_path: Path, user_module: Callable[[str], str], trained: list[Trial], measured: list[str]
) -> None:
    state = "def get_extra_state(self): return 1\n    def set_extra_state(self, state): pass"
    study = replace(BARE, model=f"{user_module(ODD.format(state=state))}:Net")
    frames, _ = run_in(tmp_path / "out", study)
    assert not (tmp_path / "out" / "weights").exists()
    assert any("its weights are not stored" in note for note in record_notes(frames))
    grown, text = run_in(tmp_path / "out", replace(study, corruptions=("contrast",)))
    assert "its weights could not be stored; it is trained again" in text
    assert len(trained) == 4
    assert measured.count("the test images") == 2  # the history is the same
    assert grown.complete
