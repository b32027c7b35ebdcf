"""Every document warns of lost trials, networks at chance, outliers and identical results."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from actbench.analysis.frames import Frames
from actbench.cli.summary import print_summary
from actbench.report.html import to_html
from actbench.report.latex import summary_latex
from actbench.report.markdown import summary_markdown
from actbench.report.sentences import verdict_sentences
from actbench.report.studies import studies_files
from actbench.report.summary import summary_of
from actbench.report.warnings import record_notes, study_warnings
from actbench.report.write import derived_files
from actbench.study.study import Study
from helpers.made_studies import diverged, made_frames, made_records, made_study
from helpers.synthetic import synthetic_records

if TYPE_CHECKING:
    from pathlib import Path


SPREAD = (0.0, 0.004, -0.003, 0.002, -0.005, 0.001, 0.003, -0.001, 0.005, -0.002)


def lossy(lost: int, n: int = 10) -> Frames:
    """A study in which slope 0.3 is a little better on the seeds on which it does not diverge."""
    good = tuple(0.71 + 0.01 + v for v in SPREAD[:n])
    accuracies = {"relu": tuple(0.71 + v / 2 for v in SPREAD[:n]), "leaky_relu:0.3": good}
    study = made_study(accuracies)
    records = made_records(accuracies, study)
    ours = [name for name, r in records.items() if r.activation != "relu"][:lost]
    return Frames(study, {k: diverged(r) if k in ours else r for k, r in records.items()})


def test_lost_seeds_are_in_the_sentence_and_first_in_every_document(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    frames = lossy(4)
    (sentence,) = verdict_sentences(frames)
    assert "n = 6 of 10 seeds" in sentence
    assert "Left out: 4 of 10 seeds of leaky_relu:0.3 diverged." in sentence
    assert "With diverged trials scored as chance: corrupted accuracy −19.70 points" in sentence
    warning = "No result: 4 of 10 seeds of leaky_relu:0.3 diverged."
    markdown = summary_markdown(frames)
    assert markdown.splitlines()[2].startswith(f"**Warning:** {warning}")
    assert "## With diverged trials scored as chance" in markdown
    assert warning.replace("_", "\\_") in summary_latex(frames)
    page = to_html(frames, {}, {}, "0")
    assert page.index("With diverged trials scored as chance") > page.index(warning) > 0
    print_summary(summary_of(frames), tmp_path, as_json=False)
    assert capsys.readouterr().out.startswith(f"⚠ {warning}")


def test_a_diverged_trial_is_scored_as_the_largest_class() -> None:
    frames = lossy(4)
    row = frames.sensitivity.set_index("metric").loc["clean_accuracy"]
    # 4 of 10 at 37/360 (digits), the others unchanged
    ours = [37 / 360] * 4 + [0.72 + v for v in SPREAD[4:]]
    differences = np.array(ours) - (0.71 + np.array(SPREAD) / 2)
    assert row["n"] == 10
    assert row["difference"] == pytest.approx(differences.mean())
    assert lossy(0).sensitivity.empty
    assert list(pd.unique(frames.sensitivity["verdict"])) == ["worse"]


def test_without_a_class_share_nothing_is_scored_and_the_report_notes_it() -> None:
    frames = lossy(2)
    study = dataclasses.replace(frames.study, dataset="imagefolder", data_dir="/x")
    bare = Frames(study, {r.trial_id: r for r in frames.records})
    assert bare.sensitivity.empty
    assert "was not checked" in summary_markdown(bare)
    stated = [dataclasses.replace(r, largest_class_share=0.25) for r in frames.records]
    assert Frames(study, {r.trial_id: r for r in stated}).class_share == 0.25


AT_CHANCE = {
    "relu": tuple(0.1 for _ in range(6)),
    "leaky_relu:0.3": (0.8, 0.9, 0.8, 0.9, 0.8, 0.9),
}


def test_a_baseline_at_chance_gives_no_verdict_about_accuracy_and_a_warning_first() -> None:
    frames = made_frames(AT_CHANCE)
    verdicts = frames.comparisons.set_index("metric")
    for metric in ("clean_accuracy", "corrupted_accuracy", "accuracy_drop", "clean_loss"):
        assert verdicts.loc[metric, "verdict"] == "no verdict"
        assert "the baseline is at chance" in verdicts.loc[metric, "note"]
    assert verdicts.loc["grad_norm_first", "verdict"] == "higher"
    assert not frames.undecided()  # further seeds would not help
    first, *_ = study_warnings(frames)
    assert first.startswith("relu, the baseline, is not above chance in 6 of 6 trials")
    assert "leaky_relu:0.3 in 6 of 6" in first
    assert summary_markdown(frames).splitlines()[2].startswith("**Warning:** relu, the")
    files = studies_files({"one": frames, "two": made_frames(AT_CHANCE)})
    assert "**Warning:** two: relu, the baseline" in files["compare.md"]


def test_an_activation_at_chance_is_worse_than_a_baseline_that_trains() -> None:
    frames = made_frames({"relu": AT_CHANCE["leaky_relu:0.3"], "leaky_relu:0.3": AT_CHANCE["relu"]})
    assert set(frames.comparisons["verdict"][:1]) == {"worse"}
    assert frames.at_chance("leaky_relu:0.3") == 6
    assert "leaky_relu:0.3: 6 of 6 trials are not above chance" in study_warnings(frames)[0]


def test_a_collapsed_seed_is_flagged_and_the_rank_test_is_shown_beside_the_t_test() -> None:
    relu = tuple(0.7 + v for v in SPREAD)
    ours = (*(0.72 + 2 * v for v in SPREAD[:9]), 0.1)
    frames = made_frames({"relu": relu, "leaky_relu:0.3": ours})
    assert frames.trials["flag"].tolist()[:-1] == [""] * 19
    assert frames.trials["flag"].iloc[-1] == "at chance"
    row = frames.comparisons.set_index("metric").loc["clean_accuracy"]
    assert (row["verdict"], row["verdict_wilcoxon"]) == ("undecided", "undecided")
    twenty = {"relu": relu * 2, "leaky_relu:0.3": (*(0.72 + 2 * v for v in SPREAD), *ours)}
    frames = made_frames(twenty)
    row = frames.comparisons.set_index("metric").loc["clean_accuracy"]
    assert (row["verdict"], row["verdict_wilcoxon"]) == ("undecided", "better")
    assert "the signed-rank test says better" in row["note"]
    assert "by ranks (Wilcoxon) better" in verdict_sentences(frames)[0]
    warnings = " ".join(study_warnings(frames))
    assert "leaky_relu:0.3: 1 of 20 trials differ from the rest: seed 19 at chance" in warnings
    assert "the t-test's verdict is undecided" in warnings


def test_few_pairs_have_no_verdict_by_ranks() -> None:
    for n, verdict in ((5, "no verdict"), (6, "better")):
        relu = tuple(0.7 + v for v in SPREAD[:n])
        frames = made_frames({"relu": relu, "mish": tuple(0.75 + 2 * v for v in SPREAD[:n])})
        assert frames.comparisons["verdict_wilcoxon"][0] == verdict


def test_equal_differences_of_few_pairs_show_no_interval() -> None:
    frames = made_frames({"relu": (0.7, 0.7), "mish": (0.75, 0.75)})
    assert "[–" not in "".join(derived_files(frames).values())
    assert "+5.00 points over relu, n = 2" in verdict_sentences(frames)[0]


@pytest.fixture(scope="module")
def with_an_identical_one() -> Frames:
    """Three seeds of relu and tanh, and of elu with the results of relu."""
    study = Study(activations=("relu", "tanh", "elu"), seeds=3)
    records = synthetic_records(study)
    relu = {r.seed: r for r in records.values() if r.activation == "relu"}
    for name, record in records.items():
        if record.activation == "elu":
            names = {"trial_id": name, "activation": "elu", "activation_check": {"at_one": 1.0}}
            records[name] = dataclasses.replace(relu[record.seed], **names)
        if record.activation == "tanh" and record.seed:
            records[name] = dataclasses.replace(record, notes=("a layer was not watched",))
    return Frames(study, records)


def test_an_activation_with_the_baselines_results_to_the_last_bit_gets_no_verdict(
    with_an_identical_one: Frames,
) -> None:
    rows = with_an_identical_one.comparisons.set_index("activation")
    assert set(rows.loc["elu", "verdict"]) == {"identical"}
    assert "identical" not in set(rows.loc["tanh", "verdict"])
    sentences = [s for s in verdict_sentences(with_an_identical_one) if s.startswith("elu")]
    assert "this is no comparison" in sentences[0]
    assert "equivalent" not in sentences[0]


def test_one_result_that_differs_makes_it_a_comparison_again(
    with_an_identical_one: Frames,
) -> None:
    records = {r.trial_id: r for r in with_an_identical_one.records}
    *_, last = records
    other = dataclasses.replace(records[last], clean_loss=0.81)
    frames = Frames(with_an_identical_one.study, {**records, last: other})
    assert "identical" not in set(frames.comparisons["verdict"])
    assert not any("to the last bit" in note for note in record_notes(frames))


def test_every_document_shows_the_warnings_before_the_verdicts(
    with_an_identical_one: Frames,
) -> None:
    same, note = record_notes(with_an_identical_one)
    assert same.startswith("elu has the results of relu to the last bit in all 3 pairs")
    assert note == "tanh, 2 of 3 trials: a layer was not watched."
    documents = {
        "summary.md": summary_markdown(with_an_identical_one),
        "report.html": to_html(with_an_identical_one, {}, {}, "0"),
    }
    for text in documents.values():
        assert text.index(same) < text.index(note) < text.index("over relu")
    assert summary_of(with_an_identical_one).warnings == [same, note]


def test_what_was_replaced_in_the_network_is_told_once_with_the_recipe() -> None:
    study = Study(activations=("relu", "tanh"), seeds=2, model="torchvision:resnet18")
    note = "activations replaced: 9 modules (9 ReLU), 0 calls; 17 activations in all"
    records = {
        name: dataclasses.replace(record, notes=(note,))
        for name, record in synthetic_records(study).items()
    }
    frames = Frames(study, records)
    assert record_notes(frames) == []
    for text in (summary_markdown(frames), summary_latex(frames), to_html(frames, {}, {}, "0")):
        assert text.count(f"The network is torchvision:resnet18; {note}.") == 1
