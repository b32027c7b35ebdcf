"""Faults, with real processes and signals: what is lost, what is reported, what continues."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from actbench.store.record import record_to_json
from actbench.store.store import Store
from actbench.study.study import trial_id
from helpers.forked import FORKS, start_command
from helpers.runs import OBSERVED, TINY_PART, ended_with_the_parent, interrupted, observed, run_here
from helpers.short_reports import short_reports

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers.runs import Outcome, TinyRun


QUICK = shlex.split("run --train-images 64 --epochs 1 --seeds 1 --corruptions none --out out")
SMALL = (*QUICK, "--model", "mlp:depth=1,width=16")


@pytest.mark.usefixtures("short_report")
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="the system has no process groups")
def test_a_killed_run_resumes_after_the_last_complete_epoch_with_the_same_bytes(
    tiny_run: TinyRun, tmp_path: Path
) -> None:
    asked = ["run", *TINY_PART, "--activation", "rrelu", "--seeds", "1", "--verbose"]
    asked += ["--out", "out"]
    line = "rrelu, seed 0: epoch 1/2, test loss"
    ended = interrupted(line, signal.SIGKILL, *asked, "--workers", "1", cwd=tmp_path)
    assert ended.code == -signal.SIGKILL
    again = run_here(*asked, cwd=tmp_path)
    assert again.code == 0, again.err
    assert "rrelu, seed 0: epoch 1/2" not in again.err
    undisturbed = tiny_run.folder / "trials"
    records = {p.name: p.read_bytes() for p in (tmp_path / "out" / "trials").iterdir()}
    assert records == {name: (undisturbed / name).read_bytes() for name in records}
    assert len(records) == 2
    assert not (tmp_path / "out" / "checkpoints").exists()


# what a user-defined activation may do

MISCHIEF = """
import multiprocessing, os, signal, sys, time
from pathlib import Path
import torch

HERE = Path(__file__).parent
# what is tried before training, in the parent, works
IN_A_TRIAL = multiprocessing.current_process().name == "actbench worker"

def raises(x):
    if IN_A_TRIAL and x.requires_grad:
        raise ValueError("no training\\n with | me")
    return x

class Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()
    @staticmethod
    def backward(ctx, gradient):
        if IN_A_TRIAL:
            raise ArithmeticError("not backwards")
        return gradient

def raises_backward(x):
    return Backward.apply(x)

def asks_for_too_much_memory(x):
    return torch.empty(10**15) if IN_A_TRIAL and x.requires_grad else x

def says_too_much(x):
    if IN_A_TRIAL and x.requires_grad:
        raise ValueError("x" * 10**6)
    return x

def prints_a_megabyte(x):
    print("x" * 10**6)
    return x

def loses_its_shape(x):
    return x[:, :1] if IN_A_TRIAL and x.requires_grad else x

def is_not_a_number(x):
    return x * float("nan") if IN_A_TRIAL and x.requires_grad else x

def exits(x):
    if IN_A_TRIAL and x.requires_grad:
        sys.exit(3)
    return x

def changes_folder(x):
    os.chdir("/")
    return torch.relu(x)

def is_killed(x):
    if IN_A_TRIAL and x.requires_grad:
        os.kill(os.getpid(), signal.SIGKILL)
    return x

