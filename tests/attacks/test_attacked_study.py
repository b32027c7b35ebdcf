"""Attacks in a study: the same for all trials, shown in every table, with warnings everywhere."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from actbench.analysis.frames import Frames
from actbench.analysis.metrics import epsilon_text, robust_metric
from actbench.analysis.paired_studies import ALL, compare_paired_studies
from actbench.api.studies import run
from actbench.errors import UsageError
from actbench.execution.plan import prepare_study
from actbench.report.figures.registry import FIGURES, caption
from actbench.report.html import to_html
from actbench.report.latex import summary_latex
from actbench.report.markdown import summary_markdown
from actbench.store.record import record_from_json, record_to_json
from actbench.store.result import MaskingChecks
from actbench.store.store import Store
from actbench.study.study import Study, Trial, trial_id
from actbench.study.toml import study_from_toml, study_to_toml
from helpers.stored import stored_form
from helpers.synthetic import synthetic_records

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from actbench.api.results import Results
    from helpers.runs import Outcome

ATTACKS = ("fgsm", "pgd:steps=2", "square:queries=3")
ATTACKED = Study(
    activations=("relu", "leaky_relu:0"),
    seeds=(0,),
    train_images=128,
    epochs=2,
    corruptions=(),
    attacks=ATTACKS,
    attack_images=40,
    epsilons=(8 / 255, 0.2),
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run(ATTACKED, tmp_path_factory.mktemp("attacked") / "out", workers=0, quiet=True)


# a real study


def test_there_is_a_row_for_each_trial_attack_and_epsilon(results: Results) -> None:
    table = pd.read_csv(results.folder / "attacks.csv")
    assert list(table)[:5] == ["activation", "seed", "attack", "epsilon", "accuracy"]
    assert len(table) == 2 * 3 * 2
    assert set(table["attack"]) == set(ATTACKS)
    # fortieths, as forty images were attacked
    assert np.allclose(table["accuracy"] * 40 % 1, 0)


def test_an_attack_never_increases_accuracy(results: Results) -> None:
    unchanged = results.unattacked().set_index(["activation", "seed"])["accuracy"]
    for key, part in results.attacks.groupby(["activation", "seed"]):
        assert part["accuracy"].max() <= unchanged[key]


def test_all_trials_are_attacked_with_the_same_random_numbers(results: Results) -> None:
    """A slope of zero, which equals ReLU to the last bit, is therefore attacked in the same way."""
    by_activation = {
        name: part.drop(columns="activation").reset_index(drop=True)
        for name, part in results.attacks.groupby("activation")
    }
    pd.testing.assert_frame_equal(by_activation["relu"], by_activation["leaky_relu:0"])


@pytest.mark.usefixtures("short_report")
def test_a_trial_gives_the_same_record_again(results: Results, tmp_path: Path) -> None:
    alone = dataclasses.replace(results.study, activations=("relu",))
    again = run(alone, tmp_path / "again", workers=0, quiet=True)
    name = f"trials/{trial_id(alone, Trial('relu', 0))}.json"
    assert (again.folder / name).read_bytes() == (results.folder / name).read_bytes()


def test_a_record_with_attacks_is_read_back_from_json_unchanged(results: Results) -> None:
    assert [result.masking.images for result in results.records if result.masking] == [40, 40]
    stored = Store(results.folder).open(results.study).records()
    for record in stored.values():
        assert [checks.images for checks in record.gradients] == [40]
        assert record_from_json(record_to_json(record)) == record


def test_the_report_shows_robust_accuracy_with_paired_differences(results: Results) -> None:
    summary = (results.folder / "summary.md").read_text(encoding="utf-8")
    assert "## Accuracy under attack, %" in summary
    assert "on the first 40 test images" in summary
    page = (results.folder / "report.html").read_text(encoding="utf-8")
    assert "Accuracy under attack, %" in page
    assert results.plot("attacks").axes
    compared = set(results.comparisons["metric"])
    assert {robust_metric(a, e) for a in ATTACKS for e in ATTACKED.epsilons} <= compared


# the study


def test_attack_specs_are_resolved_before_training() -> None:
    study = dataclasses.replace(ATTACKED, attacks=("pgd:norm=l2,steps=10", "square:200"))
    assert prepare_study(study).study.attacks == ("pgd:norm=l2", "square:queries=200")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--attacks", "pdg"], "did you mean 'pgd'?"),
        (["--attacks", "square:norm=l1"], "must be one of linf, l2"),
        (["--attacks", "none,fgsm"], "'none' beside other names"),
        (["--attacks", "fgsm", "--epsilons", "two"], "is not a list of numbers"),
        (["--attacks", "fgsm", "--epsilons", "1/0"], "is not a list of numbers"),
        (["--attacks", "fgsm", "--epsilons", "-1/255"], "epsilons is"),
        (["--attacks", "fgsm", "--epsilons", "nan"], "epsilons is"),
        (["--attacks", "fgsm", "--attack-images", "0"], "attack_images is 0"),
    ],
)
def test_a_wrong_attack_is_one_line_before_any_training(
    arguments: list[str], says: str, tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    done = actbench_here("run", *arguments, "--workers", "0", "--out", "nothing")
    assert done.code == 2
    assert says in done.err
    assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "nothing").exists()


def test_too_few_classes_for_an_attack_are_one_line_before_any_training(
    tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("ant", "bee", "cat"):
            folder = tmp_path / "images" / part / name
            folder.mkdir(parents=True)
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / "1.png")
    data = ("--dataset", "imagefolder", "--data-dir", "images", "--out", "nothing")
    done = actbench_here("run", *data, "--attacks", "pgd,apgd:loss=dlr_targeted")
    assert done.code == 2
    assert done.err.splitlines()[-1].endswith(
        "attack 'apgd:loss=dlr_targeted' needs 10 classes or more, and there are 3; give loss=ce"
    )
    assert not (tmp_path / "nothing").exists()


def test_a_comma_within_an_attack_does_not_end_it(actbench_here: Callable[..., Outcome]) -> None:
    done = actbench_here("run", "--attacks", "pgd:steps=20,norm=l1,square", "--dry-run")
    assert done.code == 2
    assert "attack 'pgd': norm is 'l1'; it must be one of linf, l2" in done.err


@pytest.mark.usefixtures("short_report")
def test_epsilons_may_be_fractions_of_255(
    tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    (tmp_path / "base.toml").write_text(study_to_toml(dataclasses.replace(ATTACKED, attacks=())))
    done = actbench_here(
        *shlex.split(
            "run --config base.toml --epochs 1 --attacks fgsm --epsilons '2/255, 0.1' --workers 0 "
            "--json --out out"
        )
    )
    printed = json.loads(done.out)
    assert printed["study"]["epsilons"] == [2 / 255, 0.1]
    shown = [row["epsilon"] for row in printed["attacks"]]
    assert shown == pytest.approx([2 / 255, 0.1] * 2)


def test_attacks_are_listed(actbench_here: Callable[..., Outcome]) -> None:
    done = actbench_here("list", "attacks")
    for part in ("fgsm", "pgd", "square", "steps=10", "queries=5000", "arXiv:1706.06083"):
        assert part in done.out
    (autoattack,) = (line for line in done.out.splitlines() if line.startswith("autoattack"))
    assert "7810 + 1900" in autoattack  # passes per image


def test_an_epsilon_is_read_back_from_the_studys_toml_to_the_last_bit() -> None:
    study = Study(attacks=("pgd:steps=20,norm=l2",), epsilons=(1 / 255, 0.1 + 0.2))
    assert study_from_toml(study_to_toml(study), "here") == study


@pytest.mark.parametrize(
    ("epsilon", "text"),
    [(8 / 255, "8/255"), (0.5 / 255, repr(0.5 / 255)), (0.1, "0.1"), (1.0, "1.0"), (3.0, "3.0")],
)
def test_an_epsilon_that_is_a_multiple_of_1_255_is_written_as_a_fraction(epsilon, text) -> None:
    assert epsilon_text(epsilon) == text


def test_an_attack_named_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="'fgsm' twice"):
        Study(attacks=("fgsm", "fgsm"))


# the warning next to the value

MASKED = MaskingChecks(50, 10, 0.5, 0.0, ((8 / 255, 0.25),), 0.0, 0.0)
SIGN = "50.0% of 50 images have an input gradient of zero"


@pytest.fixture(scope="module")
def guarded() -> Frames:
    """Three seeds of two activations, the gradients of one masked in a single trial."""
    study = Study(
        activations=("relu", "tanh", "elu"),
        seeds=3,
        corruptions=(),
        attacks=("fgsm", "square"),
        attack_images=MASKED.images,
    )
    records = {}
    for name, record in synthetic_records(study).items():
        hit = (record.activation, record.seed) == ("tanh", 1)
        masking = MASKED if hit else clean_masking()
        records[name] = dataclasses.replace(record, masking=masking)
    return Frames(study, records)


def test_the_csv_files_show_which_trials_have_masked_gradients(guarded: Frames) -> None:
    warned = guarded.attacks[guarded.attacks["warning"] != ""]
    assert set(zip(warned["activation"], warned["seed"], strict=True)) == {("tanh", 1)}
    assert warned["warning"].str.contains(SIGN, regex=False).all()
    summary = guarded.summary.set_index("activation")
    assert dict(summary["masking_warnings"]) == {"relu": 0, "tanh": 1, "elu": 0}
    notes = guarded.comparisons.set_index(["activation", "metric"])["note"]
    metric = robust_metric("fgsm", 8 / 255)
    assert "signs of masked gradients in 1 of tanh" in notes["tanh", metric]
    assert "masked" not in notes["tanh", "clean_accuracy"]
    assert "masked" not in notes["elu", metric]


def test_the_tables_mark_each_cell_and_state_the_reason(guarded: Frames) -> None:
    lines = [" ".join(line.split()) for line in summary_markdown(guarded).splitlines()]
    (row,) = (line for line in lines if line.startswith("| tanh") and "| fgsm |" in line)
    assert row.count("⚠") == len(guarded.study.epsilons) + 1
    assert "1 of 3 trials ⚠" in row
    (warning,) = (line for line in lines if line.startswith("**Warning:**"))
    assert SIGN in warning
    differences = [line for line in lines if "accuracy under fgsm at ε = 8/255" in line]
    assert ["⚠" in line for line in differences] == [True, False]


def test_page_latex_and_figure_warn_as_well(guarded: Frames) -> None:
    drawn = FIGURES["attacks"].target(guarded)
    page = to_html(guarded, {"attacks": '<svg xmlns="http://www.w3.org/2000/svg"></svg>'}, {}, "0")
    (answer, _, after) = page.partition("<figcaption")
    assert "<summary>⚠ tanh: accuracy under attack may be overstated" in answer
    assert answer.count("⚠ masked gradients?") == len(guarded.study.epsilons) * 2 + 1  # and one sum
    assert SIGN in after
    assert SIGN in caption("attacks", guarded)
    labels = [text.get_text() for legend in drawn.legends for text in legend.get_texts()]
    assert labels == ["relu", "tanh ⚠", "elu"]
    assert r"\textbf{(!)}" in summary_latex(guarded)


def test_masked_gradients_in_other_studies_are_noted(guarded: Frames) -> None:
    table = compare_paired_studies({"a": guarded, "b": guarded})
    noted = table[table["note"].str.contains("signs of masked gradients")]
    assert set(noted["activation"]) == {"tanh", ALL}
    assert set(noted["metric"]) == {
        robust_metric(a, e) for a in guarded.study.attacks for e in guarded.study.epsilons
    }


@pytest.mark.usefixtures("short_report")
def test_the_terminal_warns_as_well(
    guarded: Frames, tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    store = Store(tmp_path / "guarded")
    store.open(guarded.study).begin()
    for result in guarded.records:
        store.open(guarded.study).write(stored_form(result))
    done = actbench_here("report", "guarded")
    assert done.code == 0
    assert "⚠ accuracy under attack may be overstated" in done.out
    assert re.search(r"masked gradients in trials of .*tanh \d/\d", done.out)


def test_outputs_that_mislead_attacks_give_a_warning_as_masked_gradients_do(
    guarded: Frames,
) -> None:
    sign = "its outputs are probabilities"
    records = {
        r.trial_id: dataclasses.replace(r, masking=clean_masking(), output_warnings=(sign,))
        if r.activation == "elu"
        else r
        for r in guarded.records
    }
    frames = Frames(guarded.study, records)
    warned = frames.attacks[frames.attacks["activation"] == "elu"]["warning"]
    assert (warned == sign).all()
    assert dict(frames.summary.set_index("activation")["masking_warnings"])["elu"] == 3
    text = summary_markdown(frames)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    rows = [line for line in lines if line.startswith("| elu") and "| fgsm" in line]
    assert [row.count("⚠") for row in rows] == [len(frames.study.epsilons) + 1]
    assert f"**Warning:** elu, 3 of 3 trials: {sign}." in lines


def clean_masking() -> MaskingChecks:
    return MaskingChecks(50, 10, 0.0, 0.0, (), 0.0, 0.0)
