"""actbench compare: the shared activations of studies, and whether their verdicts agree."""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from actbench.analysis.studies import STUDY_COLUMNS, compare_studies, read_studies
from actbench.errors import ResultsFolderError, UsageError
from actbench.report.studies import studies_figures, studies_files
from helpers.made_studies import made_folder, made_frames
from helpers.runs import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from actbench.analysis.frames import Frames

RELU = (0.80, 0.81, 0.80, 0.82, 0.81)
LEAKY = "leaky_relu:0.1"
BETTER = (0.84, 0.85, 0.84, 0.86, 0.86)
WORSE = (0.76, 0.77, 0.76, 0.78, 0.76)
EQUAL = RELU
UNCLEAR = (0.70, 0.90, 0.75, 0.88, 0.80)


@cache
def study(leaky: tuple[float, ...], **options: object) -> Frames:
    """Return a study with these clean accuracies under leaky ReLU, one for each seed."""
    return made_frames({"relu": RELU, LEAKY: leaky}, **options)


def agreement(table: pd.DataFrame, metric: str = "clean_accuracy") -> str:
    (word,) = set(table.loc[table["metric"] == metric, "agreement"])
    return word


@pytest.mark.parametrize(
    ("samples", "word"),
    [
        ([BETTER, BETTER], "agree"),
        ([EQUAL, EQUAL], "agree"),
        ([BETTER, WORSE], "differ"),
        ([BETTER, EQUAL], "differ"),
        ([BETTER, UNCLEAR], "open"),
        ([UNCLEAR, UNCLEAR], "open"),
        ([BETTER, BETTER, UNCLEAR], "open"),
        ([BETTER, UNCLEAR, WORSE], "differ"),
        ([BETTER, BETTER, BETTER], "agree"),
    ],
)
def test_verdicts_agree_differ_or_are_open(samples: list[tuple[float, ...]], word: str) -> None:
    table = compare_studies({str(at): study(sample) for at, sample in enumerate(samples)})
    assert agreement(table) == agreement(table, "corrupted_accuracy") == word


def test_a_single_pair_leaves_agreement_open() -> None:
    single = made_frames({"relu": RELU[:1], LEAKY: BETTER[:1]})
    assert agreement(compare_studies({"a": study(BETTER), "b": single})) == "open"


def test_each_row_is_the_studys_own_comparison() -> None:
    studies = {"a": study(BETTER), "b": study(WORSE)}
    table = compare_studies(studies)
    assert tuple(table.columns) == STUDY_COLUMNS
    for name, frames in studies.items():
        own = frames.comparisons.set_index(["activation", "metric"])
        rows = table[table["study"] == name].set_index(["activation", "metric"])
        assert list(rows.index.get_level_values("metric")) == [
            "clean_accuracy",
            "corrupted_accuracy",
            "grad_norm_first",
            "grad_norm_ratio",
        ]
        for column in ("n", "difference", "ci_low", "ci_high", "p_holm", "verdict"):
            assert rows[column].tolist() == own.loc[rows.index, column].tolist()


def test_gradients_are_compared_by_direction() -> None:
    table = compare_studies({"a": study(BETTER), "b": study(BETTER, first_norm=10)})
    rows = table[table["metric"] == "grad_norm_first"]
    assert rows["verdict"].tolist() == ["higher", "higher"]
    assert rows["difference"].tolist() == pytest.approx([1, 10], abs=0.01)
    assert agreement(table, "grad_norm_first") == "agree"


def test_activations_missing_from_a_study_are_named_and_excluded() -> None:
    more = made_frames({"relu": RELU, "mish": BETTER, LEAKY: BETTER, "gelu": BETTER})
    studies = {"few": study(BETTER), "many": more}
    assert set(compare_studies(studies)["activation"]) == {LEAKY}
    left_out = studies_files(studies)["compare.md"].partition("not all studies have")[2]
    assert [line for line in left_out.splitlines() if "many" in line] == [
        "| mish         |    many |",
        "| gelu         |    many |",
    ]


def test_corrupted_accuracy_needs_the_same_corruptions() -> None:
    studies = {"a": study(BETTER), "b": study(BETTER, corruptions=("shot_noise",))}
    metrics = set(compare_studies(studies)["metric"])
    assert metrics == {"clean_accuracy", "grad_norm_first", "grad_norm_ratio"}
    assert "Corrupted accuracy is left out" in studies_files(studies)["compare.md"]


