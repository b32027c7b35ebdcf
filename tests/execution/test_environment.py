"""The environment of each trial, and the warnings if a study's trials come from several."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from actbench.analysis.environments import mixing_warnings
from actbench.execution.environment import environment_of
from actbench.store.checkpoint import Checkpoint
from actbench.store.environment import read_environments, with_batch
from actbench.store.record import EpochRecord
from actbench.store.store import Store
from actbench.study.study import Study
from helpers.forked import run_script
from helpers.stored import stored_form
from helpers.synthetic import synthetic_records

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.runs import Outcome

STUDY = Study(activations=("relu", "tanh"), seeds=(0, 1), corruptions=())
ONE = {
    "id": "one",
    "python": "3.12.1",
    "packages": {"torch": "2.14.0", "pandas": "3.0"},
    "processor": "Processor A",
    "cpu_capability": "AVX512",
}
OTHER = {**ONE, "id": "other", "packages": {"torch": "2.13.0"}, "cpu_capability": "AVX2"}
DIFFERENCE = "vector instructions AVX2 instead of AVX512, torch 2.13.0 instead of 2.14.0"
OLD = {"packages": {"torch": "2.13.0"}, "processor": "Processor A", "start": "then"}


def warnings_of(names: dict[tuple[str, int], str], *entries: dict[str, Any]) -> list[str]:
    """Return the warnings if some trials, by activation and seed, are not from ``one``."""
    records = [
        replace(record, environment=names.get((record.activation, record.seed), "one"))
        for record in synthetic_records(STUDY).values()
    ]
    return mixing_warnings(records, entries, STUDY.baseline)


# the environment of this process


def test_other_vector_instructions_are_another_environment(tmp_path: Path) -> None:
    code = (
        "import json; from actbench.execution.environment import environment_of\n"
        "print(json.dumps(environment_of('cpu', 'torch')))"
    )
    unset = {"ATEN_CPU_CAPABILITY", "OPENBLAS_CORETYPE"}
    environ = {name: value for name, value in os.environ.items() if name not in unset}
    usual, again = environment_of("cpu", "torch"), run_script(code, env=environ)
    other = subprocess.run(
        [sys.executable, "-c", code],
        env={**environ, "ATEN_CPU_CAPABILITY": "default"},
        capture_output=True,
        text=True,
        check=True,
    )
    narrow = json.loads(other.stdout)
    assert usual == json.loads(again.stdout)
    assert narrow["cpu_capability"] != usual["cpu_capability"]
    assert narrow["variables"] == {"ATEN_CPU_CAPABILITY": "default"}
    assert narrow["id"] != usual["id"]


def test_native_kernels_name_their_compiler() -> None:
    environment = environment_of("cpu", "native")
    assert environment["compiler"]
    assert environment["id"] != environment_of("cpu", "torch")["id"]


def test_every_batch_of_trials_keeps_its_entry() -> None:
    first = with_batch([OLD], ONE, "10:00", "11:00")
    assert first == [OLD, {"start": "10:00", "end": "11:00", **ONE}]
    later = with_batch(first, ONE, "12:00", "13:00")
    assert later == [OLD, {"start": "10:00", "end": "13:00", **ONE}]
    other = with_batch(later, OTHER, "14:00", "15:00")
    assert other == [*later, {"start": "14:00", "end": "15:00", **OTHER}]


def test_a_file_of_an_earlier_version_is_one_entry_without_an_id() -> None:
    content = {**OLD, "seconds": {"relu": 1.5, "tanh": "?"}}
    assert read_environments(content) == {"environments": [OLD], "seconds": {"relu": 1.5}}
    assert read_environments(read_environments(content)) == read_environments(content)


# warnings


def test_one_environment_gives_no_warning() -> None:
    assert warnings_of({}, ONE) == []


def test_trials_of_another_environment_are_counted_and_so_are_the_pairs_that_mix() -> None:
    assert warnings_of({("tanh", 1): "other"}, ONE, OTHER) == [
        f"1 of 4 trials were computed in another environment: {DIFFERENCE}. In 1 of 2 pairs only "
        "one of the two trials was, and the difference may come from that."
    ]
    of_a_seed = warnings_of({("relu", 1): "other", ("tanh", 1): "other"}, ONE, OTHER)
    assert "2 of 4 trials" in of_a_seed[0]
    assert "pairs" not in of_a_seed[0]


def test_an_earlier_versions_entry_is_compared_by_what_it_stored() -> None:
    (warning,) = warnings_of({("tanh", 1): ""}, OLD, ONE)
    assert "environment: torch 2.13.0 instead of 2.14.0. In 1" in warning
    same = {**OLD, "packages": {"torch": "2.14.0"}}
    assert warnings_of({("tanh", 1): ""}, same, ONE) == []


def test_an_environment_that_environment_json_does_not_describe_gives_a_warning() -> None:
    for entries in ([ONE], [OTHER], []):
        (warning,) = warnings_of({("tanh", 1): "other"}, *entries)
        assert "environment.json does not describe how it differs" in warning


def test_a_changed_entry_gives_a_warning() -> None:
    assert warnings_of({}, {**OTHER, "id": "one"}, ONE) == [
        f"environment.json has two descriptions of where 4 of 4 trials ran: {DIFFERENCE}."
    ]


def test_every_document_warns_of_mixed_environments(
    tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    store = Store(tmp_path / "results")
    store.open(STUDY).begin()
    for record in synthetic_records(STUDY).values():
        name = "other" if (record.activation, record.seed) == ("tanh", 1) else "one"
        store.open(STUDY).write(stored_form(replace(record, environment=name)))
    store.write_environment({"environments": [ONE, OTHER], "seconds": {}})
    shown = actbench_here("report", "results")
    assert "⚠ 1 of 4 trials were computed in another environment" in shown.out
    for name in ("summary.md", "summary.tex", "report.html"):
        text = (store.folder / name).read_text(encoding="utf-8")
        assert "1 of 4 trials were computed in another environment" in text, name
    shutil.copytree(store.folder, tmp_path / "copy")
    for options in ([], ["--paired"]):
        compared = actbench_here("compare", *options, "results", "copy").out
        assert compared.count("1 of 4 trials were computed in another environment") == 2
    (warning,) = json.loads(actbench_here("report", "results", "--json").out)["warnings"]
    assert DIFFERENCE in warning


@pytest.mark.usefixtures("short_report")
def test_a_seed_added_in_another_environment_gives_a_warning_before_and_after_training(
    actbench_here: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("run", "--train-images", "64", "--epochs", "1", "--corruptions", "none")
    asked += ("--activation", "tanh", "--workers", "0", "--out", "out")
    assert actbench_here(*asked, "--seeds", "1").code == 0
    before = Store(tmp_path / "out").environment()["environments"]
    here = environment_of("cpu", Store(tmp_path / "out").study().kernels)
    elsewhere = {**here, "id": "elsewhere", "processor": "Processor B"}
    for module in ("executors", "environment"):
        monkeypatch.setattr(f"actbench.execution.{module}.environment_of", lambda *_: elsewhere)
    done = actbench_here(*asked, "--seeds", "2")
    assert (
        "2 of 2 stored trials were computed in another environment than this one: processor "
        f"{here['processor']} instead of Processor B"
    ) in done.err
    assert "⚠ 2 of 4 trials were computed in another environment" in done.out
    after = Store(tmp_path / "out").environment()["environments"]
    assert [after[0], after[1]["id"]] == [before[0], "elsewhere"]


def test_a_checkpoint_of_another_environment_is_not_used(tmp_path: Path) -> None:
    history = (EpochRecord(1, 2.0, 2.1, 0.25, {"conv1": 0.5}),)
    Checkpoint(tmp_path, "trial", environment="one").save(
        {"w": torch.ones(2)}, [torch.ones(2)], history
    )
    weights, momenta = {"w": torch.zeros(2)}, [torch.zeros(2)]
    assert (
        Checkpoint(tmp_path, "trial", environment="other").restore(weights, momenta, epochs=2) == ()
    )
    assert weights["w"].tolist() == momenta[0].tolist() == [0, 0]
    assert (
        Checkpoint(tmp_path, "trial", environment="one").restore(weights, momenta, epochs=2)
        == history
    )
    assert weights["w"].tolist() == momenta[0].tolist() == [1, 1]
