"""Measurements added to a trained study: nothing is trained, and the bytes are those of at once."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from actbench.analysis.stored_frames import read_frames
from actbench.data.images import open_images, prepare
from actbench.execution.local import InProcess
from actbench.execution.plan import prepare_study
from actbench.execution.trials import run_trials
from actbench.report.warnings import record_notes
from actbench.store.store import Store
from actbench.store.values import unpack_counts
from actbench.study.study import Study, Trial, trial_id
from actbench.training import trial as trial_module
from helpers.runs import TINY, interrupted, run_here, same_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from actbench.analysis.frames import Frames
    from helpers.runs import Outcome


SMALL = "mlp:depth=1,width=16"
BARE = Study(
    model=SMALL,
    activations=("relu", "prelu"),
    seeds=(0,),
    train_images=64,
    epochs=1,
    corruptions=("none",),
)
MEASURED = replace(
    BARE,
    corruptions=("contrast", "gaussian_noise"),
    attacks=("fgsm", "square:queries=3"),
    attack_images=20,
    epsilons=(0.1, 8 / 255),
)


def run_in(folder: Path, study: Study, **options: Any) -> tuple[Frames, str]:
    """Run what a folder lacks, in this process and without a report; return frames and messages."""
    plan, store, texts = prepare_study(study), Store(folder), []
    with store.locked():
        stored = store.open(plan.study)
        stored.begin()
        pending = stored.pending(retry_failed=options.pop("retry_failed", False))
        listen = lambda event: texts.append(getattr(event, "text", ""))  # noqa: E731
        run_trials(stored, plan.data_folder, pending, InProcess(), listen, **options)
        stored.clean_up()
    return read_frames(store, plan.study), "\n".join(filter(None, texts))


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


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every record and of the weights, by name."""
    paths = [*folder.glob("trials/*.json"), *folder.glob("weights/*.safetensors")]
    return {path.name: path.read_bytes() for path in paths}


def weights_of(folder: Path) -> Path:
    """Return the file of the weights of the study's first trial."""
    study = resolved(folder)
    return folder / "weights" / f"{trial_id(study, study.trials()[0])}.safetensors"


def resolved(folder: Path) -> Study:
    return Store(folder).study()


# the same bytes


def test_measuring_later_gives_the_bytes_of_measuring_at_once_and_trains_nothing(
    folder: Path, at_once: Path, trained: list[Trial]
) -> None:
    run_in(folder, MEASURED)
    assert trained == []
    assert files_of(folder) == files_of(at_once)
    assert resolved(folder) == resolved(at_once)


def test_the_command_says_what_is_trained_and_measured_and_gives_the_same_folder(
    tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    asked = ("run", "--train-images", "64", "--epochs", "1", "--activation", "relu", "--workers")
    asked = (*asked, "0", "--model", SMALL, "--corruptions", "contrast", "--out")
    assert actbench_here(*asked, "grown", "--seeds", "1", "--corruptions", "none").code == 0
    assert "1 trials, 1 to run (1 of them only to measure)" in (
        actbench_here(*asked, "grown", "--seeds", "1", "--dry-run").out
    )
    grown = actbench_here(*asked, "grown", "--seeds", "2")
    assert grown.code == 0
    assert "1 trials to train; 1 are trained already and lack 1 measurements in all" in grown.err
    assert actbench_here(*asked, "once", "--seeds", "2").code == 0
    assert same_files(tmp_path / "once", tmp_path / "grown") == []
    assert actbench_here(*asked, "once", "--seeds", "2", "--no-weights").code == 0
    assert not (tmp_path / "once" / "weights").exists()  # although there was nothing to do


def test_measuring_one_by_one_in_another_order_gives_the_same_bytes(
    folder: Path, at_once: Path, trained: list[Trial]
) -> None:
    for changes in (
        {"attacks": ("square:queries=3",), "epsilons": (8 / 255,)},
        {"corruptions": ("gaussian_noise",), "attacks": ()},
        {},
    ):
        run_in(folder, replace(MEASURED, **changes))
    assert trained == []
    assert files_of(folder) == files_of(at_once)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"epsilons": (0.1, 8 / 255, 0.3)}, ["fgsm at ε = 0.3", "square:queries=3 at ε = 0.3"]),
        ({"corruptions": ("contrast", "fog", "gaussian_noise")}, ["fog"]),
        ({"attacks": ("fgsm", "square:queries=3", "pgd:steps=2"), "epsilons": (0.1,)}, ["pgd"]),
        ({"attack_images": 10, "attacks": ("fgsm",), "epsilons": (0.1,)}, ["gradients", "fgsm"]),
        ({"attacks": (), "epsilons": (0.2,), "attack_images": 5}, []),
    ],
)
def test_a_finished_study_measures_only_what_is_new(
    changes: dict[str, Any],
    names: list[str],
    full: Path,
    trained: list[Trial],
    measured: list[str],
) -> None:
    run_in(full, replace(MEASURED, activations=("relu",), **changes))
    assert trained == []
    assert len(measured) == len(names)
    for name, found in zip(names, measured, strict=True):
        assert name in found


