"""The Python API: run, load, plot and grow a study; the examples of docs/api.md."""

from __future__ import annotations

import contextlib
import io
import random
import re
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import torch

import actbench
from actbench.api.events import Note
from actbench.api.results import FRAMES
from actbench.api.studies import default_folder, plan_interim_analyses
from actbench.errors import ResultsFolderError, UsageError
from actbench.execution.executors import crashed
from actbench.store.store import Store
from actbench.study.run_options import RunOptions
from actbench.study.study import Trial
from helpers.made_studies import made_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers.runs import Outcome

API_PAGE = Path(__file__).parents[2] / "docs" / "api.md"
STUDY = actbench.Study(
    activations=["relu", "leaky_relu:0.1"],
    seeds=2,
    epochs=1,
    train_images=64,
    corruptions=["gaussian_noise"],
)
RELU = [0.80, 0.81, 0.80, 0.82, 0.81]
BETTER = [0.84, 0.85, 0.84, 0.86, 0.86]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> actbench.Results:
    """Return the small study's results, run once without output; read-only."""
    printed = io.StringIO()
    with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(printed):
        done = actbench.run(STUDY, tmp_path_factory.mktemp("api") / "run", workers=0, quiet=True)
    assert printed.getvalue() == ""
    return done


def test_importing_the_package_loads_none_of_the_heavy_libraries() -> None:
    code = "import actbench, sys; actbench.Study(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"torch", "pandas", "scipy", "matplotlib"}.isdisjoint(done.stdout.split())


def test_the_public_names_are_exactly_these() -> None:
    names = {"Results", "RunOptions", "Study", "arrays", "from_dataset", "load", "measure", "run"}
    assert set(actbench.__all__) == names | {"claim_study", "swap_activations"}
    for name in actbench.__all__:
        assert name in dir(actbench)
        assert getattr(actbench, name).__doc__
    with pytest.raises(AttributeError, match="'rum'"):
        actbench.rum  # noqa: B018


def test_results_are_data_frames(results: actbench.Results) -> None:
    assert results.complete
    assert results.study.seeds == (0, 1)
    assert results.trials[["activation", "seed", "status"]].to_numpy().tolist() == [
        ["relu", 0, "ok"],
        ["relu", 1, "ok"],
        ["leaky_relu:0.1", 0, "ok"],
        ["leaky_relu:0.1", 1, "ok"],
    ]
    assert len(results.summary) == 2
    assert set(results.comparisons["activation"]) == {"leaky_relu:0.1"}
    assert len(results.corruptions) == 4 * 5
    assert len(results.epochs) == 4
    assert set(results.gradients["epoch"]) == {1}
    assert len(results.inactive) == 4 * results.inactive["layer"].nunique()
    assert len(results.variance) == 2
    assert [sentence.partition(" — ")[0] for sentence in results.verdicts] == ["leaky_relu:0.1"]
    assert repr(results) == f"<Results of digits, cnn: 4 of 4 trials, in {str(results.folder)!r}>"


def test_loaded_results_equal_those_of_the_run(results: actbench.Results) -> None:
    loaded = actbench.load(str(results.folder))
    assert loaded.study == results.study
    for name in ("trials", "corruptions", "gradients", "summary", "comparisons", "variance"):
        pd.testing.assert_frame_equal(getattr(loaded, name), getattr(results, name))


def test_running_again_trains_nothing(
    results: actbench.Results, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in (results.folder / "trials").iterdir()}
    again = actbench.run(STUDY, results.folder, workers=0)
    assert {p: p.stat().st_mtime_ns for p in (results.folder / "trials").iterdir()} == before
    pd.testing.assert_frame_equal(again.trials, results.trials)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "all 4 trials are stored already" in printed.err


def test_the_command_line_finds_the_same_folder_done(
    results: actbench.Results, actbench_here: Callable[..., Outcome]
) -> None:
    config = str(results.folder / "study.toml")
    outcome = actbench_here("run", "--config", config, "--out", str(results.folder), "--dry-run")
    assert outcome.code == 0
    assert "4 trials, 0 to run" in outcome.out


def test_the_finished_trials_of_an_unfinished_study_are_loaded(tmp_path: Path) -> None:
    folder = made_folder(tmp_path / "part", {"relu": RELU, "leaky_relu:0.1": BETTER})
    next((folder / "trials").glob("leaky*seed4*")).unlink()
    loaded = actbench.load(folder)
    assert not loaded.complete
    assert "9 of 10 trials" in repr(loaded)
    row = loaded.comparisons.set_index("metric").loc["clean_accuracy"]
    assert row["n"] == 4


