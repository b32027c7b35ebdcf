"""Running a study: missing trials, failures of single trials, and the events reported."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
import torch

from actbench.api.events import Note
from actbench.api.studies import run
from actbench.errors import UsageError
from actbench.execution import estimate as estimates
from actbench.execution.estimate import estimate
from actbench.execution.events import Finished, Stage
from actbench.execution.local import InProcess
from actbench.execution.plan import prepare_study
from actbench.execution.trials import PendingTrials, baseline_first, run_trials
from actbench.store.store import Store
from actbench.store.stored_study import Work
from actbench.study.run_options import RunOptions
from actbench.study.study import Study, Trial, trial_id
from actbench.training.events import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from actbench.execution.events import Event
    from actbench.execution.executors import Executor
    from helpers.runs import Outcome, TinyRun

QUICK = ("run", "--train-images", "64", "--epochs", "1", "--seeds", "1", "--corruptions", "none")


def quick_study(**changes: object) -> Study:
    values = {"train_images": 64, "epochs": 1, "seeds": (0,), "corruptions": ()}
    return Study(**{**values, "activations": ("relu",), **changes})  # type: ignore[arg-type]


class Backwards(InProcess):
    """Runs trials from the last to the first."""

    def run(self, study: Study, works: Sequence[Work], *rest: Any) -> None:
        """Run them in that order."""
        super().run(study, works[::-1], *rest)


def run_here(study: Study, folder: Path, executor: Executor | None = None) -> list[Event]:
    """Run the study's missing trials in this process, and return the events."""
    plan, store = prepare_study(study), Store(folder)
    events: list[Event] = []
    with store.locked():
        stored = store.open(plan.study)
        stored.begin()
        executor = executor or InProcess()
        run_trials(PendingTrials(plan, stored, stored.pending()), executor, events.append)
    return events


def ended_trials(events: list[Event]) -> list[Trial]:
    return [event.record.trial for event in events if isinstance(event, Finished)]


# the plan


def test_a_plan_has_every_name_resolved() -> None:
    study = quick_study(
        baseline="leaky_relu:0.10",
        activations=("prelu:init=0.25", "leaky_relu:0.10"),
        model="deep_cnn:6",
        corruptions=("noise", "shot_noise"),
    )
    plan = prepare_study(study)
    assert plan.study.baseline == "leaky_relu:0.1"
    assert plan.study.activations == ("prelu:0.25", "leaky_relu:0.1")
    assert plan.study.model == "deep_cnn:depth=6"
    assert plan.study.corruptions == (
        "gaussian_noise",
        "shot_noise",
        "impulse_noise",
        "speckle_noise",
    )
    assert plan.study.data_checksum.startswith("sha256:")
    assert prepare_study(plan.study) == plan


def test_a_plan_has_the_self_check_of_every_activation() -> None:
    plan = prepare_study(quick_study(activations=("relu", "leaky_relu:16")))
    assert {spec: check.at_minus_one for spec, check in plan.checks.items()} == {
        "relu": 0,
        "leaky_relu:16": -16,
    }


def test_two_spellings_of_one_activation_are_refused() -> None:
    with pytest.raises(UsageError, match=r"'leaky_relu:0\.1' and .* are the same; name it once"):
        prepare_study(quick_study(activations=("leaky_relu:0.1", "leaky_relu:negative_slope=.1")))


def test_a_study_of_other_data_is_refused() -> None:
    with pytest.raises(UsageError, match=r"not the study's: its checksum is sha256:.*0{64}"):
        prepare_study(quick_study(data_checksum=f"sha256:{'0' * 64}"))


def test_a_user_defined_network_is_checked_before_training() -> None:
    with pytest.raises(UsageError, match=r"model 'torch\.nn:Identity' does not use the activation"):
        prepare_study(quick_study(model="torch.nn:Identity"))


# which trials are run


def test_a_study_that_grows_runs_only_the_new_trials(tmp_path: Path) -> None:
    first = run_here(quick_study(), tmp_path / "results")
    assert ended_trials(first) == [Trial("relu", 0)]
    grown = quick_study(activations=("relu", "tanh"), seeds=(0, 7))
    assert ended_trials(run_here(grown, tmp_path / "results")) == [
        Trial("tanh", 0),
        Trial("relu", 7),
        Trial("tanh", 7),
    ]
    assert run_here(grown, tmp_path / "results") == []


def test_the_baseline_of_each_seed_comes_first_and_then_its_longest_trials() -> None:
    study = Study(activations=("relu", "leaky_relu:0.1", "tanh"), baseline="leaky_relu:0.1")
    study = dataclasses.replace(study, seeds=(3, 1))
    works = [*map(Work, study.trials())]
    assert [str(work.trial) for work in baseline_first(works, study.baseline)] == [
        f"{activation}, seed {seed}"
        for seed in (3, 1)
        for activation in ("leaky_relu:0.1", "tanh", "relu")
    ]


def test_a_run_says_how_long_its_trials_will_take(tmp_path: Path) -> None:
    plan = prepare_study(quick_study(activations=("relu", "tanh"), epochs=2))
    stored = Store(tmp_path).open(plan.study)
    pending = PendingTrials(plan, stored, stored.pending())
    line = estimate([pending], RunOptions(workers=1))
    assert re.fullmatch(r"2 trials: about \d+ s", line)
    assert re.fullmatch(
        r"2 trials in 2 processes: about \d+ s", estimate([pending], RunOptions(workers=9))
    )
    long = dataclasses.replace(plan, study=dataclasses.replace(plan.study, epochs=10**6))
    assert re.fullmatch(
        r"2 trials: about \d+ h \d\d min",
        estimate([dataclasses.replace(pending, plan=long)], RunOptions(workers=1)),
    )
    attacked = dataclasses.replace(plan, study=dataclasses.replace(plan.study, attacks=("fgsm",)))
    assert estimate([dataclasses.replace(pending, plan=attacked)], RunOptions(workers=1)).endswith(
        ", without the attacks"
    )
    assert estimate([dataclasses.replace(pending, works=[])], RunOptions()) == ""
    failing = [Work(Trial("nowhere:Act", 0))]  # raises an exception
    assert estimate([dataclasses.replace(pending, works=failing)], RunOptions(workers=1)) == ""
    assert estimate([pending], RunOptions(executor="ray")) == ""


