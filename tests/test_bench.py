"""The plain loop in bench/ equals actbench: the same network and noises."""

from __future__ import annotations

import contextlib
import csv
import io
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

import cifar_shaped
import plain_loop
import tables
from actbench.corruptions.corrupt import corrupt
from actbench.corruptions.specs import SUITES
from actbench.models.activations import resolve_activation
from actbench.models.build import build_network
from actbench.study.levels import SEVERITIES
from actbench.study.study import Study
from actbench.training.optimizers import make_optimizer
from helpers.runs import ended_with_the_parent, observed

if TYPE_CHECKING:
    from collections.abc import Callable

BENCH = Path(__file__).parent.parent / "bench"


@pytest.mark.parametrize(("spec", "negative_slope"), [("relu", 0.0), ("leaky_relu:0.3", 0.3)])
def test_the_plain_network_equals_actbenchs_network(spec: str, negative_slope: float) -> None:
    ours, _ = build_network("cnn", resolve_activation(spec), 10, seed=0)
    plain = plain_loop.make_cnn(negative_slope)
    plain.load_state_dict(
        dict(zip(plain.state_dict(), ours.state_dict().values(), strict=True)), strict=True
    )
    images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(plain(images), ours(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", SUITES["noise"])
def test_the_plain_noise_equals_actbenchs_noise(name: str, severity: int) -> None:
    torch.manual_seed(0)
    grey = torch.full((100, 32, 32, 3), 128, dtype=torch.uint8)
    ours = corrupt(grey, name, severity).double()
    plain = plain_loop.Noise(name, severity)(grey.float() / 255).double() * 255

    # actbench cuts to integer levels, which lowers the mean by half a level
    assert float(ours.mean()) == pytest.approx(float(plain.mean()) - 0.5, abs=0.5)
    assert float(ours.std()) == pytest.approx(float(plain.std()), rel=0.03)


def test_the_experiment_of_the_benchmarks_has_the_recipe_of_the_plain_loop() -> None:
    study = Study(**cifar_shaped.EXPERIMENT)
    assert (study.batch_size, study.schedule) == (plain_loop.BATCH_SIZE, "constant")
    assert list(study.corruptions) == list(plain_loop.NOISES)
    ours, theirs = (torch.nn.Parameter(torch.ones(5)) for _ in range(2))
    mine = make_optimizer(
        study.optimizer,
        [ours],
        learning_rate=study.learning_rate,
        weight_decay=study.weight_decay,
    )
    plain = plain_loop.make_optimizer(torch.nn.ParameterList([theirs]))
    for step in range(3):
        ours.grad = torch.arange(5.0) - step
        theirs.grad = ours.grad.clone()
        mine.step()
        plain.step()
    torch.testing.assert_close(ours, theirs)


def here(arguments: list[str]) -> str:
    """Return what the plain loop prints, run in this process."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        loader = plain_loop.DataLoader
        patch.setattr(
            plain_loop, "DataLoader", lambda *a, **more: loader(*a, **{**more, "num_workers": 0})
        )
        plain_loop.main(arguments)
    return printed.getvalue()


def as_a_script(arguments: list[str]) -> str:
    return subprocess.run(
        [sys.executable, str(BENCH / "plain_loop.py"), *arguments],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.parametrize("run", [here, pytest.param(as_a_script, marks=pytest.mark.slow)])
def test_plain_loop_prints_a_row_per_epoch(run: Callable[[list[str]], str], tmp_path: Path) -> None:
    cifar_shaped.write_image_folder(tmp_path, 80, 20)
    options = ["--negative-slope", "0.1", "--seeds", "3", "--epochs", "2"]
    rows = list(csv.DictReader(run(["--data-dir", str(tmp_path), *options]).splitlines()))
    assert [(r["negative_slope"], r["seed"], r["epoch"]) for r in rows] == [
        ("0.1", "3", "1"),
        ("0.1", "3", "2"),
    ]
    assert [r["corrupted_accuracy"] == "" for r in rows] == [True, False]
    assert all(0 <= float(r["test_accuracy"]) <= 1 for r in rows)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux kills by itself")
def test_a_contender_does_not_outlive_its_benchmark(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(
        "import ctypes, sys\n"
        f"sys.path.append({str(BENCH)!r})\n"
        "from interleaved import own_process\n"
        "def work():\n"
        "    print('worker computes', file=sys.stderr, flush=True)\n"
        "    ctypes.PyDLL(None).pause()\n"
        "if __name__ == '__main__':\n"
        "    own_process().submit(work).result()\n",
        encoding="utf-8",
    )
    assert ended_with_the_parent(observed("parent.py", cwd=tmp_path))


def test_tables_are_made_from_stored_benchmarks() -> None:
    stats = {"median": 0.0123456, "iqr": 0.0000002, "rounds": 5}
    part = {
        "fullname": "bench/test_store_time.py::test_read_records",
        "name": "test_read_records",
        "params": None,
        "stats": stats,
        "extra_info": {},
    }
    with_parameters = {**part, "name": "test_epoch[cnn-5]", "params": {"model": "cnn", "n": 5}}
    once = {**part, "stats": {**stats, "median": 61.04, "rounds": 1}}
    ratio = {**part, "extra_info": {"ratio": {}}}
    lines = tables.parts_table([part, with_parameters, once, ratio]).splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells == [
        ["store", "read records", "12.3 ms", "0.20 µs", "5"],
        ["store", "epoch: cnn, 5", "12.3 ms", "0.20 µs", "5"],
        ["store", "read records", "61.0 s", "–", "1"],
    ]
