"""Listeners: what they send to TensorBoard, MLflow and W&B, and that none of them costs a run."""

from __future__ import annotations

import sys
import types
from collections import namedtuple
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import pytest

import actbench
from actbench.api import events
from actbench.api.events import Event, Finished, Measuring, Note, Planned, Progress, Stage, Updated
from actbench.api.listeners import Listener, MLflow, TensorBoard, WandB
from actbench.errors import UsageError
from helpers.short_reports import short_reports

if TYPE_CHECKING:
    from pathlib import Path

NOISE = "gaussian_noise:sigma=0.1/0.2"
STUDY = actbench.Study(
    activations=["relu", "elu"],
    seeds=1,
    epochs=2,
    train_images=64,
    corruptions=[NOISE],
    attacks=["fgsm"],
    attack_images=20,
    epsilons=[8 / 255],
)
METRICS = {
    "clean_accuracy",
    "corrupted_accuracy",
    f"accuracy_{NOISE}",
    "robust_accuracy_fgsm_8/255",
    "train_loss",
    "grad_norm_first",
    "inactive_fraction",
    "seconds",
}


class Failing:
    """A listener that fails at the third event, and when it is closed."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, event: Event) -> None:
        self.calls += 1
        if self.calls == 3:
            raise OSError("the disk\nis full")

    def close(self) -> None:
        raise ValueError("cannot close")


class Run:
    """A small run with two listeners, one of which fails, as a fixture's value."""

    def __init__(self, folder: Path) -> None:
        self.events: list[Event] = []
        self.failing = Failing()
        with short_reports(), pytest.warns(RuntimeWarning) as warned:
            self.results = actbench.run(
                STUDY, folder, workers=0, quiet=True, on_event=[self.failing, self.events.append]
            )
        self.warnings = [str(w.message) for w in warned if w.category is RuntimeWarning]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("events") / "run")


def test_a_listener_that_fails_gets_a_warning_and_costs_no_result(run: Run) -> None:
    assert run.failing.calls == 3
    assert run.warnings == [
        f"on_event: Failing raised {error}; it is not called again, and the run goes on"
        for error in ("OSError: the disk is full", "ValueError: cannot close")
    ]
    assert run.results.complete
    assert (run.results.folder / "report.html").exists()
    assert len(run.events) > 3


def test_the_public_module_has_every_event(run: Run) -> None:
    assert {kind.__name__ for kind in get_args(Event)} == set(events.__all__) - {"Event"}
    kinds = {type(event) for event in run.events}
    assert kinds == {Planned, Stage, Note, Progress, Measuring, Updated, Finished}
    (planned,) = (event for event in run.events if isinstance(event, Planned))
    assert (planned.trials, planned.to_measure) == (2, 0)
    assert planned.study == run.results.study


@pytest.mark.parametrize("wrong", ["tensorboard", TensorBoard, [len, None]], ids=repr)
def test_what_cannot_be_called_is_refused_before_the_run(wrong: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^on_event is .*; it must be a function of an event"):
        actbench.run(STUDY, tmp_path / "out", on_event=wrong)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("make", "package"),
    [(lambda: TensorBoard("x"), "tensorboard"), (MLflow, "mlflow"), (WandB, "'wandb>=0.20'")],
)
def test_a_missing_library_is_named_with_the_command_that_installs_it(
    make: Any, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package.strip("'").partition(">")[0], None)
    with pytest.raises(UsageError, match=f"pip install {package} installs it$"):
        make()


class Log:
    """What a made-up library received for one trial."""

    def __init__(self, name: str, settings: Any = None) -> None:
        self.name, self.settings, self.end = name, settings, ""
        self.values: list[tuple[str, float, int]] = []

    @property
    def final(self) -> dict[str, float]:
        """The values at the last step."""
        return {name: value for name, value, step in self.values if step == self.values[-1][2]}


def check(logs: list[Log], run: Run, name: Any = str) -> None:
    """Check that the logs have what the results have."""
    assert len(logs) == 2
    for record in run.results.records:
        (log,) = (log for log in logs if log.name.endswith(record.trial_id))
        assert {name(metric) for metric in METRICS} <= set(log.final)
        assert log.final["clean_accuracy"] == record.clean_accuracy
        row = run.results.metric_values.set_index("activation").loc[record.activation]
        for metric in METRICS - {"seconds"}:
            assert log.final[name(metric)] == pytest.approx(row[metric])
        assert not {"mce", "matched_accuracy"} & set(log.final)
        epochs = [value for kind, value, _ in log.values if kind == "test_accuracy"]
        assert epochs == [epoch.test_accuracy for epoch in record.history]
        steps = [step for kind, _, step in log.values if kind == "test_accuracy"]
        assert steps == [steps[0], 2 * steps[0]]


