"""Shards: several processes share a study's trials and its folder."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from actbench.errors import ResultsFolderError, UsageError
from actbench.store.lock import Shard, brief_lock, has_active_shards, shard_lock
from actbench.store.store import Store
from actbench.study.study import Study
from helpers.forked import start_command
from helpers.runs import TINY_STUDY, run_here, same_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.runs import Outcome, TinyRun


# parts


@pytest.mark.parametrize("count", [1, 2, 3, 8, 20])
def test_every_trial_is_in_one_shard(count: int) -> None:
    trials = Study(activations=("relu", "tanh"), seeds=(0, 1, 2, 3)).trials()
    parts = [Shard(number, count).part(trials) for number in range(1, count + 1)]
    assert sorted((t for part in parts for t in part), key=trials.index) == trials
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "-1/4", "1/0", "1/2/3", "a/b", "1.0/2"])
def test_an_invalid_shard_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"must be such as 3/16, the third of 16 parts"):
        Shard.parse(text)


def test_a_shard_is_written_as_it_is_read() -> None:
    assert str(Shard.parse(" 3 / 16 ")) == "3/16"


# locks


def test_shards_share_the_folder_and_exclude_an_unsharded_run(tmp_path: Path) -> None:
    one, two = Shard(1, 2), Shard(2, 2)
    with shard_lock(tmp_path, one), shard_lock(tmp_path, two):
        assert has_active_shards(tmp_path)
        with brief_lock(tmp_path):
            pass
        with pytest.raises(ResultsFolderError, match="held by another run: process"):
            Store(tmp_path).locked().__enter__()
    assert not has_active_shards(tmp_path)
    with Store(tmp_path).locked():
        pass


def test_a_shard_is_locked_by_one_process(tmp_path: Path) -> None:
    with (
        shard_lock(tmp_path, Shard(1, 2)),
        pytest.raises(ResultsFolderError, match="held by another run: process"),
        shard_lock(tmp_path, Shard(1, 2)),
    ):
        pass


def test_an_unsharded_run_excludes_shards(tmp_path: Path) -> None:
    with (
        Store(tmp_path).locked(),
        pytest.raises(ResultsFolderError, match="held by another run: process"),
        brief_lock(tmp_path),
    ):
        pass


# runs


def shard_of(text: str, folder: Path) -> tuple[str, ...]:
    return ("run", *TINY_STUDY, "--workers", "0", "--shard", text, "--out", str(folder), "--quiet")


def test_the_last_of_several_concurrent_shards_writes_the_bytes_of_one_run(
    tiny_run: TinyRun, tmp_path: Path
) -> None:
    folder = tmp_path / "shared"
    first = start_command(
        *shard_of("1/2", folder), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with first:
        second = run_here(*shard_of("2/2", folder), cwd=tmp_path)
        out, err = first.communicate()
    assert first.returncode == second.code == 0, err + second.err
    assert sorted([out != "", second.out != ""]) == [False, True], "one of them is the last"
    assert same_files(tiny_run.folder, folder) == []
    assert set(json.loads((folder / "environment.json").read_text())["seconds"]) == {
        record.trial_id for record in tiny_run.records
    }
    assert not (folder / "checkpoints").exists()


def test_a_single_shard_writes_no_table_and_reports_what_is_missing(
    actbench_here: Callable[..., Outcome], tmp_path: Path
) -> None:
    part = ("--train-images", "64", "--epochs", "1", "--seeds", "1", "--corruptions", "none")
    asked = ("run", *part, "--activation", "tanh", "--workers", "0", "--out", "out", "--quiet")
    done = actbench_here(*asked, "--shard", "2/2")
    assert done.code == 0
    assert done.out == ""
    assert done.err == (
        "actbench: 1 of 2 trials are stored; the last shard to finish, or actbench report out, "
        "writes the tables\n"
    )
    assert not (tmp_path / "out" / "summary.md").exists()
    assert actbench_here("report", "out").code == 0
    assert (tmp_path / "out" / "summary.md").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--shard", "9/9"], "shard is '9/9', but there are 2 trials to share"),
        (["--shard", "1/2", "--restart", "--yes"], "restart needs all trials"),
        (["--shard", "1/2", "--until-decided"], "until_decided needs all trials"),
        (["--shard", "2"], "shard is '2'"),
    ],
)
def test_an_impossible_shard_is_refused_in_one_line(
    options: list[str], says: str, actbench_here: Callable[..., Outcome], tmp_path: Path
) -> None:
    asked = ("run", "--activation", "tanh", "--seeds", "1", "--out", "out", *options)
    done = actbench_here(*asked)
    assert done.code == 2
    assert says in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_dry_run_of_a_shard_lists_its_trials(actbench_here: Callable[..., Outcome]) -> None:
    done = actbench_here("run", *TINY_STUDY, "--shard", "2/3", "--dry-run", "--out", "none")
    assert [line.split(",")[0] for line in done.out.splitlines()[:-2]] == [
        "leaky_relu:0",
        "relu",
        "rrelu",
    ]
    assert "3 trials, 3 to run" in done.out