def test_tables_show_what_the_study_asks_for_and_records_keep_the_rest(
    full: Path, at_once: Path, measured: list[str]
) -> None:
    fewer, _ = run_in(full, replace(MEASURED, corruptions=("contrast",), attacks=()))
    assert set(fewer.corruptions["corruption"]) == {"contrast"}
    assert fewer.attacks.empty
    assert fewer.complete
    run_in(full, MEASURED)
    assert measured == []
    assert files_of(full) == files_of(at_once)


def test_a_measurement_that_is_missing_is_so_in_the_tables(folder: Path) -> None:
    wanted = replace(resolved(folder), corruptions=MEASURED.corruptions)
    frames = read_frames(Store(folder), wanted)
    assert not frames.complete
    assert frames.finished_trials == 0
    assert frames.trials["clean_accuracy"].notna().all()
    assert frames.trials["corrupted_accuracy"].isna().all()


# the weights


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


# measurements that fail

FAILS = """
import torch
from pathlib import Path
HERE = Path(__file__).parent
def act(x):
    # the last test images, or the attacked ones; no check before training has as many
    if len(x) in (10, 40) and (HERE / "fails").exists():
        raise ValueError("no\\nmeasurement")
    return torch.relu(x)
"""


@pytest.mark.usefixtures("all_digits")
@pytest.mark.parametrize("what", ["a corruption", "an attack"])
def test_a_measurement_that_fails_keeps_the_training_and_is_measured_again_on_request(
    what: str,
    tmp_path: Path,
    user_module: Callable[[str], str],
    trained: list[Trial],
    measured: list[str],
) -> None:
    own = replace(BARE, activations=(f"{user_module(FAILS)}:act",))
    run_in(tmp_path / "out", own)
    attacked = {"attacks": ("fgsm",), "attack_images": 10}
    corrupted = {"corruptions": ("contrast", "fog")}
    grown = replace(own, **(corrupted if what == "a corruption" else attacked))
    (tmp_path / "fails").touch()
    frames, _ = run_in(tmp_path / "out", grown)
    (row,) = frames.trials[frames.trials["activation"] != "relu"].to_dict("records")
    if what == "a corruption":
        assert (row["status"], row["reason"]) == ("crashed", "ValueError: no measurement")
    else:
        assert row["status"] == "ok"
        assert any("accuracy under attack could not be measured" in n for n in record_notes(frames))
    (tmp_path / "fails").unlink()
    count = len(measured)
    run_in(tmp_path / "out", grown)
    assert len(measured) == count, "it was measured again unasked"
    frames, _ = run_in(tmp_path / "out", grown, retry_failed=True)
    assert len(measured) > count
    assert set(frames.trials["status"]) == {"ok"}
    assert frames.complete
    assert len(trained) == 2


# kills


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="the system has no process groups")
def test_a_run_killed_in_mid_measurement_resumes_without_training(tmp_path: Path) -> None:
    asked = ["run", *TINY, "--activation", "relu", "--seeds", "1", "--verbose"]
    asked += ["--corruptions", "contrast,gaussian_noise", "--out"]
    line = "relu, seed 0: measurement 2/3"
    ended = interrupted(line, signal.SIGKILL, *asked, "killed", "--workers", "1", cwd=tmp_path)
    assert ended.code == -signal.SIGKILL
    again = run_here(*asked, "killed", cwd=tmp_path)
    assert again.code == 0, again.err
    assert "epoch" not in again.err
    assert "0 trials to train; 1 are trained already" in again.err
    assert run_here(*asked, "undisturbed", cwd=tmp_path).code == 0
    assert same_files(tmp_path / "undisturbed", tmp_path / "killed") == []


DIES = """
import os, signal
from pathlib import Path
import torch
HERE = Path(__file__).parent
def act(x):
    measures = any(HERE.glob("out/weights/*.safetensors"))
    if measures and not x.requires_grad and {condition}:
        (HERE / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return torch.relu(x)
"""


@pytest.mark.usefixtures("short_report")
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
@pytest.mark.parametrize("always", [False, True])
def test_a_worker_that_dies_in_a_measurement_loses_no_training(
    always: bool, tmp_path: Path, user_module: Callable[[str], str]
) -> None:
    condition = "True" if always else "not (HERE / 'died').exists()"
    spec = f"{user_module(DIES.format(condition=condition))}:act"
    asked = ("run", "--train-images", "64", "--epochs", "1", "--seeds", "1", "--verbose")
    asked += ("--activation", spec, "--baseline", spec, "--corruptions", "contrast")
    asked += ("--model", SMALL)
    done = run_here(*asked, "--workers", "1", "--out", "out", cwd=tmp_path)
    assert done.code == int(always), done.err
    assert done.err.count("epoch 1/1, test loss") == 1
    assert done.err.count("; retrying") == (2 if always else 1)
    study = resolved(tmp_path / "out")
    (record,) = Store(tmp_path / "out").open(study).records().values()
    assert record.status == "ok"
    reasons = {result.failure for result in record.failures(study)}
    killed = "its worker process was ended by SIGKILL, 3 times in a row"
    assert reasons == ({killed} if always else set())
