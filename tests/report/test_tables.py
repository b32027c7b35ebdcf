"""The tables: columns, and values from the records."""

from __future__ import annotations

import io
import math
import statistics
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from actbench.analysis.frames import Frames
from actbench.analysis.trial_results import stored_results
from actbench.report.html import to_html
from actbench.report.latex import summary_latex
from actbench.report.markdown import summary_markdown
from actbench.report.tables import accuracy_tables, comparison_table, summary_table, to_csv
from actbench.report.write import derived_files
from actbench.store.record import EpochRecord
from actbench.store.result import CorruptionScore, TrialResult
from actbench.store.store import Store
from actbench.store.values import pack_counts
from actbench.study.study import Study, trial_id
from helpers.synthetic import synthetic_frames

if TYPE_CHECKING:
    from helpers.runs import TinyRun

DESIGNED_COLUMNS = {
    "trials.csv": "activation seed status epochs train_loss clean_accuracy clean_loss clean_ece "
    "corrupted_accuracy accuracy_drop grad_norm_first grad_norm_last grad_norm_ratio "
    "inactive_fraction",
    "corruptions.csv": "activation seed corruption severity accuracy loss",
    "gradients.csv": "activation seed epoch layer grad_norm",
}


METRICS = (
    "clean_accuracy",
    "clean_loss",
    "clean_ece",
    "corrupted_accuracy",
    "accuracy_drop",
    "grad_norm_first",
    "grad_norm_ratio",
    "inactive_fraction",
)


def table(tiny_run: TinyRun, name: str) -> pd.DataFrame:
    return pd.read_csv(tiny_run.folder / name)


def test_numbers_stay_numbers_in_csv() -> None:
    text = to_csv(pd.DataFrame({"difference": [-0.5, math.nan], "name": ["-x", None]}))
    assert text == "difference,name\n-0.5,'-x\n,\n"


def test_csv_has_twelve_significant_digits_whatever_the_last_ones_are() -> None:
    values = [0.1 + 0.2, 1 / 3, -2e15 / 3, 1.2345678901249e-300, 1.0, math.inf, math.nan]
    elsewhere = [math.nextafter(value, 2 * value) for value in values]
    text = to_csv(pd.DataFrame({"x": values, "n": range(7)}))
    assert text == to_csv(pd.DataFrame({"x": elsewhere, "n": range(7)}))
    cells = [line.split(",")[0] for line in text.splitlines()[1:]]
    shown = ["0.3", "0.333333333333", "-666666666667000.0", "1.23456789012e-300", "1.0", "inf", ""]
    assert cells == shown


@pytest.mark.parametrize("name", DESIGNED_COLUMNS)
def test_a_csv_file_has_the_designed_columns_first(name: str, tiny_run: TinyRun) -> None:
    designed = DESIGNED_COLUMNS[name].split()
    assert list(table(tiny_run, name))[: len(designed)] == designed


def test_summary_csv_has_mean_std_and_interval_of_each_metric(tiny_run: TinyRun) -> None:
    columns = list(table(tiny_run, "summary.csv"))
    assert columns[:2] == ["activation", "n"]
    assert "mce" in columns
    wanted = {f"{m}_{figure}" for m in METRICS for figure in ("mean", "std", "ci_low", "ci_high")}
    assert wanted <= set(columns)


def test_every_table_has_a_row_per_measurement(tiny_run: TinyRun) -> None:
    study = tiny_run.study
    trials = len(study.activations) * len(study.seeds)
    assert len(table(tiny_run, "trials.csv")) == trials
    assert len(table(tiny_run, "corruptions.csv")) == trials * 2 * 5
    assert len(table(tiny_run, "gradients.csv")) == trials * study.epochs * 4
    assert list(table(tiny_run, "summary.csv")["activation"]) == list(study.activations)


def test_rows_come_activation_by_activation_in_the_studys_order(tiny_run: TinyRun) -> None:
    rows = table(tiny_run, "trials.csv")[["activation", "seed"]].to_numpy().tolist()
    assert rows == [[a, s] for a in tiny_run.study.activations for s in tiny_run.study.seeds]


def test_the_files_have_unix_line_ends_and_no_times(tiny_run: TinyRun) -> None:
    for path in tiny_run.folder.glob("*.*"):
        if path.suffix in {".csv", ".md"}:
            assert b"\r" not in path.read_bytes()
    assert not [c for c in table(tiny_run, "trials.csv") if "second" in c or "time" in c]


def twelve_digits(number: float) -> float:
    return float(f"{number:.12g}")


