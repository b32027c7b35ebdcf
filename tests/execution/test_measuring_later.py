"""Measurements added to a trained study: nothing is trained, and the bytes are those of at once."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from actbench.analysis.stored_frames import read_frames
from actbench.report.warnings import record_notes
from actbench.store.store import Store
from helpers.measured_later import BARE, MEASURED, SMALL, files_of, resolved, run_in
from helpers.runs import TINY, interrupted, run_here, same_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from actbench.study.study import Trial
    from helpers.runs import Outcome

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
    removed = actbench_here(*asked, "once", "--seeds", "2", "--no-weights")
    assert "the weights of 2 trials were removed" in removed.err
    assert not (tmp_path / "once" / "weights").exists()  # although there was nothing to do
    more = ("once", "--seeds", "2", "--corruptions", "contrast,fog")
    assert "2 trials, 2 to run, into" in actbench_here(*asked, *more, "--dry-run").out
    assert "trained already" not in actbench_here(*asked, *more).err


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
    assert frames.complete_trials == 0
    assert frames.trials["clean_accuracy"].notna().all()
    assert frames.trials["corrupted_accuracy"].isna().all()


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