def test_a_folder_without_results_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(ResultsFolderError, match="not a results folder"):
        actbench.load(tmp_path)
    Store(tmp_path).open(STUDY).begin()
    with pytest.raises(ResultsFolderError, match="no finished trial"):
        actbench.load(tmp_path)


def test_a_wrong_study_creates_no_folder(tmp_path: Path) -> None:
    wrong = replace(STUDY, model="cnm")
    with pytest.raises(UsageError, match="did you mean 'cnn'"):
        actbench.run(wrong, tmp_path / "out", workers=0)
    with pytest.raises(UsageError, match="workers is -1"):
        actbench.run(STUDY, tmp_path / "out", workers=-1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("short_report")
def test_a_run_leaves_the_global_generators_as_they_were(tmp_path: Path) -> None:
    def states() -> tuple[object, ...]:
        in_numpy = np.random.get_state()  # noqa: NPY002 - the global one
        return torch.get_rng_state().tolist(), repr(in_numpy), random.getstate()

    before = states()
    study = actbench.Study(
        train_images=64, epochs=1, seeds=1, activations=("rrelu",), corruptions=("none",)
    )
    actbench.run(study, tmp_path / "out", workers=0, quiet=True)
    assert states() == before


def test_parquet_has_the_numbers_of_the_csv_files_to_the_bit(
    results: actbench.Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    results.to_parquet(tmp_path / "tables")
    assert {path.stem for path in (tmp_path / "tables").iterdir()} == set(FRAMES)
    for name in FRAMES:
        table = pd.read_parquet(tmp_path / "tables" / f"{name}.parquet")
        frame = getattr(results, name)
        assert list(table) == list(frame)
        assert len(table) == len(frame)
        if (csv := results.folder / f"{name}.csv").exists():
            printed = pd.read_csv(csv, dtype=str)
            for column in frame.columns[[kind.kind in "fi" for kind in frame.dtypes]]:
                found = table[column].to_numpy(np.float64, na_value=np.nan)
                np.testing.assert_array_equal(found, printed[column].to_numpy(np.float64))
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"cannot write to .*file'"):
        results.to_parquet(tmp_path / "file")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install 'actbench\[parquet\]' installs it$"):
        results.to_parquet(tmp_path / "more")


def test_what_is_no_study_is_refused() -> None:
    with pytest.raises(UsageError, match="study is 'digits'; it must be a Study"):
        actbench.run("digits")  # type: ignore[arg-type]


def test_an_unknown_option_of_run_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^run has no option 'worker'; did you mean 'workers'\?$"):
        actbench.run(STUDY, tmp_path / "out", worker=1)
    with pytest.raises(UsageError, match="did you mean 'quiet'"):
        actbench.run(STUDY, tmp_path / "out", quite=True)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_refused(results: actbench.Results) -> None:
    with (
        Store(results.folder).locked(),
        pytest.raises(ResultsFolderError, match="held by another run"),
    ):
        actbench.run(STUDY, results.folder, workers=0)


def test_the_default_folder_is_named_for_data_and_network() -> None:
    assert default_folder(STUDY) == Path("results/digits-cnn")
    unsafe = replace(STUDY, dataset="imagefolder", model="../my module:net")
    assert default_folder(unsafe) == Path("results/imagefolder-..-my-module-net")


UNTIL_DECIDED = RunOptions(until_decided=True)


def test_a_growing_study_starts_at_its_first_interim_analysis_and_keeps_its_plan() -> None:
    one_seed = replace(STUDY, seeds=[7])
    assert plan_interim_analyses(one_seed, RunOptions()) is one_seed
    first = plan_interim_analyses(one_seed, RunOptions(until_decided=True, max_seeds=6))
    assert (first.seeds, first.interim_analyses) == ((7, 8), (2, 4, 6))
    assert plan_interim_analyses(first, UNTIL_DECIDED) is first
    assert plan_interim_analyses(one_seed, UNTIL_DECIDED).interim_analyses[-1] == 30


@pytest.mark.parametrize(
    ("study", "until_decided", "max_seeds", "message"),
    [
        (STUDY, False, 9, "belongs to until_decided"),
        (STUDY, True, 1, "max_seeds is 1; it must be"),
        (replace(STUDY, seeds=5), True, 4, "starts with 5 seeds"),
        (replace(STUDY, interim_analyses=(2, 4)), True, 9, "planned to end at 4 seeds, not at 9"),
    ],
)
def test_impossible_limits_are_refused(
    study: actbench.Study, until_decided: bool, max_seeds: int, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        plan_interim_analyses(study, RunOptions(until_decided=until_decided, max_seeds=max_seeds))


@pytest.mark.usefixtures("short_report")
def test_until_decided_adds_seeds_up_to_the_limit(results: actbench.Results) -> None:
    folder = results.folder.with_name("grown")
    # a baseline above chance: at chance further seeds would not help, and the study would not grow
    study = replace(
        STUDY,
        activations=["tanh", "elu"],
        baseline="tanh",
        model="mlp:depth=1,width=16",
        epochs=3,
        train_images=256,
        corruptions=[],
    )
    events: list[object] = []
    grown = actbench.run(
        study, folder, workers=0, until_decided=True, max_seeds=3, on_event=events.append
    )
    notes = [event.text for event in events if isinstance(event, Note)]
    (first, last) = (note for note in notes if note.startswith("interim analysis"))
    assert first.startswith("interim analysis 1 of 2, after 2 seeds, at the level 0.0222: ")
    assert first.endswith("undecided; the next is after 3 seeds")
    assert last.startswith("interim analysis 2 of 2, after 3 seeds, at the level 0.0278: ")
    assert "stops, as " in last
    assert sum(note.startswith("tanh: f(−1) = ") for note in notes) == 1
    assert not grown.baseline_at_chance
    assert grown.study.interim_analyses == (2, 3)
    assert grown.study.seeds == (0, 1, 2)
    assert actbench.load(folder).study == grown.study

    # a trial that failed is retried, also if its seed was added later
    stored = Store(folder).open(grown.study)
    stored.write(crashed(grown.study, Trial("elu", 2), "its worker was lost"))
    asked = {"workers": 0, "quiet": True, "until_decided": True, "max_seeds": 3}
    assert "crashed" in set(actbench.run(study, folder, **asked).trials["status"])
    again = actbench.run(study, folder, **asked, retry_failed=True)
    assert set(again.trials["status"]) == {"ok"}


def test_a_figure_is_returned_and_an_unknown_one_is_named(results: actbench.Results) -> None:
    from matplotlib.figure import Figure

    assert isinstance(results.plot("severity"), Figure)
    assert isinstance(results.plot("corruptions"), Figure)
    with pytest.raises(UsageError, match=r"'severty'; did you mean 'severity'\?"):
        results.plot("severty")
    with pytest.raises(UsageError, match="the name of a figure is None; it must be a text"):
        results.plot(None)  # type: ignore[arg-type]


def test_a_notebook_shows_the_answer_with_all_names_escaped(tmp_path: Path) -> None:
    hostile = "m:<script>alert(1)</script>"
    folder = made_folder(tmp_path / "out", {"relu": RELU, "gelu": BETTER, hostile: RELU})
    shown = actbench.load(folder)._repr_html_()
    assert "✓" in shown
    assert "<b>better</b>" in shown
    assert "+4.20" in shown
    assert str(folder / "report.html") in shown
    assert "&lt;script&gt;" in shown
    assert "<script" not in shown


def test_a_notebook_shows_a_figure_as_a_picture(results: actbench.Results) -> None:
    picture, size = results.plot("severity")._repr_png_()
    assert picture.startswith(b"\x89PNG")
    assert size == {"width": 576}
    assert int.from_bytes(picture[16:20], "big") == 2 * 576


def here(script: Path) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.chdir(script.parent):
        runpy.run_path(str(script))
    return printed.getvalue()


def as_a_script(script: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", script.name],
        cwd=script.parent,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.usefixtures("short_report")
@pytest.mark.parametrize("run", [here, pytest.param(as_a_script, marks=pytest.mark.slow)])
def test_the_example_of_the_page_runs_unchanged(run: Callable[[Path], str], tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", API_PAGE.read_text("utf-8"), re.M | re.S)
    script = tmp_path / "example.py"
    script.write_text("".join(blocks), encoding="utf-8")
    out = run(script)
    assert "leaky_relu:0.1 — corrupted accuracy" in out
    assert "6 trials, two of them new" in out
    assert (tmp_path / "severity.svg").stat().st_size > 0