def is_killed_once(x):
    if IN_A_TRIAL and x.requires_grad and not (HERE / "killed").exists():
        (HERE / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return x

def hangs(x):
    while IN_A_TRIAL and x.requires_grad:
        time.sleep(3600)
    return x
"""
LIMIT = 5 if FORKS else 15  # a worker that is no fork loads libraries in its first trial
OUTCOMES = {
    # first, so that the other worker runs the others meanwhile
    "hangs": ("crashed", f"it took longer than the limit of {LIMIT} s"),
    "raises": ("crashed", r"ValueError: no training with \| me"),
    "raises_backward": ("crashed", "ArithmeticError: not backwards"),
    "asks_for_too_much_memory": ("crashed", "RuntimeError: .*memory.*"),
    "says_too_much": ("crashed", "ValueError: x+"),
    "prints_a_megabyte": ("ok", ""),
    "loses_its_shape": ("crashed", "RuntimeError: .*"),
    "is_not_a_number": ("diverged", "loss nan at epoch 1, step 1"),
    "exits": ("crashed", "SystemExit: 3"),
    "changes_folder": ("ok", ""),
    "is_killed": ("crashed", "its worker process was ended by SIGKILL, 3 times in a row"),
    "is_killed_once": ("ok", ""),
}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
def test_whatever_an_activation_does_only_its_own_trial_fails_with_the_reason(
    user_module: Callable[[str], str], tmp_path: Path
) -> None:
    module = user_module(MISCHIEF)
    specs = [f"{module}:{name}" for name in OUTCOMES]
    asked = [part for spec in ["relu", *specs, "tanh"] for part in ("--activation", spec)]
    asked += ["--workers", "2", "--trial-timeout", str(LIMIT)]
    done = run_here(*SMALL, *asked, cwd=tmp_path)
    assert done.code == 1, done.err[-2000:]
    trials = pd.read_csv(tmp_path / "out" / "trials.csv", keep_default_na=False)
    found = trials.set_index("activation")
    assert found.loc["relu", "status"] == found.loc["tanh", "status"] == "ok"
    for spec, (status, reason) in zip(specs, OUTCOMES.values(), strict=True):
        assert found.loc[spec, "status"] == status, spec
        assert re.fullmatch(reason, found.loc[spec, "reason"]), found.loc[spec, "reason"]
        assert len(found.loc[spec, "reason"]) <= 300
    summary = (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")
    assert "not backwards" in summary
    traces = [
        json.loads(path.read_text())["trace"]
        for path in (tmp_path / "out" / "trials").glob("*raises*")
    ]
    assert [trace.startswith("Traceback") for trace in traces] == [True, True]
    assert done.err.count("; retrying") == 3


# the death of the main process, which assigns the trials


BUSY = """
import ctypes, sys
import torch

def computes(x):
    if x.requires_grad:
        print("worker computes", file=sys.stderr, flush=True)
        while True:
            torch.ones(256, 256) @ torch.ones(256, 256)
    return x

def holds_the_interpreter_lock(x):
    if x.requires_grad:
        print("worker computes", file=sys.stderr, flush=True)
        ctypes.PyDLL(None).pause()
    return x
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux kills by itself")
@pytest.mark.parametrize(
    "name", ["computes", pytest.param("holds_the_interpreter_lock", marks=pytest.mark.slow)]
)
def test_no_worker_outlives_a_killed_run(
    name: str, user_module: Callable[[str], str], tmp_path: Path
) -> None:
    spec = f"{user_module(BUSY)}:{name}"
    asked = (*QUICK, "--activation", spec, "--workers", "2", "--trial-timeout", "600")
    if name == "computes":
        assert ended_with_the_parent(start_command(*asked, cwd=tmp_path, **OBSERVED))
    else:  # a new interpreter
        assert ended_with_the_parent(observed("-m", "actbench", *asked, cwd=tmp_path))


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="the system has no process groups")
def test_a_watching_thread_ends_the_worker_if_the_kernel_does_not(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(
        "import multiprocessing, sys\n"
        "from actbench.execution import parent_death\n"
        "def work():\n"
        "    parent_death._kernel_kills_this_process = lambda: False\n"
        "    parent_death.end_with_parent()\n"
        "    print('worker computes', file=sys.stderr, flush=True)\n"
        "    while True:\n"
        "        pass\n"
        "if __name__ == '__main__':\n"
        "    process = multiprocessing.get_context('spawn').Process(target=work)\n"
        "    process.start()\n"
        "    process.join()\n",
        encoding="utf-8",
    )
    assert ended_with_the_parent(observed("parent.py", cwd=tmp_path))


# failed trials, and starting over


@pytest.fixture(scope="module")
def failed_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a module, and a run in which the trial of its activation crashed."""
    folder = tmp_path_factory.mktemp("failed")
    source = "from pathlib import Path\n" + (
        "def act(x):\n"
        "    in_a_trial = Path('out/study.toml').exists()\n"
        "    if in_a_trial and not Path('mended').exists():\n"
        "        raise ValueError('broken')\n"
        "    return x\n"
    )
    (folder / "mending.py").write_text(source, encoding="utf-8")
    with short_reports():
        assert run_here(*SMALL, "--activation", "mending:act", cwd=folder).code == 1
    (folder / "mended").touch()
    return folder


@pytest.fixture
def failed(failed_run: Path, short_report: None, tmp_path: Path) -> str:
    """Return the spec of an activation whose trial has crashed but would not crash again."""
    shutil.copytree(failed_run, tmp_path, dirs_exist_ok=True)
    return "mending:act"


def statuses(folder: Path) -> dict[str, str]:
    trials = pd.read_csv(folder / "trials.csv")
    return dict(zip(trials["activation"], trials["status"], strict=True))


def test_failed_trials_are_run_again_only_on_request(
    failed: str, actbench_here: Callable[..., Outcome], tmp_path: Path
) -> None:
    asked = (*SMALL, "--activation", failed, "--workers", "0")
    again = actbench_here(*asked)
    assert again.code == 1
    assert "all 2 trials are stored already" in again.err
    retried = actbench_here(*asked, "--retry-failed")
    assert retried.code == 0
    assert "1 of 2 trials are stored already" in retried.err
    assert statuses(tmp_path / "out") == {"relu": "ok", failed: "ok"}


def test_a_restart_keeps_the_old_folder_under_another_name(
    failed: str, actbench_here: Callable[..., Outcome], tmp_path: Path
) -> None:
    before = {path.name: path.read_bytes() for path in (tmp_path / "out" / "trials").iterdir()}
    asked = (*SMALL, "--activation", failed, "--workers", "0", "--restart")
    refused = actbench_here(*asked)
    assert refused.code == 2
    assert "--restart would rename 'out'; give --yes to allow it" in refused.err
    assert statuses(tmp_path / "out")[failed] == "crashed"
    done = actbench_here(*asked, "--yes")
    assert done.code == 0
    assert statuses(tmp_path / "out") == {"relu": "ok", failed: "ok"}
    kept = {path.name: path.read_bytes() for path in (tmp_path / "out.1" / "trials").iterdir()}
    assert kept == before


def test_a_restart_through_a_link_renames_its_target_and_keeps_the_link(
    failed: str, actbench_here: Callable[..., Outcome], tmp_path: Path
) -> None:
    (tmp_path / "out").rename(tmp_path / "real")
    (tmp_path / "out").symlink_to("real")
    asked = (*SMALL, "--activation", failed, "--workers", "0")
    assert actbench_here(*asked, "--restart", "--yes").code == 0
    assert (tmp_path / "out").readlink() == Path("real")
    assert statuses(tmp_path / "real") == {"relu": "ok", failed: "ok"}
    assert statuses(tmp_path / "real.1") == {"relu": "ok", failed: "crashed"}
    again = actbench_here(*asked)
    assert again.code == 0
    assert "all 2 trials are stored already" in again.err


def test_a_restart_does_not_change_a_folder_without_a_study(
    actbench_here: Callable[..., Outcome], tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious.txt").write_text("")
    done = actbench_here(*QUICK, "--workers", "0", "--restart", "--yes")
    assert done.code == 3
    assert "not a results folder" in done.err
    assert (tmp_path / "out" / "precious.txt").exists()


def test_a_time_limit_needs_a_worker_process(actbench_here: Callable[..., Outcome]) -> None:
    done = actbench_here(*QUICK, "--workers", "0", "--trial-timeout", "5")
    assert done.code == 2
    assert "trial_timeout needs a worker process" in done.err


# damaged files


@pytest.mark.usefixtures("short_report")
def test_every_damaged_record_is_named_and_its_trial_run_again(
    tiny_run: TinyRun, actbench_here: Callable[..., Outcome], tmp_path: Path
) -> None:
    study = tiny_run.study
    asked = ("run", *TINY_PART, "--activation", "relu,prelu", "--workers", "0")
    trials = [trial for trial in study.trials() if trial.activation in ("relu", "prelu")]
    store = Store(tmp_path / "out")
    store.open(study).begin()
    for record in tiny_run.records:
        if record.trial in trials:
            store.open(study).write(record)
    damaged = store.folder / "trials" / f"{trial_id(study, trials[1])}.json"
    content = record_to_json(tiny_run.records[0]).encode()
    damaged.write_bytes(content)
    done = actbench_here(*asked, "--out", "out")
    assert done.code == 0
    assert f"a damaged file was renamed to out/trials/{damaged.name}.corrupt" in done.err
    assert damaged.with_suffix(".json.corrupt").read_bytes() == content
    assert damaged.read_bytes() == (tiny_run.folder / "trials" / damaged.name).read_bytes()
