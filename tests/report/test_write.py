"""Every derived file, and a page that needs no network."""

from __future__ import annotations

import functools
import html
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import numpy as np
import pytest

from actbench.analysis.frames import Frames
from actbench.errors import ResultsFolderError
from actbench.report.html import to_html
from actbench.report.samples import SAMPLES_FILE, samples_from_png, samples_to_png
from actbench.report.write import write_report
from actbench.store.store import Store
from actbench.study.study import Study
from helpers.synthetic import synthetic_records, synthetic_samples, synthetic_store

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.figures

SLOPES = ("relu", "leaky_relu:0.01", "leaky_relu:0.1")
NOISES = ("gaussian_noise", "shot_noise")
SCRIPT = "<script>alert('x')</script>"
HOSTILE = {
    "activations": ("relu", f'm:{SCRIPT}|$x_1$&"--><b>', "m:" + "a" * 300),
    "dataset_name": f'{SCRIPT}|"quoted"' + "d" * 300,
    "data_dir": f"/tmp/{SCRIPT}",
}
ENVIRONMENT = {
    "start": "2026-01-02T03:04:05+00:00",
    "processor": "A processor <model>",
    "cores": 2,
    "packages": {"torch": "2.10"},
    "seconds": {"one": 1.0, "two": 3.0},
}
FILES = {
    "trials.csv",
    "summary.csv",
    "comparisons.csv",
    "corruptions.csv",
    "attacks.csv",
    "gradients.csv",
    "mechanism.csv",
    "sensitivity.csv",
    "samples.png",
    "corruption_differences.csv",
    "class_summary.csv",
    "study.toml",
    "environment.json",
    "summary.md",
    "summary.tex",
}
VOID = {"meta", "link", "br", "img", "hr", "input"}


def study_of(**changes: object) -> Study:
    values = {"activations": SLOPES, "seeds": 3, "epochs": 2, "corruptions": NOISES, **changes}
    return Study(**values)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with its report, with one diverged trial and a strip of samples."""
    study = study_of()
    store = synthetic_store(
        tmp_path_factory.mktemp("results"), study, failed={("leaky_relu:0.1", 2): "diverged"}
    )
    store.write_environment(ENVIRONMENT)
    store.write_bytes(SAMPLES_FILE, samples_to_png(synthetic_samples(NOISES)))
    write_report(store, study)
    return store.folder


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def hostile() -> str:
    study = study_of(**HOSTILE, seeds=2)
    frames = Frames(study, synthetic_records(study, failed={("relu", 1): "crashed"}))
    svgs = {"severity": '<svg xmlns="http://www.w3.org/2000/svg"></svg>'}
    return to_html(frames, svgs, {**ENVIRONMENT, "system": SCRIPT, "git_commit": '"><b>'}, "0")


class Page(HTMLParser):
    """The elements of a page, in order; fails if one is not closed correctly."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Add an element; no attribute may occur twice."""
        assert len({name for name, _ in attrs}) == len(attrs)
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Add an element that closes itself, as in SVG."""
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close the innermost element, which this must be."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Add visible text."""
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        """The visible text, in one line."""
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        """Return the attributes of every element of this name."""
        return [attributes for name, attributes in self.elements if name == tag]


parsed = functools.cache(Page)


def test_every_derived_file_is_written(folder: Path) -> None:
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    names = ("differences", "severity", "slope", "gradient_depth", "gradient_norms", "training")
    names = (*names, "inactive_units", "corruptions", "corruption_differences")
    wanted = {f"figures/{name}.{ending}" for name in names for ending in ("svg", "png")}
    assert found >= wanted | {"report.html", "summary.md", "trials.csv", "comparisons.csv"}


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}


@pytest.mark.slow
def test_written_again_every_file_has_the_same_bytes(folder: Path) -> None:
    before = content(folder)
    store = Store(folder)
    write_report(store, store.study())
    assert content(folder) == before


def test_a_small_report_is_written_again_and_what_the_records_no_longer_give_removed(
    tmp_path: Path,
) -> None:
    study = study_of(activations=("relu",), corruptions=(), seeds=1, epochs=1)
    store = synthetic_store(tmp_path, study)
    write_report(store, study)
    before = content(tmp_path)
    store.write_text("figures/severity.svg", "stale")
    store.write_text("figures/mine.svg", "kept")
    write_report(store, study)
    after = content(tmp_path)
    assert after.pop(tmp_path / "figures" / "mine.svg") == b"kept"
    assert after == before