def test_markdown_shows_each_difference_with_interval_n_and_verdict() -> None:
    studies = {"one | study": study(BETTER), "another": study(UNCLEAR, steps=200)}
    text = studies_files(studies)["compare.md"]
    assert "4 comparisons: 2 agree, 0 differ, 2 open." in text
    row, over = (line for line in text.splitlines() if "clean accuracy" in line)
    assert over.rstrip(" |").endswith("no verdict")
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:3] == [LEAKY, "clean accuracy, points", "+4.20 [+3.64, +4.76], n = 5: better"]
    assert cells[3].endswith("n = 5: undecided")
    assert cells[4] == "open"
    assert r"one \| study" in text
    assert "nan" not in text
    last = text.replace(r"\|", "").splitlines()[-2:]
    lengths = [line.split("|")[4].strip() for line in last]
    assert lengths == [f"{studies['one | study'].study.epochs} epochs", "200 steps"]


def test_csv_holds_the_table() -> None:
    studies = {"a": study(BETTER), "b": study(WORSE)}
    written = pd.read_csv(io.StringIO(studies_files(studies)["compare.csv"]))
    pd.testing.assert_frame_equal(written, compare_studies(studies), check_dtype=False)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"baseline": LEAKY}, "one baseline, but it is relu in a; leaky_relu:0.1 in b"),
        ({"margin": 0.01}, "one margin, but it is 0.005 in a; 0.01 in b"),
    ],
)
def test_studies_with_another_question_are_refused(changes: dict[str, object], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        compare_studies({"a": study(BETTER), "b": study(BETTER, **changes)})


def test_studies_without_a_shared_activation_are_refused() -> None:
    other = made_frames({"relu": RELU, "mish": BETTER})
    with pytest.raises(UsageError, match="share no activation"):
        compare_studies({"a": study(BETTER), "b": other})


def test_studies_of_the_same_name_are_distinguished_by_folder(tmp_path: Path) -> None:
    accuracies = {"relu": RELU, LEAKY: BETTER}
    folders = [made_folder(tmp_path / name, accuracies) for name in ("a", "b")]
    folders.append(made_folder(tmp_path / "c", accuracies, dataset_name="other"))
    assert list(read_studies(folders)) == [
        f"digits, cnn ({folders[0]})",
        f"digits, cnn ({folders[1]})",
        "other, cnn",
    ]


def test_folders_must_be_two_different_results_folders(tmp_path: Path) -> None:
    one = made_folder(tmp_path / "one", {"relu": RELU, LEAKY: BETTER})
    with pytest.raises(UsageError, match="at least two"):
        read_studies([one])
    (tmp_path / "link").symlink_to(one)
    with pytest.raises(UsageError, match="named twice"):
        read_studies([one, tmp_path / "link"])
    with pytest.raises(ResultsFolderError, match=r"study\.toml"):
        read_studies([one, tmp_path])


def test_the_command_prints_markdown_and_writes_both_files(
    tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    one = made_folder(tmp_path / "one", {"relu": RELU, LEAKY: BETTER})
    two = made_folder(tmp_path / "two", {"relu": RELU, LEAKY: WORSE}, dataset_name="other")
    outcome = actbench_here("compare", str(one), str(two), "--out", str(tmp_path / "out"))
    studies = read_studies([one, two])
    files = {**studies_files(studies), **studies_figures(studies)}
    assert outcome == Outcome(0, files["compare.md"], "")
    assert set(files) > {"compare.md", "compare.csv", "settings.csv"}
    written = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "out").iterdir()}
    assert written == files


@pytest.mark.parametrize(
    ("folders", "code"), [(["one"], 2), (["one", "one"], 2), (["one", "none"], 3), ([], 2)]
)
def test_the_command_reports_bad_input_in_one_line(
    folders: list[str], code: int, tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    made_folder(tmp_path / "one", {"relu": RELU, LEAKY: BETTER})
    outcome = actbench_here("compare", *folders)
    assert (outcome.code, outcome.out) == (code, "")
    assert outcome.err.startswith("actbench: ")
    assert outcome.err.count("\n") == 1