def test_trials_csv_has_the_values_of_the_records(tiny_run: TinyRun) -> None:
    rows = {(r["activation"], r["seed"]): r for _, r in table(tiny_run, "trials.csv").iterrows()}
    for record in tiny_run.results:
        row = rows[record.activation, record.seed]
        norms = list(record.history[-1].grad_norms.values())
        corrupted = statistics.fmean(s.accuracy for s in record.corruptions)
        assert row["status"] == record.status == "ok"
        assert row["epochs"] == len(record.history) == 2
        assert row["train_loss"] == twelve_digits(record.history[-1].train_loss)
        assert row["clean_accuracy"] == twelve_digits(record.clean_accuracy)
        assert row["clean_loss"] == twelve_digits(record.clean_loss)
        assert row["clean_ece"] == twelve_digits(record.clean_ece)
        assert row["corrupted_accuracy"] == pytest.approx(corrupted, rel=1e-11)
        drop = row["clean_accuracy"] - row["corrupted_accuracy"]
        assert row["accuracy_drop"] == pytest.approx(drop, abs=1e-11)
        assert row["grad_norm_first"] == twelve_digits(norms[0])
        assert row["grad_norm_last"] == twelve_digits(norms[-1])
        assert row["grad_norm_ratio"] == pytest.approx(norms[0] / norms[-1], rel=1e-11)
        assert row["inactive_fraction"] == twelve_digits(record.inactive_fraction)


def test_the_last_epochs_test_accuracy_is_the_clean_accuracy(tiny_run: TinyRun) -> None:
    for record in tiny_run.results:
        assert record.history[-1].test_accuracy == record.clean_accuracy
        assert record.history[-1].test_loss == record.clean_loss


def test_gradients_csv_has_layers_by_name_and_epochs_from_one(tiny_run: TinyRun) -> None:
    rows = table(tiny_run, "gradients.csv")
    assert list(rows["layer"].unique()) == ["conv1", "conv2", "fc1", "fc2"]
    assert sorted(rows["epoch"].unique()) == [1, 2]
    record = tiny_run.results[0]
    of_it = rows[(rows["activation"] == record.activation) & (rows["seed"] == record.seed)]
    norms = [n for e in record.history for n in e.grad_norms.values()]
    assert list(of_it["grad_norm"]) == list(map(twelve_digits, norms))


def test_summary_csv_is_the_mean_and_deviation_over_seeds(tiny_run: TinyRun) -> None:
    trials = table(tiny_run, "trials.csv").groupby("activation")
    summary = table(tiny_run, "summary.csv").set_index("activation")
    assert set(summary["n"]) == {2}
    for metric in METRICS:
        expected = trials[metric].agg(["mean", "std"])
        for figure in ("mean", "std"):
            pd.testing.assert_series_equal(
                summary[f"{metric}_{figure}"].sort_index(), expected[figure], check_names=False
            )


def test_mce_is_the_error_relative_to_the_baselines_by_corruption(tiny_run: TinyRun) -> None:
    accuracies = table(tiny_run, "corruptions.csv").pivot_table(
        "accuracy", "activation", "corruption"
    )
    errors = 1 - accuracies
    expected = 100 * (errors / errors.loc["relu"]).mean(axis=1)
    shown = table(tiny_run, "summary.csv").set_index("activation")["mce"]
    assert shown["relu"] == 100
    pd.testing.assert_series_equal(shown.sort_index(), expected, check_names=False)


def record_with(
    study: Study, position: int, accuracy: float, status: str = "ok"
) -> tuple[str, TrialResult]:
    trial = study.trials()[position]
    name = trial_id(study, trial)
    ok = status == "ok"
    return name, TrialResult(
        trial_id=name,
        activation=trial.activation,
        seed=trial.seed,
        status=status,
        reason="" if ok else "loss nan at epoch 2, step 7",
        history=(EpochRecord(1, 2.0, 2.0, accuracy, {"conv1": 1.0, "fc": 4.0}),),
        clean_accuracy=accuracy if ok else None,
        clean_loss=1.0 if ok else None,
        clean_ece=0.1 if ok else None,
        corruptions=(CorruptionScore("shot_noise", 1, accuracy / 2, 1.0, 0.1),) if ok else (),
        inactive_fraction=0.0 if ok else None,
        clean_correct=pack_counts(np.array([1, 0], np.uint8)) if ok else "",
        corrupted_correct=(pack_counts(np.array([1, 0], np.uint8)),) if ok else (),
    )