def test_without_a_stored_trial_there_is_no_report(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.open(study_of()).begin()
    with pytest.raises(ResultsFolderError, match="no finished trial"):
        write_report(store, study_of())


def test_the_page_is_wellformed_with_one_heading_of_the_first_level(page: str) -> None:
    found = parsed(page)
    assert page.startswith("<!doctype html>")
    assert len(found.all("h1")) == 1
    assert found.all("html") == [{"lang": "en"}]
    assert len(found.all("figure")) == len(found.all("figcaption")) == 9
    assert sum(svg.get("role") == "img" for svg in found.all("svg")) == 9
    named = [t for t in found.all("table") if {"aria-label", "aria-labelledby"} & set(t)]
    assert len(found.all("table")) == len(found.all("caption")) + len(named)
    assert {cell.get("scope") for cell in found.all("th")} == {"col", "row", "rowgroup"}


def test_ids_are_unique_and_every_reference_resolves(page: str) -> None:
    found = parsed(page)
    ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = set(re.findall(r'(?:href="|url\()#([^")]+)', page))
    wanted |= {a["aria-labelledby"] for _, a in found.elements if "aria-labelledby" in a}
    assert wanted <= set(ids)


@pytest.mark.parametrize("which", ["page", "hostile"])
def test_the_page_loads_nothing_from_the_network(
    which: str, request: pytest.FixtureRequest
) -> None:
    text: str = request.getfixturevalue(which)
    found = parsed(text)
    for tag, attributes in found.elements:
        for name, value in attributes.items():
            if name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
                assert value.startswith(("#", "data:")) or (tag == "a" and value in FILES)
            assert not re.search(r"url\((?!#|['\"]?data:)", value)
    style = "".join(re.findall(r"<style>(.*?)</style>", text, flags=re.DOTALL))
    assert "@import" not in style
    assert "url(" not in style
    without_namespaces = re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)
    assert not re.search(r"https?:", without_namespaces)
    assert "content=\"default-src 'none'; img-src data:;" in text


def test_only_its_own_script_may_run(hostile: str) -> None:
    found = parsed(hostile)
    assert len(found.all("script")) == 1
    assert not any(name.startswith("on") for _, a in found.elements for name in a)
    assert re.search(r"script-src 'sha256-[A-Za-z0-9+/]{43}='", hostile)


def test_hostile_names_are_shown_as_they_are(hostile: str) -> None:
    found = parsed(hostile)
    for name in (*HOSTILE["activations"], HOSTILE["dataset_name"]):
        assert name in found.text
        assert html.escape(name, quote=False) in hostile.replace("&#34;", '"').replace("&#39;", "'")
    assert len(found.all("b")) == sum("data-kind" in cell for cell in found.all("td")) > 0
    assert SCRIPT not in hostile


def test_the_result_comes_first(page: str) -> None:
    text = parsed(page).text
    text = text[text.index("2 activations against relu") :]
    order = [
        "Result",
        "1 of 9 trials have no result",
        "corrupted accuracy, at matched clean accuracy",
        "comparisons undecided",
        "over relu",
        "All comparisons with relu",
        "Paired differences from relu",
        "Activations in the figures",
        "Mean ± standard deviation",
        "Accuracy by corruption and severity",
        "Trials without a result",
        "How it was measured",
        "actbench run --config study.toml --out",
        "comparisons.csv a row per activation",
    ]
    positions = [text.index(words) for words in order]
    assert positions == sorted(positions)


def test_the_page_shows_what_failed_and_how_it_was_measured(page: str) -> None:
    text = parsed(page).text
    assert "1 of 9 trials have no result" in text
    assert "the loss was not finite at step 3 <of epoch 1>" in text
    for words in ("adam with learning rate 0.002", "A processor <model>", "torch 2.10", "0, 1, 2"):
        assert words in text


def test_the_page_warns_if_the_study_is_not_finished(tmp_path: Path) -> None:
    study = study_of(seeds=2, epochs=1)
    records = synthetic_records(study)
    records.popitem()
    text = parsed(to_html(Frames(study, records), {}, {}, "0")).text
    assert "The study is not finished: 5 of 6 trials are stored." in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"activations": ("relu",)}, "nothing to compare"),
        ({"seeds": 1}, "no verdict"),
        ({"corruptions": ()}, "Clean accuracy"),
    ],
    ids=str,
)
def test_a_small_study_has_a_page(changes: dict[str, object], words: str) -> None:
    study = study_of(**changes)
    text = parsed(to_html(Frames(study, synthetic_records(study)), {}, {}, "0")).text
    assert words in text
    assert "nan" not in re.findall(r"\w+", text.lower())


def test_a_study_without_any_result_has_a_page() -> None:
    study = study_of()
    failed = {(trial.activation, trial.seed): "diverged" for trial in study.trials()}
    page = to_html(Frames(study, synthetic_records(study, failed=failed)), {}, {}, "0")
    assert "9 of 9 trials have no result" in parsed(page).text


def test_samples_are_read_back_as_they_were_stored() -> None:
    samples = synthetic_samples(NOISES)
    content = samples_to_png(samples)
    found = samples_from_png(content, NOISES)
    assert found.keys() == samples.keys()
    assert all(np.array_equal(found[key], samples[key]) for key in samples)


@pytest.mark.parametrize(
    "content", [b"", b"no picture", samples_to_png(synthetic_samples(NOISES[:1]))]
)
def test_samples_that_do_not_fit_are_left_out(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        samples_from_png(content, NOISES)