def replay(listener: Listener, run: Run) -> None:
    for event in run.events:
        listener(event)


def test_tensorboard_gets_a_folder_for_each_trial(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    logs: list[Log] = []

    class SummaryWriter(Log):
        def __init__(self, folder: str, flush_secs: int) -> None:
            super().__init__(folder)
            assert flush_secs > 0
            logs.append(self)

        def add_text(self, name: str, text: str) -> None:
            self.settings = text

        def add_scalar(self, name: str, value: float, step: int) -> None:
            self.values.append((name, value, step))

        def close(self) -> None:
            self.end = "closed"

    made = types.SimpleNamespace(SummaryWriter=SummaryWriter)
    monkeypatch.setitem(sys.modules, "tensorboard", types.ModuleType("tensorboard"))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", made)
    replay(TensorBoard(tmp_path), run)
    check(logs, run)
    assert {log.end for log in logs} == {"closed"}
    assert all(
        f'"activation": "{log.name.split("/")[-1].split("-")[0]}"' in log.settings for log in logs
    )


def test_mlflow_gets_a_run_for_each_trial_with_valid_names(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs: list[Log] = []
    metric = namedtuple("Metric", "key value timestamp step")
    param = namedtuple("Param", "key value")

    class Client:
        def __init__(self, uri: str | None) -> None:
            if uri != "http://here":
                raise OSError("no\nserver")

        def get_experiment_by_name(self, name: str) -> None:
            assert name == "mine"

        def create_experiment(self, name: str) -> str:
            return "1"

        def create_run(self, experiment: str, run_name: str) -> Any:
            assert experiment == "1"
            logs.append(Log(run_name, {}))
            return types.SimpleNamespace(info=types.SimpleNamespace(run_id=len(logs) - 1))

        def log_batch(self, run: int, metrics: Any = (), params: Any = ()) -> None:
            logs[run].settings.update(params)
            logs[run].values += [(m.key, m.value, m.step) for m in metrics]

        def set_terminated(self, run: int, status: str) -> None:
            logs[run].end = status

    made = types.ModuleType("mlflow")
    made.MlflowClient = Client  # type: ignore[attr-defined]
    made.entities = types.SimpleNamespace(Metric=metric, Param=param)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", made)
    with pytest.raises(
        UsageError, match=r"^MLflow cannot open the experiment 'mine': OSError: no server$"
    ):
        MLflow("mine", "http://there")
    listener = MLflow("mine", "http://here")
    replay(listener, run)
    check(logs, run, lambda name: name.replace("=", "_"))
    assert [log.end for log in logs] == ["FINISHED", "FINISHED"]
    assert {log.settings["activation"] for log in logs} == {"relu", "elu"}
    assert logs[1].settings["epochs"] == "2"
    # a trial under way when the run ends, and one that diverged
    begun = next(i for i, event in enumerate(run.events) if isinstance(event, Progress))
    for event in run.events[: begun + 1]:
        listener(event)
    listener.close()
    ended = next(event for event in run.events if isinstance(event, Finished))
    listener(replace(ended, status="diverged"))
    assert [log.end for log in logs[2:]] == ["KILLED", "FAILED"]


def test_wandb_gets_a_run_for_each_trial(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    logs: list[Log] = []

    class WandBRun(Log):
        def define_metric(self, name: str, step_metric: str) -> None:
            assert (name, step_metric) == ("*", "step")

        def log(self, values: dict[str, float]) -> None:
            step = int(values["step"])
            self.values += [(k, v, step) for k, v in values.items() if k != "step"]

        def finish(self, exit_code: int) -> None:
            self.end = str(exit_code)

    def init(*, name: str, config: Any, **options: Any) -> WandBRun:
        assert options == {"project": "mine", "reinit": "create_new", "mode": "offline"}
        logs.append(WandBRun(name, config))
        return logs[-1]  # type: ignore[return-value]

    made = types.ModuleType("wandb")
    made.init = init  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", made)
    replay(WandB("mine", mode="offline"), run)
    check(logs, run)
    assert [log.end for log in logs] == ["0", "0"]
    assert logs[0].settings["corruptions"] == [NOISE]


def test_trials_that_choose_learning_rates_are_left_out(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", types.ModuleType("wandb"))  # has no init
    listener = WandB()
    for event in run.events:
        listener(replace(event, study=None) if isinstance(event, Planned) else event)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_reads_what_was_written(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    replay(TensorBoard(tmp_path / "logs"), run)
    assert len(list((tmp_path / "logs").iterdir())) == 2
    for record in run.results.records:
        found = EventAccumulator(str(tmp_path / "logs" / record.trial_id)).Reload()
        assert set(found.Tags()["scalars"]) >= METRICS
        accuracies = [point.value for point in found.Scalars("test_accuracy")]
        assert accuracies == pytest.approx([e.test_accuracy for e in record.history])
