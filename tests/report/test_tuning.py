"""How often tuning flips a verdict, on made results with known settings."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from actbench.analysis.frames import Frames
from actbench.report.answer import answer_lines
from actbench.report.html import to_html
from actbench.report.markdown import summary_markdown
from actbench.report.tuning import tuning_table
from actbench.report.warnings import study_warnings
from actbench.report.write import derived_files
from helpers.made_studies import made_records, made_study

NAMES = ("relu", "tanh", "elu")
TUNED = tuple((name, 0.1 * i, 0.01 * i) for name in NAMES for i in (1, 2, 3))
RELU = (0.700, 0.712, 0.705, 0.721)
NOISE = np.array([0.001, -0.002, 0.003, -0.002])
# mean differences from relu in each tuning study: tanh better, better, worse; elu always better
SHIFTS = {"tanh": (0.05, 0.06, -0.04), "elu": (0.05, 0.05, 0.05)}


def accuracies(position: int) -> dict[str, list[float]]:
    """Return the accuracies with the settings of one tuning study."""
    others = {name: np.array(RELU) + shifts[position] + NOISE for name, shifts in SHIFTS.items()}
    return {"relu": list(RELU), **{name: list(map(float, found)) for name, found in others.items()}}


@pytest.fixture(scope="module")
def frames() -> Frames:
    study = made_study(accuracies(0), tuned=TUNED, tune="random:lr=0.05/0.5,weight_decay=0.01/1")
    others = [
        Frames(part, made_records(accuracies(position), part))
        for position, part in enumerate(study.retuned, start=1)
    ]
    return Frames(study, made_records(accuracies(0), study), (), others)


def test_each_tuning_study_is_compared_with_its_own_settings(frames: Frames) -> None:
    table = frames.tuning_studies
    assert len(table) == 2 * len(NAMES) * 3
    clean = table[table["metric"] == "clean_accuracy"].set_index(["activation", "study"])
    for name, rate, decay in TUNED:
        row = clean.loc[name, round(10 * rate)]
        assert (row["learning_rate"], row["weight_decay"]) == (rate, decay)
    for position in range(3):
        found = accuracies(position)
        row = clean.loc["tanh", position + 1]
        test = stats.ttest_rel(found["tanh"], found["relu"])
        ends = test.confidence_interval()
        expected = [np.mean(found["tanh"]), test.statistic > 0, ends.low, ends.high, 4]
        got = [row["mean"], row["difference"] > 0, row["ci_low"], row["ci_high"], row["n"]]
        assert got == pytest.approx(expected)
    assert list(clean.loc["tanh", "verdict"]) == ["better", "better", "worse"]
    assert list(clean.loc["tanh", "same_verdict"]) == [True, True, False]
    assert clean.loc["relu", "difference"].isna().all()


def test_documents_say_how_often_tuning_changes_a_verdict(frames: Frames) -> None:
    table = tuning_table(frames)
    assert table is not None
    assert (
        "The verdict on clean accuracy of tanh, better, is the same in 2 of 3 tuning studies, the "
        "sign of the difference in 2; the difference is from −4.00 to +6.00 points, with median "
        "+5.00."
    ) in table.note
    assert "accuracy of elu, better, is the same in 3 of 3 tuning studies" in table.note
    line = "the same in all 3 tuning studies: 2 of 4 verdicts, 2 of 4 signs of the difference"
    assert line in answer_lines(frames)
    (warning,) = [text for text in study_warnings(frames) if "tuning" in text]
    assert warning.startswith("2 verdicts depend on the settings that tuning chose. ")
    assert "tanh, clean accuracy: better, better, worse" in warning
    assert "elu" not in warning
    for text in (summary_markdown(frames), to_html(frames, {}, {}, "0")):
        assert "How far the choice of the settings matters" in text
        assert "2 verdicts depend on the settings" in text
        assert "learning rate and weight decay tuned for each activation" in text
        assert "weight decay 0.01 (not of the parameters of activations)" in text
    written = pd.DataFrame(
        [line.split(",") for line in derived_files(frames)["tuning_studies.csv"].splitlines()[1:]]
    )
    assert len(written) == len(frames.tuning_studies)


def test_one_tuning_study_has_nothing_to_compare(frames: Frames) -> None:
    alone = Frames(frames.study, {r.trial_id: r for r in frames.records})
    assert tuning_table(alone) is None
    assert not [text for text in study_warnings(alone) if "tuning" in text]
    assert "tuning_studies.csv" not in derived_files(alone)
