"""Records → data frames → CSV and Markdown. The numbers in every table come from the records."""

from __future__ import annotations

import math
from dataclasses import astuple
from typing import TYPE_CHECKING

import pandas as pd
from tabulate import tabulate

from actbench.statistics import mean_corruption_error, metrics_for, summarise
from actbench.study import trial_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from actbench.record import TrialRecord
    from actbench.study import Study

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
TRIAL_COLUMNS = (
    "activation",
    "seed",
    "status",
    "epochs",
    "train_loss",
    "clean_accuracy",
    "clean_loss",
    "clean_ece",
    "corrupted_accuracy",
    "accuracy_drop",
    "grad_norm_first",
    "grad_norm_last",
    "grad_norm_ratio",
    "inactive_fraction",
    "logit_margin",
    "input_gradient_norm",
    "reason",
)
DASH = "–"


class Frames:
    """The study's tables as data frames, built from its stored records.

    ``trials`` has a row per stored trial, ``corruptions`` a row per activation × seed × corruption
    × severity, ``gradients`` a row per activation × seed × epoch × layer, ``summary`` a row per
    activation; the columns are those of the CSV files of these names.
    """

    def __init__(self, study: Study, records: Mapping[str, TrialRecord]) -> None:
        self.study = study
        order = [trial_id(study, t) for a in study.activations for t in study.trials_of(a)]
        self.records = [records[name] for name in order if name in records]
        self.trials = pd.DataFrame(
            [_trial_row(record) for record in self.records], columns=list(TRIAL_COLUMNS)
        )
        self.corruptions = pd.DataFrame(
            [
                (record.activation, record.seed, *astuple(s))
                for record in self.records
                for s in record.corruptions
            ],
            columns=["activation", "seed", "corruption", "severity", "accuracy", "loss", "ece"],
        )
        self.gradients = pd.DataFrame(
            [
                (record.activation, record.seed, epoch.epoch, layer, norm)
                for record in self.records
                for epoch in record.history
                for layer, norm in epoch.grad_norms.items()
            ],
            columns=["activation", "seed", "epoch", "layer", "grad_norm"],
        )
        self.metrics = metrics_for(study.corruptions)
        self.summary = self._summary()

    def values(self) -> pd.DataFrame:
        """Return a row per trial and a column per metric, as the statistics take them."""
        values = self.trials.drop(columns=["status", "epochs", "reason"])
        pair = ["activation", "seed"]
        means = self.corruptions.pivot_table("accuracy", pair, "corruption", sort=False)
        return values.merge(means.add_prefix("accuracy_"), "left", left_on=pair, right_index=True)

    def _summary(self) -> pd.DataFrame:
        summary = summarise(self.values(), self.metrics)
        errors = mean_corruption_error(self.corruptions, self.study.baseline)
        summary.insert(2, "mce", summary["activation"].map(errors))
        return summary


def _trial_row(record: TrialRecord) -> dict[str, object]:
    row: dict[str, object] = {
        "activation": record.activation,
        "seed": record.seed,
        "status": record.status,
        "epochs": len(record.history),
        "clean_accuracy": record.clean_accuracy,
        "clean_loss": record.clean_loss,
        "clean_ece": record.clean_ece,
        "inactive_fraction": record.inactive_fraction,
        "logit_margin": record.logit_margin,
        "input_gradient_norm": record.input_gradient_norm,
        "reason": record.reason,
    }
    if record.status == "ok":
        last = record.history[-1]
        norms = list(last.grad_norms.values())
        row["train_loss"] = last.train_loss
        if norms:
            row["grad_norm_first"], row["grad_norm_last"] = norms[0], norms[-1]
            row["grad_norm_ratio"] = norms[0] / norms[-1] if norms[-1] else math.nan
        if record.corruptions and record.clean_accuracy is not None:
            corrupted = math.fsum(s.accuracy for s in record.corruptions) / len(record.corruptions)
            row["corrupted_accuracy"] = corrupted
            row["accuracy_drop"] = record.clean_accuracy - corrupted
    return row


def to_csv(frame: pd.DataFrame) -> str:
    """Return the frame as CSV, text cells defused that a spreadsheet would run as a formula."""
    safe = frame.copy()
    for column in safe.columns[safe.map(lambda cell: isinstance(cell, str)).any()]:
        safe[column] = safe[column].map(_defused)
    return safe.to_csv(index=False, lineterminator="\n")


