"""The whole road: what `actbench run` promises of its folder, its bytes and its exit codes."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from actbench.analysis.record_tables import TRIAL_COLUMNS
from helpers.runs import SAME_BYTES, TINY_ACTIVATIONS, TINY_STUDY, run_here, run_process, same_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.runs import Outcome, TinyRun


@pytest.fixture
def copy(tiny_run: TinyRun, tmp_path: Path) -> Path:
    """Return a copy of the tiny study's folder, to write to."""
    shutil.copytree(tiny_run.folder, tmp_path / "copy")
    return tmp_path / "copy"


def test_two_workers_give_the_bytes_of_none(tiny_run: TinyRun, copy: Path) -> None:
    for record in (copy / "trials").glob("*-seed1-*"):
        record.unlink()
    done = run_process("run", *TINY_STUDY, "--workers", "2", "--out", "copy", cwd=copy.parent)
    assert done.code == 0, done.err
    assert "4 of 8 trials are stored already" in done.err
    assert same_files(tiny_run.folder, copy) == []


def test_a_study_that_has_grown_gives_the_bytes_of_one_that_was_planned(
    tiny_run: TinyRun, tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    asked = ("run", *TINY_STUDY, "--workers", "0", "--out", "grown")
    assert actbench_here(*asked, "--seeds", "1").code == 0
    assert actbench_here(*asked).code == 0
    assert same_files(tiny_run.folder, tmp_path / "grown") == []


def test_a_slope_of_zero_is_relu_to_the_last_bit(tiny_run: TinyRun) -> None:
    for name in ("trials.csv", "corruptions.csv", "gradients.csv"):
        table = pd.read_csv(tiny_run.folder / name)
        relu = table[table["activation"] == "relu"].drop(columns="activation")
        zero = table[table["activation"] == "leaky_relu:0"].drop(columns="activation")
        pd.testing.assert_frame_equal(
            relu.reset_index(drop=True), zero.reset_index(drop=True), check_exact=True
        )


def test_an_activation_that_is_the_baseline_gets_no_verdict(tiny_run: TinyRun) -> None:
    table = pd.read_csv(tiny_run.folder / "comparisons.csv")
    same = table[table["activation"] == "leaky_relu:0"]
    assert set(same["difference"]) == {0.0}
    assert set(same["verdict"]) == {"identical"}


def test_the_tables_have_their_columns_and_rows(tiny_run: TinyRun) -> None:
    trials = pd.read_csv(tiny_run.folder / "trials.csv")
    assert list(trials) == list(TRIAL_COLUMNS)
    assert len(trials) == 2 * len(TINY_ACTIVATIONS)
    assert set(trials["status"]) == {"ok"}
    corruptions = pd.read_csv(tiny_run.folder / "corruptions.csv")
    assert len(corruptions) == len(trials) * 2 * 5
    means = corruptions.groupby(["activation", "seed"])["accuracy"].mean()
    shown = trials.set_index(["activation", "seed"])
    pd.testing.assert_series_equal(
        means.sort_index(), shown["corrupted_accuracy"].sort_index(), check_names=False
    )
    drop = shown["clean_accuracy"] - shown["corrupted_accuracy"]
    pd.testing.assert_series_equal(drop, shown["accuracy_drop"], check_names=False)


def test_the_same_command_again_has_nothing_to_do(copy: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (copy / "trials").iterdir()}
    done = run_here("run", *TINY_STUDY, "--out", str(copy), cwd=tmp_path)
    assert done.code == 0
    assert "all 8 trials are stored already" in done.err
    assert {path: path.stat().st_mtime_ns for path in (copy / "trials").iterdir()} == before


@pytest.mark.usefixtures("short_report")
def test_another_study_is_refused_with_the_differing_fields(
    copy: Path, actbench_here: Callable[..., Outcome]
) -> None:
    for more in ((), ("--dry-run",)):
        asked = [*TINY_STUDY, "--lr", "0.02", "--workers", "0", "--out", str(copy), *more]
        done = actbench_here("run", *asked)
        assert done.code == 3
        assert "learning_rate is 0.002 there and 0.02 here" in done.err
        assert len(done.err.splitlines()) == 1
    restart = ("--lr", "0.02", "--dry-run", "--restart")
    assert actbench_here("run", *TINY_STUDY, "--out", str(copy), *restart).code == 0


def test_the_report_is_rebuilt_byte_for_byte(
    tiny_run: TinyRun, copy: Path, actbench_here: Callable[..., Outcome]
) -> None:
    for name in SAME_BYTES:
        if name != "study.toml":
            (copy / name).unlink()
    assert actbench_here("report", str(copy)).code == 0
    assert same_files(tiny_run.folder, copy) == []


def test_only_missing_trials_are_run_and_damaged_records_are_renamed(
    tiny_run: TinyRun, copy: Path, actbench_here: Callable[..., Outcome]
) -> None:
    next((copy / "trials").glob("prelu-seed1-*")).unlink()
    victim = next((copy / "trials").glob("rrelu-seed0-*"))
    victim.write_text(victim.read_text().replace('"seed": 0', '"seed": 1'))
    done = actbench_here("run", *TINY_STUDY, "--workers", "0", "--out", str(copy))
    assert done.code == 0
    assert "6 of 8 trials are stored already" in done.err
    assert victim.with_suffix(".json.corrupt").exists()
    assert same_files(tiny_run.folder, copy) == []


@pytest.mark.usefixtures("short_report")
def test_a_record_that_belongs_to_no_trial_is_named(
    copy: Path, actbench_here: Callable[..., Outcome]
) -> None:
    record = next((copy / "trials").glob("prelu-seed1-*"))
    shutil.copy(record, record.with_name("a copy.json"))
    one = f"1 JSON file in {str(copy / 'trials')!r} belongs to no trial of the study and is not"
    says = f"{one} used: 'a copy.json' is the record of {record.stem}; its name must be that"
    assert actbench_here("report", str(copy)).err == f"actbench: {says}\n"
    run = ("run", *TINY_STUDY, "--workers", "0", "--out", str(copy))
    for _ in range(2):
        assert says in actbench_here(*run).err.splitlines()
    (copy / "trials" / "a copy.json").write_text("[]")
    assert actbench_here("report", str(copy)).err.endswith("not used: 'a copy.json'\n")
    (copy / "trials" / "zz.json").write_text("{}")
    assert actbench_here("report", str(copy)).err.endswith("such as 'a copy.json'\n")


def test_a_folder_in_use_is_refused_and_its_holder_named(copy: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import pathlib, sys; from actbench.store.store import Store\n"
            "with Store(pathlib.Path(sys.argv[1])).locked():\n"
            "    print('held', flush=True); sys.stdin.read()",
            str(copy),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        done = run_here("run", *TINY_STUDY, "--out", str(copy), cwd=copy.parent)
    assert done.code == 3
    assert f"process {holder.pid} on " in done.err


@pytest.mark.usefixtures("short_report")
def test_a_trial_that_diverges_is_told_and_the_others_go_on(
    actbench_here: Callable[..., Outcome],
) -> None:
    done = actbench_here(
        *shlex.split(
            "run --train-images 128 --epochs 1 --seeds 1 --batch-size 16 "
            "--optimizer sgd:momentum=0.9 --schedule constant --lr 1e5 --activation relu "
            "--activation tanh --corruptions none --workers 0 --json --quiet --out diverged"
        )
    )
    assert done.code == 1
    trials = {row["activation"]: row for row in json.loads(done.out)["trials"]}
    assert trials["relu"]["status"] == "diverged"
    assert "epoch 1, step" in trials["relu"]["reason"]
    assert trials["tanh"]["status"] == "ok"


@pytest.mark.usefixtures("short_report")
def test_json_is_all_that_is_printed(copy: Path, actbench_here: Callable[..., Outcome]) -> None:
    done = actbench_here("report", "--json", str(copy))
    assert json.loads(done.out)["study"]["dataset"] == "digits"


def test_a_dry_run_lists_the_trials_and_writes_nothing(
    tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    done = actbench_here("run", *TINY_STUDY, "--dry-run", "--out", "nothing")
    assert done.code == 0
    assert "8 trials, 8 to run" in done.out
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--activation", "leaky_rleu"], "did you mean 'leaky_relu'?"),
        (["--dataset", "cifra10"], "did you mean 'cifar10'?"),
        (["--model", "cnnn"], "did you mean 'cnn'?"),
        (["--corruptions", "gausian_noise"], "did you mean 'gaussian_noise'?"),
        (["--seeds", "0"], "seeds is 0"),
        (["--epochs", "0"], "epochs is 0"),
        (["--dataset", "imagefolder"], "--data-dir"),
        (["--activation", "leaky_relu,leaky_relu:0.01"], "'leaky_relu:0.01' are the same"),
        (["--activation", "gelu", "--baseline", "gelu:none"], "are the same; name it once"),
        (["--frobnicate"], "--frobnicate"),
    ],
)
def test_bad_usage_is_one_line_and_writes_nothing(
    arguments: list[str], says: str, tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    done = actbench_here("run", *arguments, "--workers", "0", "--out", "nothing")
    assert done.code == 2
    assert says in done.err
    assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "nothing").exists()


def test_help_needs_no_torch() -> None:
    code = (
        "import sys\nfrom actbench.cli import main as cli\n"
        "try:\n    cli.main(['run', '--help'])\nexcept SystemExit as end:\n"
        "    assert end.code == 0\n    assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--until-decided" in done.stdout