def test_a_trial_that_diverged_is_left_out_of_the_means_and_of_n() -> None:
    study = Study(
        activations=("relu", "tanh"), seeds=(0, 1, 2), corruptions=("shot_noise",), epochs=2
    )
    records = dict(
        record_with(study, i, 0.25 * (i // 2 + 1), "diverged" if i == 3 else "ok") for i in range(6)
    )
    frames = Frames(study, records)
    summary = frames.summary.set_index("activation")
    assert summary.loc["relu", "n"] == 3
    assert summary.loc["tanh", "n"] == 2
    assert summary.loc["tanh", "clean_accuracy_mean"] == 0.5
    trials = frames.trials.set_index(["activation", "seed"])
    assert trials.loc[("tanh", 1), "status"] == "diverged"
    assert math.isnan(trials.loc[("tanh", 1), "clean_accuracy"])
    markdown = summary_markdown(frames)
    assert "loss nan at epoch 2, step 7" in markdown


@pytest.mark.parametrize("status", ["diverged", pytest.param("crashed", marks=pytest.mark.slow)])
def test_a_study_without_any_result_still_has_all_its_tables(status: str) -> None:
    study = Study(activations=("relu", "tanh"), seeds=(0, 1), corruptions=("shot_noise",))
    records = dict(record_with(study, i, 0.5, status) for i in range(4))
    files = derived_files(Frames(study, records))
    assert files["summary.md"].count(status) >= 4
    summary = pd.read_csv(io.StringIO(files["summary.csv"]))
    assert list(summary["n"]) == [0, 0]


def test_a_study_in_progress_shows_what_is_stored(tiny_run: TinyRun) -> None:
    records = stored_results(Store(tiny_run.folder), tiny_run.study)
    some = dict(list(records.items())[:3])
    frames = Frames(tiny_run.study, some)
    assert len(frames.trials) == 3
    assert "summary.md" in derived_files(frames)


def test_one_seed_shows_no_deviation() -> None:
    study = Study(activations=("relu", "tanh"), seeds=(0,), corruptions=("shot_noise",))
    frames = Frames(study, dict(record_with(study, i, 0.5) for i in range(2)))
    assert frames.summary["clean_accuracy_std"].isna().all()
    assert "50.00 ± –" in summary_markdown(frames)


def test_the_same_records_give_the_same_bytes(tiny_run: TinyRun) -> None:
    records = stored_results(Store(tiny_run.folder), tiny_run.study)
    turned = dict(reversed(records.items()))
    for name, content in derived_files(Frames(tiny_run.study, turned)).items():
        assert (tiny_run.folder / name).read_text(encoding="utf-8") == content


def test_tables_of_several_metrics_have_a_note_on_multiple_testing(tiny_run: TinyRun) -> None:
    for name in ("summary.md", "report.html"):
        text = (tiny_run.folder / name).read_text(encoding="utf-8")
        assert "Metrics are not corrected for one another" in text


def test_levels_have_rows_of_their_own_and_none_in_the_table_by_severity() -> None:
    names = ("fog:decay=3,strength=0.5/0.7", "snow", "fog:decay=2,strength=0.5")
    frames = synthetic_frames(Study(activations=("relu", "elu"), corruptions=names, seeds=2))
    corruption, severity, level = accuracy_tables(frames)
    assert [row[0] for row in corruption.rows] == [
        "fog (decay = 3, strength = 0.5/0.7)",
        "snow",
        "fog (decay = 2, strength = 0.5)",
    ]
    snow = frames.corruptions[frames.corruptions["corruption"] == "snow"]
    means = snow.groupby(["severity", "activation"])["accuracy"].mean()
    assert [row[0] for row in severity.rows] == list("12345")
    assert [row[1].split()[0] for row in severity.rows] == [
        f"{100 * means[number, 'relu']:.2f}" for number in range(1, 6)
    ]
    assert [row[0] for row in level.rows] == [
        "fog: decay = 3, strength = 0.5",
        "fog: decay = 3, strength = 0.7",
        "fog: decay = 2, strength = 0.5",
    ]
    assert list(frames.corruptions["level"].unique()) == [
        "decay = 3, strength = 0.5",
        "decay = 3, strength = 0.7",
        *(f"severity {number}" for number in range(1, 6)),
        "decay = 2, strength = 0.5",
    ]
    summary = frames.summary
    assert summary[f"accuracy_{names[0]}_mean"].notna().all()
    assert summary["mce"].notna().all()
    only = synthetic_frames(Study(activations=("relu",), corruptions=names[:1], seeds=2))
    assert [table.id for table in accuracy_tables(only)] == ["by-corruption", "by-level"]


def test_without_corruptions_no_document_speaks_of_them() -> None:
    frames = synthetic_frames(Study(activations=("relu", "elu"), corruptions=(), seeds=2))
    assert accuracy_tables(frames) == []
    table = comparison_table(frames, frames.comparisons)
    assert "clean accuracy, points" in {row[1] for row in table.rows}
    assert len(summary_table(frames).headers) == len(summary_table(frames).rows[0]) == 6
    for text in (summary_markdown(frames), summary_latex(frames)):
        for word in ("orrupted accuracy", "corrupted test images", "mCE", "drop"):
            assert word not in text
    page = to_html(frames, {}, {}, "1")
    assert "mCE" not in page[page.index("<main") :]
    assert "corrupted test images" not in page
