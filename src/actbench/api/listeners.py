"""Listeners that send the results of a run to TensorBoard, MLflow or Weights & Biases.

    from actbench.api.listeners import TensorBoard

    actbench.run(study, on_event=TensorBoard("logs"))

Each trial is a run of its own there, named by its name in the store. It has the training loss every
100 steps, loss and accuracy on the test (or held-out) images after every epoch, both by training
step, and at its end the values that ``trials.csv`` and ``summary.csv`` have. Of a trial that was
trained by an earlier call of ``run``, it has the latter only. The library is imported when its
listener is made; without it that raises a ``UsageError`` with the command that installs it.
"""

from __future__ import annotations

import importlib
import json
import re
import shlex
import time
from typing import TYPE_CHECKING, Any

from actbench.analysis.frames import Frames
from actbench.analysis.trial_results import result_of
from actbench.api.events import Finished, Planned, Progress
from actbench.errors import UsageError, in_a_line
from actbench.files.atomic import expanded
from actbench.study.study import as_plain, trial_id

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from actbench.api.events import Event
    from actbench.store.record import TrialRecord
    from actbench.study.study import Study, Trial

_RELATIVE = ("mce", "relative_mce", "matched_accuracy")
_NAME = re.compile(r"[^\w\-. :/]")  # what a metric's name in MLflow cannot have
_PARAMETER = 500  # the longest value of a parameter that every MLflow store takes


class Listener:
    """What the listeners have in common: a log for each trial, from its first event to its end.

    A subclass says how to open a log, write to it and close it. It can be used for one run at a
    time.
    """

    def __init__(self) -> None:
        self._study: Study | None = None
        self._logs: dict[Trial, Any] = {}
        self._steps: dict[Trial, int] = {}

    def __call__(self, event: Event) -> None:
        """Send what an event has."""
        if isinstance(event, Planned):
            self._study = event.study
        elif self._study is None:
            return
        elif isinstance(event, Progress):
            step = (event.epoch - 1) * event.steps + event.step
            self._steps[event.trial] = step
            self._write(self._log(event.trial, self._study), _of_progress(event), step)
        elif isinstance(event, Finished):
            trial = event.record.trial
            log, step = self._log(trial, self._study), self._steps.pop(trial, 0)
            del self._logs[trial]
            try:
                values = {**_of_record(event.record, self._study), "seconds": event.seconds}
                self._write(log, values, step)
            finally:
                self._close(log, event.status)

    def close(self) -> None:
        """Close the logs of trials that have not ended, as ``interrupted``; ``run`` calls it."""
        while self._logs:
            _, log = self._logs.popitem()
            self._close(log, "interrupted")
        self._steps.clear()

    def _log(self, trial: Trial, study: Study) -> Any:
        """Return a trial's log, opened if it is not yet."""
        if trial not in self._logs:
            settings = as_plain(study, ("activations", "seeds"))
            settings = {"activation": trial.activation, "seed": trial.seed, **settings}
            self._logs[trial] = self._open(trial_id(study, trial), settings)
        return self._logs[trial]

    def _open(self, name: str, settings: Mapping[str, Any]) -> Any:
        """Return a new log of a trial.

        Args:
            name: the trial's name, safe as the name of a file.
            settings: the study's settings by field, with the trial's ``activation`` and ``seed``.
        """
        raise NotImplementedError

    def _write(self, log: Any, values: Mapping[str, float], step: int) -> None:
        """Write values by name; ``step`` is the number of training steps before them."""
        raise NotImplementedError

    def _close(self, log: Any, status: str) -> None:
        """Close a log; ``status`` is ``ok``, ``diverged``, ``crashed`` or ``interrupted``."""
        raise NotImplementedError