@pytest.mark.usefixtures("short_report")
def test_a_run_reports_what_it_waits_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = quick_study(corruptions=("contrast:factor=0.5/0.25",))
    events: list[Event] = []
    monkeypatch.setattr(estimates, "estimate", estimate)
    run(study, tmp_path / "out", workers=0, on_event=events.append)
    notes = [event.text for event in events if isinstance(event, Note)]
    assert re.fullmatch(r"1 trials: about \d+ s", notes[-1])
    stages = [event for event in events if isinstance(event, Stage)]
    names = list(dict.fromkeys(stage.what for stage in stages))
    assert names[0] == "loading PyTorch"
    assert names[-4:] == [
        "making corrupted images",
        "timing a few steps",
        "starting workers",
        "writing the report",
    ]
    assert [(s.done, s.count) for s in stages if s.what == "making corrupted images"] == [
        (0, 2),
        (1, 2),
        (2, 2),
    ]


def test_a_record_is_stored_before_its_end_is_reported(tmp_path: Path) -> None:
    plan, store = prepare_study(quick_study()), Store(tmp_path / "results")
    stored: list[int] = []

    def on_event(event: Event) -> None:
        if isinstance(event, Finished):
            stored.append(len(store.open(plan.study).records()))

    with store.locked():
        study = store.open(plan.study)
        study.begin()
        run_trials(PendingTrials(plan, study, study.pending()), InProcess(), on_event)
    assert stored == [1]


def test_progress_is_reported_after_every_epoch(tmp_path: Path) -> None:
    events = run_here(quick_study(epochs=2), tmp_path / "results")
    reported = [(e.epoch, e.step, e.steps) for e in events if isinstance(e, Progress)]
    assert reported == [(1, 1, 1), (2, 1, 1)]


def test_a_trials_record_does_not_depend_on_other_trials(tiny_run: TinyRun, tmp_path: Path) -> None:
    study = tiny_run.study
    alone = Study(**{**vars(study), "activations": ("relu", "rrelu"), "seeds": (1,)})
    run_here(alone, tmp_path / "results")
    for trial in alone.trials():
        name = f"trials/{trial_id(alone, trial)}.json"
        assert (tmp_path / "results" / name).read_bytes() == (tiny_run.folder / name).read_bytes()


def test_the_order_of_the_trials_changes_no_byte(tiny_run: TinyRun, tmp_path: Path) -> None:
    study = Study(**{**vars(tiny_run.study), "seeds": (0,)})
    reported = ended_trials(run_here(study, tmp_path / "results", Backwards()))
    assert len(reported) == len(study.activations)
    for record in (tmp_path / "results" / "trials").iterdir():
        assert record.read_bytes() == (tiny_run.folder / "trials" / record.name).read_bytes()


def test_a_record_holds_its_activations_self_check(tiny_run: TinyRun) -> None:
    checks = {record.activation: record.activation_check for record in tiny_run.records}
    assert checks["relu"] == {
        "at_minus_one": 0.0,
        "at_zero": 0.0,
        "at_one": 1.0,
        "monotone": True,
        "trainable_parameters": 0,
    }
    assert checks["prelu"]["at_minus_one"] == -0.25
    assert checks["prelu"]["trainable_parameters"] == 1


def test_environment_json_holds_machine_and_times(tiny_run: TinyRun) -> None:
    environment = json.loads((tiny_run.folder / "environment.json").read_text())
    assert set(environment["seconds"]) == {record.trial_id for record in tiny_run.records}
    (entry,) = environment["environments"]
    assert {record.environment for record in tiny_run.records} == {entry["id"]}
    assert entry["packages"].keys() >= {"actbench", "torch", "numpy"}
    assert entry["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
    assert entry["threads_per_trial"] == 1
    assert entry["start"] <= entry["end"]


# failures

CRASHES_IN_A_TRIAL = """
from pathlib import Path

def act(x):
    # neither in the check before training nor in that of a few values
    if Path("out/study.toml").exists() and len(x) == 64:
        raise ValueError("no training\\n with | me")
    return x
"""


def test_a_trial_that_raises_is_reported_and_the_others_continue(
    actbench_here: Callable[..., Outcome], user_module: Callable[[str], str], tmp_path: Path
) -> None:
    spec = f"{user_module(CRASHES_IN_A_TRIAL)}:act"
    done = actbench_here(
        *QUICK, "--activation", spec, "--activation", "tanh", "--workers", "0", "--out", "out"
    )
    assert done.code == 1
    trials = pd.read_csv(tmp_path / "out" / "trials.csv").set_index("activation")
    assert dict(trials["status"]) == {"relu": "ok", spec: "crashed", "tanh": "ok"}
    assert trials.loc[spec, "reason"] == "ValueError: no training with | me"
    summary = pd.read_csv(tmp_path / "out" / "summary.csv").set_index("activation")
    assert dict(summary["n"]) == {"relu": 1, spec: 0, "tanh": 1}
    record = next((tmp_path / "out" / "trials").glob("user_module*"))
    assert "Traceback" in json.loads(record.read_text())["trace"]
