"""The answer of a study: the headline comparisons, and what decides what is undecided."""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np
import pytest

from actbench.analysis.frames import Frames
from actbench.report.answer import answer_of, interim_analysis, remedy
from actbench.report.grid import comparison_groups, interval_bar
from actbench.study.study import Study
from helpers.made_studies import made_frames
from helpers.synthetic import synthetic_records

RELU = [0.80, 0.81, 0.80, 0.82, 0.81, 0.79]
BETTER = [0.84, 0.85, 0.84, 0.86, 0.86, 0.83]
OPEN = [0.80, 0.82, 0.79, 0.83, 0.80, 0.80]


def test_the_headline_has_matched_accuracy_beside_the_others() -> None:
    frames = made_frames({"relu": RELU, "gelu": BETTER})
    answer = answer_of(frames)
    assert answer.columns == [
        "clean accuracy",
        "corrupted accuracy",
        "corrupted accuracy, at matched clean accuracy",
    ]
    found = frames.comparisons.set_index("metric")
    for name, cell in zip(
        ("clean_accuracy", "corrupted_accuracy", "matched_accuracy"),
        answer.rows["gelu"],
        strict=True,
    ):
        assert cell.verdict == found.loc[name, "verdict"]
        assert cell.ends[1] == pytest.approx(100 * found.loc[name, "difference"], nan_ok=True)
    assert answer.baseline[0].startswith(f"{100 * np.mean(RELU):.2f} ± ")
    assert answer.tally[:2] == ["1 better", "1 better"]


def test_one_attack_at_one_epsilon_is_shown_and_several_are_counted() -> None:
    study = Study(
        activations=("relu", "gelu"), seeds=3, epochs=1, attacks=("fgsm",), epsilons=(8 / 255,)
    )
    (cell,) = answer_of(Frames(study, synthetic_records(study))).rows["gelu"][-1:]
    assert cell.counts == ()
    assert math.isfinite(cell.ends[1])
    study = dataclasses.replace(study, epsilons=(4 / 255, 8 / 255))
    (cell,) = answer_of(Frames(study, synthetic_records(study))).rows["gelu"][-1:]
    assert sum(count for _, count in cell.counts) == 2
    assert cell.kind == "several"


def test_a_decided_study_needs_nothing() -> None:
    assert remedy(made_frames({"relu": RELU, "gelu": BETTER})) is None


def test_the_options_allow_as_many_seeds_as_are_needed() -> None:
    frames = made_frames({"relu": RELU, "gelu": OPEN})
    found = remedy(frames)
    most = frames.primary_comparisons["seeds_needed_high"].max()
    assert found.sentence.startswith("2 of 2 comparisons undecided: about ")
    assert f"–{found.options.split()[-1]} seeds" in found.sentence
    assert int(found.options.split()[-1]) >= most > 30


@pytest.mark.parametrize(
    ("needed", "options"),
    [(20, "--until-decided"), (90, "--until-decided --max-seeds 90"), (5000, "")],
)
def test_the_options_fit_the_number_of_seeds(needed: int, options: str) -> None:
    frames = made_frames({"relu": RELU, "gelu": OPEN})
    frames.comparisons["seeds_needed_low"] = 7
    frames.comparisons["seeds_needed_high"] = needed
    assert remedy(frames).options == options


def test_at_the_last_interim_analysis_only_a_new_study_helps() -> None:
    planned = made_frames({"relu": RELU, "gelu": OPEN}, interim_analyses=(4, 6))
    assert remedy(planned).options == ""
    assert "in a new study" in str(remedy(planned))


@pytest.mark.parametrize(
    ("other", "planned", "says"),
    [
        (OPEN, (4, 6, 9), "analysis 2 of 3, after 6 seeds, at the level 0.0123: 2 of 2"),
        (OPEN, (4, 6, 9), "undecided; the next is after 9 seeds"),
        (OPEN, (4, 6), "2 of 2 comparisons undecided; stops, as it is the last"),
        (BETTER, (4, 6, 9), "stops: all 2 comparisons are decided"),
    ],
)
def test_an_interim_analysis_says_its_level_and_why_it_stops(
    other: list[float], planned: tuple[int, ...], says: str
) -> None:
    frames = made_frames({"relu": RELU, "gelu": other}, interim_analyses=planned)
    assert says in interim_analysis(frames)


def test_every_comparison_with_a_difference_is_in_one_group() -> None:
    study = Study(
        activations=("relu", "gelu", "elu"),
        seeds=3,
        epochs=1,
        corruptions=("fog", "gaussian_noise"),
        attacks=("fgsm",),
    )
    frames = Frames(study, synthetic_records(study))
    groups = {group.name: [row.label for row in group.rows] for group in comparison_groups(frames)}
    assert groups["by corruption"] == ["fog", "gaussian noise"]
    assert groups["under attack"][0] == "fgsm at ε = 1/255"
    estimated = frames.comparisons.loc[np.isfinite(frames.comparisons["difference"]), "metric"]
    assert sum(map(len, groups.values())) == estimated.nunique()
    for group in comparison_groups(frames):
        assert all(len(row.cells) == len(row.bars) == 2 for row in group.rows)


def numbers(svg: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+\.\d", svg)]


def test_a_bar_shows_the_interval_to_scale() -> None:
    (cell,) = answer_of(made_frames({"relu": RELU, "gelu": OPEN})).rows["gelu"][:1]
    low, middle, high = cell.ends
    left, width, start, end, centre = numbers(interval_bar(cell, reach=2, margin=0.5))
    assert (left, width) == (-12.5, 25.0)
    assert [start, centre, end] == pytest.approx([25 * low, 25 * middle, 25 * high], abs=0.06)


def test_an_end_beyond_the_bar_is_an_arrow_and_no_difference_is_no_bar() -> None:
    (cell,) = answer_of(made_frames({"relu": RELU, "gelu": OPEN})).rows["gelu"][:1]
    wide = dataclasses.replace(cell, ends=(-9.0, 0.1, 0.2))
    svg = interval_bar(wide, reach=1, margin=0)
    assert svg.count('class="end"') == 1
    assert "M-50.0 6H10.0" in svg
    assert interval_bar(dataclasses.replace(cell, ends=(math.nan,) * 3), 1, 1) == ""
    assert interval_bar(None, 1, 1) == ""
