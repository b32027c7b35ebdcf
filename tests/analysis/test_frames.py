"""The frames of a study are computed when they are first used."""

from __future__ import annotations

from helpers.made_studies import made_frames

ACCURACIES = {"relu": (0.80, 0.81, 0.80), "mish": (0.84, 0.85, 0.84)}


def test_what_is_not_shown_is_not_computed() -> None:
    frames = made_frames(ACCURACIES)
    assert len(frames.epochs) == 6 * frames.study.epochs
    assert len(frames.trials) == 6
    assert vars(frames).keys().isdisjoint({"comparisons", "summary", "metric_values", "gradients"})
    assert frames.undecided() in (True, False)
    assert "comparisons" in vars(frames)
    assert vars(frames).keys().isdisjoint({"summary", "sensitivity", "variance", "mechanism"})


def test_a_frame_is_computed_once() -> None:
    frames = made_frames(ACCURACIES)
    assert frames.comparisons is frames.comparisons
    assert frames.trials is frames.trials


def test_a_study_is_complete_when_all_its_trials_are_ok() -> None:
    frames = made_frames(ACCURACIES)
    assert frames.complete
    del frames.records[-1]
    assert not frames.complete