def _defused(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell


def to_markdown(rows: Iterable[Sequence[str]], headers: Sequence[str]) -> str:
    """Return a Markdown table of text cells; ``|`` and line breaks in them are escaped."""
    table = [[_escaped(cell) for cell in row] for row in rows]
    return tabulate(
        table,
        headers=[_escaped(header) for header in headers],
        tablefmt="pipe",
        disable_numparse=True,
        colalign=("left", *["right"] * (len(headers) - 1)),
    )


def _escaped(cell: str) -> str:
    for old, new in (("\\", "\\\\"), ("|", "\\|"), ("<", "&lt;"), ("`", "\\`"), ("*", "\\*")):
        cell = cell.replace(old, new)
    return " ".join(cell.split())


def percent(mean: float, spread: float | None = None) -> str:
    """Return a fraction as percent with two decimals, ± its standard deviation where there is one.

    The unit stands in the column's head.
    """
    return _with_spread(mean * 100, None if spread is None else spread * 100, "{:.2f}")


def number(mean: float, spread: float | None = None) -> str:
    """Return a number with three significant digits, ± its standard deviation likewise."""
    return _with_spread(mean, spread, "{:.3g}")


def _with_spread(mean: float, spread: float | None, form: str) -> str:
    if not math.isfinite(mean):
        return DASH
    shown = form.format(mean)
    if spread is None:
        return shown
    return f"{shown} ± {form.format(spread) if math.isfinite(spread) else DASH}"


def summary_rows(frames: Frames) -> tuple[list[list[str]], list[str]]:
    """Return the rows and headers of the main table, for Markdown and for the terminal."""
    rows = []
    for row in frames.summary.to_dict("records"):

        def spread(metric: str, row: dict[str, float] = row) -> tuple[float, float]:  # type: ignore[assignment]
            return row[f"{metric}_mean"], row[f"{metric}_std"]

        rows.append(
            [
                str(row["activation"]),
                str(row["n"]),
                percent(*spread("clean_accuracy")),
                percent(*spread("corrupted_accuracy")),
                percent(*spread("accuracy_drop")),
                DASH if math.isnan(row["mce"]) else f"{row['mce']:.1f}",
                number(*spread("grad_norm_first")),
                number(*spread("grad_norm_ratio")),
                percent(*spread("inactive_fraction")),
            ]
        )
    headers = [
        "activation",
        "n",
        "clean accuracy, %",
        "corrupted accuracy, %",
        "drop, points",
        "mCE, %",
        "first-layer gradient norm",
        "first / last layer",
        "inactive units, %",
    ]
    return rows, headers


def summary_markdown(frames: Frames) -> str:
    """Return ``summary.md``."""
    study = frames.study
    parts = [
        f"# {_escaped(study.data_label)}, {_escaped(study.model)}: activations compared "
        f"with {_escaped(study.baseline)}",
        f"Each cell is the mean ± standard deviation over n seeds. {_recipe(study)}",
        to_markdown(*summary_rows(frames)),
        "Corrupted accuracy is the plain mean over the corruptions and severities below; drop is "
        "clean less corrupted; mCE is the error under corruption relative to "
        f"{_escaped(study.baseline)}'s, which is 100. Gradient norms are means over the last "
        "epoch's steps. A unit is inactive when its pre-activation is ≤ 0 at every position of "
        "every test image.",
        *_failures(frames),
    ]
    if study.corruptions and len(frames.corruptions):
        parts += [
            "## Accuracy by corruption, %",
            _pivot(frames.corruptions, frames, "corruption", "accuracy", percent),
            "## Accuracy by severity, %",
            _pivot(frames.corruptions, frames, "severity", "accuracy", percent),
        ]
    if len(frames.gradients):
        parts.append("## Mean gradient norm by layer and epoch")
        for layer, part in frames.gradients.groupby("layer", sort=False):
            parts += [
                f"### {_escaped(str(layer))}",
                _pivot(part, frames, "epoch", "grad_norm", number),
            ]
    return "\n\n".join(parts) + "\n"


def _recipe(study: Study) -> str:
    count = len(study.seeds)
    data = f"{study.train_images} training images, " if study.train_images else ""
    decay = f", weight decay {study.weight_decay:g}" if study.weight_decay else ""
    return (
        f"{count} seed{'s' * (count > 1)}, {data}{study.epochs} epochs of batch "
        f"{study.batch_size}, SGD with learning rate {study.learning_rate:g} and momentum "
        f"{study.momentum:g}{decay}. The trials of a seed share initial weights, batch order, "
        "augmentation and corrupted test images."
    )


def _failures(frames: Frames) -> list[str]:
    failed = frames.trials[frames.trials["status"] != "ok"]
    if failed.empty:
        return []
    rows = failed[["activation", "seed", "status", "reason"]].astype(str).to_numpy().tolist()
    return [
        "## Trials without a result",
        "They are left out of every mean; n says how many remain.",
        to_markdown(rows, ["activation", "seed", "status", "reason"]),
    ]


def _pivot(
    frame: pd.DataFrame,
    frames: Frames,
    columns: str,
    value: str,
    show: Callable[[float, float], str],
) -> str:
    """Return a Markdown table: activations down, ``columns`` across, mean ± std over seeds."""
    by_seed = frame.groupby(["activation", columns, "seed"], sort=False)[value].mean()
    cells = by_seed.groupby(["activation", columns], sort=False).agg(["mean", "std"])
    across = list(frame[columns].unique())
    rows = []
    for activation in frames.study.activations:
        if activation in cells.index.get_level_values(0):
            shown = [show(*cells.loc[(activation, column)]) for column in across]
            rows.append([activation, *shown])
    return to_markdown(rows, ["activation", *(str(column) for column in across)])


def derived_files(frames: Frames) -> dict[str, str]:
    """Return every table of the results folder as text, by file name."""
    return {
        "trials.csv": to_csv(frames.trials),
        "corruptions.csv": to_csv(frames.corruptions),
        "gradients.csv": to_csv(frames.gradients),
        "summary.csv": to_csv(frames.summary),
        "summary.md": summary_markdown(frames),
    }