class TensorBoard(Listener):
    """Writes a folder per trial for TensorBoard: ``tensorboard --logdir FOLDER``.

    Args:
        folder: the folder of these folders.

    Raises:
        UsageError: tensorboard is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        super().__init__()
        _import("tensorboard", "tensorboard")
        self._writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter
        self._folder = expanded(folder)

    def _open(self, name: str, settings: Mapping[str, Any]) -> Any:
        writer = self._writer(str(self._folder / name), flush_secs=10)
        text = json.dumps(settings, indent=2)
        writer.add_text("settings", "\n".join(f"    {line}" for line in text.splitlines()))
        return writer

    def _write(self, log: Any, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            log.add_scalar(name, value, step)

    def _close(self, log: Any, status: str) -> None:
        log.close()


class MLflow(Listener):
    """Makes an MLflow run per trial, with the study's settings as parameters.

    Args:
        experiment: the experiment that the runs belong to; made if there is none of this name.
        tracking_uri: the URI of the server or store; MLflow's own setting unless given.

    Raises:
        UsageError: mlflow is not installed, or its server or store cannot be used.
    """

    def __init__(self, experiment: str = "actbench", tracking_uri: str | None = None) -> None:
        super().__init__()
        self._mlflow = _import("mlflow", "mlflow")
        try:
            self._client = self._mlflow.MlflowClient(tracking_uri)
            found = self._client.get_experiment_by_name(experiment)
            self._experiment = (
                self._client.create_experiment(experiment) if found is None else found.experiment_id
            )
        except Exception as error:  # of any kind, from the server or the store
            raise UsageError(
                f"MLflow cannot open the experiment {experiment!r}: {in_a_line(error)}"
            ) from error

    def _open(self, name: str, settings: Mapping[str, Any]) -> Any:
        run = self._client.create_run(self._experiment, run_name=name).info.run_id
        kind = self._mlflow.entities.Param
        texts = {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in settings.items()
        }
        self._client.log_batch(
            run, params=[kind(k, text[:_PARAMETER]) for k, text in texts.items()]
        )
        return run

    def _write(self, log: Any, values: Mapping[str, float], step: int) -> None:
        kind, now = self._mlflow.entities.Metric, int(1000 * time.time())
        self._client.log_batch(
            log, metrics=[kind(_NAME.sub("_", k), v, now, step) for k, v in values.items()]
        )

    def _close(self, log: Any, status: str) -> None:
        ends = {"ok": "FINISHED", "interrupted": "KILLED"}
        self._client.set_terminated(log, ends.get(status, "FAILED"))


class WandB(Listener):
    """Makes a run of Weights & Biases per trial, with the study's settings as its configuration.

    Args:
        project: that the runs belong to.
        options: further arguments of ``wandb.init``, such as ``group`` or ``mode="offline"``.

    Raises:
        UsageError: wandb is not installed.
    """

    def __init__(self, project: str = "actbench", **options: Any) -> None:
        super().__init__()
        self._wandb = _import("wandb", "wandb>=0.20")
        self._options = {"project": project, **options}

    def _open(self, name: str, settings: Mapping[str, Any]) -> Any:
        # trials run at the same time, so each has a run of its own
        options = {"name": name, "config": dict(settings), "reinit": "create_new", **self._options}
        run = self._wandb.init(**options)
        # with the step as W&B's own, a retried trial's values would be dropped as out of order
        run.define_metric("*", step_metric="step")
        return run

    def _write(self, log: Any, values: Mapping[str, float], step: int) -> None:
        log.log({**values, "step": step})

    def _close(self, log: Any, status: str) -> None:
        log.finish(exit_code=int(status != "ok"))


def _import(name: str, package: str) -> Any:
    """Return a library.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            f"cannot import {name} ({in_a_line(error)}); pip install {shlex.quote(package)} "
            "installs it"
        ) from None


def _of_progress(event: Progress) -> dict[str, float]:
    values = {"loss": event.loss}
    for name, value in (("loss", event.test_loss), ("accuracy", event.test_accuracy)):
        if value is not None:
            values[f"{event.scored}_{name}"] = value
    return values


def _of_record(record: TrialRecord, study: Study) -> dict[str, float]:
    """Return a trial's metrics by name; none that need the baseline's trial."""
    result = result_of(record, study)
    if result is None:
        return {}
    frames = Frames(study, {record.trial_id: result})
    row = frames.metric_values.iloc[0].drop(["activation", "seed", *_RELATIVE])
    return {str(name): float(value) for name, value in row.dropna().items()}
