"""Each setting is declared once, for its option, its help, its comment and its row in the docs."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from actbench.cli.main import run
from actbench.cli.options import Seeds
from actbench.errors import UsageError
from actbench.study.fields import GROUPS, Setting, settings_of
from actbench.study.run_options import RunOptions
from actbench.study.study import Study
from actbench.study.toml import study_from_toml

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers.runs import Outcome

REPOSITORY = Path(__file__).parents[2]
SETTINGS = [*settings_of(Study), *settings_of(RunOptions)]


@pytest.mark.parametrize("item", SETTINGS, ids=lambda item: item.name)
def test_help_shows_a_setting_in_its_group(
    item: Setting, actbench_here: Callable[..., Outcome]
) -> None:
    sections: dict[str, str] = {}
    group = ""
    for line in actbench_here("run", "--help").out.splitlines():
        if line.rstrip(":") in GROUPS:
            group = line.rstrip(":")
        sections[group] = sections.get(group, "") + line + "\n"
    if item.flag is None:
        assert item.name.replace("_", "-") not in sections[item.group]
    else:
        assert f"  {item.flag}" in sections[item.group]


def test_help_breaks_no_word(
    actbench_here: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = set(actbench_here("run", "--help").out.split())
    words = {word for item in SETTINGS if item.flag is not None for word in item.help.split()}
    assert words - shown == set()


@pytest.mark.parametrize(
    ("text", "seeds"), [("2", 2), ("2,", [2]), ("3,7", [3, 7]), ("3,7,", [3, 7])]
)
def test_seeds_are_a_count_or_a_list(text: str, seeds: object) -> None:
    assert Seeds().convert(text, None, None) == seeds


@pytest.mark.parametrize("text", ["", ",", "2,,", "1.5", ",2"])
def test_other_seeds_are_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"a count such as 5 nor a list such as 3,7,11"):
        Seeds().convert(text, None, None)


def test_the_options_page_is_current() -> None:
    path = REPOSITORY / "tools" / "options_page.py"
    found = importlib.util.spec_from_file_location("options_page", path)
    assert found is not None
    assert found.loader is not None
    tool = importlib.util.module_from_spec(found)
    found.loader.exec_module(tool)
    assert tool.PAGE.read_text(encoding="utf-8") == tool.page()


def test_init_writes_the_default_study_with_a_comment_per_field(
    actbench_here: Callable[..., Outcome], tmp_path: Path
) -> None:
    assert actbench_here("init", "mine.toml").code == 0
    text = (tmp_path / "mine.toml").read_text(encoding="utf-8")
    assert study_from_toml(text, "mine.toml") == Study()
    lines = text.splitlines()
    for item in settings_of(Study):
        position = next(i for i, line in enumerate(lines) if line.startswith(f"{item.name} = "))
        assert lines[position - 1].startswith("# ")


def test_init_overwrites_nothing(actbench_here: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text("mine", encoding="utf-8")
    outcome = actbench_here("init")
    assert outcome.code == 2
    assert "'study.toml' already exists" in outcome.err
    assert (tmp_path / "study.toml").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["relu,leaky_relu:0.1"], ["relu", "leaky_relu:0.1"]),
        (["relu", " gelu , tanh"], ["relu", "gelu", "tanh"]),
        (
            ["rrelu:lower=0.1,upper=0.3,relu,hardtanh:min_val=-2,max_val=2"],
            ["rrelu:lower=0.1,upper=0.3", "relu", "hardtanh:min_val=-2,max_val=2"],
        ),
        (
            ["./mine.py:act:a=1,b=2,package.mine:Act,elu:alpha=2"],
            ["./mine.py:act:a=1,b=2", "package.mine:Act", "elu:alpha=2"],
        ),
    ],
)
def test_activations_are_separated_by_commas_that_are_not_part_of_a_spec(
    given: list[str], expected: list[str]
) -> None:
    context = run.make_context(
        "run", [part for text in given for part in ("--activation", text)], resilient_parsing=False
    )
    assert context.params["activations"] == tuple(expected)


def test_zero_on_the_command_line_is_a_value(
    actbench_here: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.toml").write_text(
        "weight_decay = 0.5\ntrain_images = 100\n", encoding="utf-8"
    )
    received: list[tuple[Study, RunOptions]] = []

    def run(study: Study, out: Path, options: RunOptions, on_event: object) -> None:
        received.append((study, options))
        raise UsageError("stop")

    monkeypatch.setattr("actbench.api.studies.run_in_folder", run)
    options = ("--weight-decay", "0", "--train-images", "0", "--workers", "0")
    actbench_here("run", "--config", "mine.toml", *options)
    [(study, run_options)] = received
    assert (study.weight_decay, study.train_images, run_options.workers) == (0, 0, 0)
