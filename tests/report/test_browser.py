"""The page in Chromium: three widths, light, dark, printed, and without a script.

Needs the extra ``browser`` and Chromium, of the system or of ``playwright install chromium``; the
tests are skipped without them, unless ``ACTBENCH_TEST_BROWSER`` is ``required``.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse

import pytest

from actbench.report.samples import SAMPLES_FILE, samples_to_png
from actbench.report.write import write_report
from actbench.study.study import Study
from helpers.synthetic import IMAGES, synthetic_samples, synthetic_store

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUIRED = os.environ.get("ACTBENCH_TEST_BROWSER") == "required"
needed = importlib.import_module if REQUIRED else pytest.importorskip
playwright = needed("playwright.sync_api")
pytestmark = pytest.mark.figures

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
WIDTHS = (400, 1000, 1600)
SLOPES = ("relu", *(f"leaky_relu:{slope}" for slope in ("0.01", "0.05", "0.1", "0.2", "0.3")))
NOISES = ("gaussian_noise", "shot_noise", "contrast")
LONG = "a_package.with_a_long_name.activations:ActivationWithALongName"


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as started:
        try:
            found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        except playwright.Error as error:
            if REQUIRED:
                raise
            pytest.skip(f"Chromium does not start: {str(error).splitlines()[0]}")
        yield found
        found.close()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of the page of a study with all that a report can show."""
    study = Study(
        activations=(*SLOPES, LONG),
        seeds=4,
        epochs=2,
        corruptions=NOISES,
        attacks=("fgsm", "square"),
        attack_images=IMAGES,
    )
    folder = tmp_path_factory.mktemp("browser")
    store = synthetic_store(folder, study, failed={("relu", 3): "diverged"})
    store.write_bytes(SAMPLES_FILE, samples_to_png(synthetic_samples(NOISES)))
    write_report(store, study)
    return (store.folder / "report.html").as_uri()


@pytest.fixture
def opened(browser: playwright.Browser, url: str) -> Iterator[playwright.Page]:
    """The page, 1,000 pixels wide."""
    context = browser.new_context(viewport={"width": 1000, "height": 800})
    page = context.new_page()
    page.goto(url)
    yield page
    context.close()


def shown(page: playwright.Page, selector: str) -> list[str]:
    """Return the text of the visible elements."""
    return [part.inner_text() for part in page.locator(selector).all() if part.is_visible()]


@pytest.mark.parametrize("media", ["screen", "print"])
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_page_and_nothing_is_loaded(
    width: int, media: str, browser: playwright.Browser, url: str
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800})
    page = context.new_page()
    requests, faults = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(url)
    if media == "print":
        width = 703  # A4 without its margins
        page.set_viewport_size({"width": width, "height": 1000})
        page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert [address for address in requests if not address.startswith("data:")] == [url]
    assert faults == []
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(scheme: str, browser: playwright.Browser, url: str) -> None:
    axe = needed("axe_playwright_python.sync_playwright")
    context = browser.new_context(
        viewport={"width": 1000, "height": 800}, color_scheme=scheme, bypass_csp=True
    )
    page = context.new_page()
    page.goto(url)
    page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    found = axe.Axe().run(page).response
    assert len(found["passes"]) > 20
    faults = [(f["id"], f["nodes"][0]["html"]) for f in found["violations"]]
    assert [fault for fault in faults if fault[0] != "region"] == []
    context.close()


def test_the_first_screen_has_the_four_answers(opened: playwright.Page) -> None:
    for column in ("clean accuracy", "corrupted accuracy", "matched clean", "under attack"):
        head = opened.locator(".answer thead th", has_text=column).first
        assert head.bounding_box()["y"] < 400
    assert opened.locator(".answer tbody tr").nth(1).bounding_box()["y"] < 700


def test_rows_are_filtered_by_verdict_group_and_text(opened: playwright.Page) -> None:
    every = shown(opened, ".grid tbody tr:not(.group) > th")
    assert opened.locator(".filters output").inner_text() == f"{len(every)} of {len(every)} metrics"
    opened.select_option(".filters [name=group]", "by corruption")
    assert shown(opened, ".grid tbody tr:not(.group) > th") == [
        "gaussian noise",
        "shot noise",
        "contrast",
    ]
    opened.fill(".filters [name=text]", "NOISE")
    assert shown(opened, ".grid tbody tr:not(.group) > th") == ["gaussian noise", "shot noise"]
    assert len(shown(opened, ".grid .group")) == 1
    opened.fill(".filters [name=text]", "")
    opened.select_option(".filters [name=group]", "")
    opened.select_option(".filters [name=verdict]", "equivalent")
    rows = [row for row in opened.locator(".grid tbody tr:not(.group)").all() if row.is_visible()]
    assert 0 < len(rows) < len(every)
    for row in rows:
        full = row.locator("td:not(.faded)").all()
        assert full
        assert all("equivalent" in cell.inner_text() for cell in full)
    hidden = opened.locator(".grid tbody tr:not(.group):not(:visible) td[data-kind=equivalent]")
    assert hidden.count() == 0
    opened.fill(".filters [name=text]", "nothing has this name")
    assert opened.locator(".filters output").inner_text() == f"0 of {len(every)} metrics"


def test_columns_sort_up_and_down_within_their_groups(opened: playwright.Page) -> None:
    def values() -> list[float]:
        cells = opened.locator(
            "[data-group='under attack'] tr:not(.group) td:nth-child(2) .difference"
        )
        return [float(text.replace("−", "-")) for text in cells.all_inner_texts()]

    before = opened.locator(".grid tbody").first.inner_text()
    head = opened.locator(".grid thead button").nth(1)
    head.click()
    assert values() == sorted(values())
    assert len(set(values())) > 1
    assert opened.locator(".grid th[aria-sort=ascending]").count() == 1
    head.click()
    assert values() == sorted(values(), reverse=True)
    assert opened.locator(".grid tbody").first.locator("tr").first.get_attribute("class") == "group"
    after = opened.locator(".grid tbody").first.inner_text()
    assert sorted(after.splitlines()) == sorted(before.splitlines())


def test_an_activation_can_be_hidden_in_all_figures(opened: playwright.Page) -> None:
    parts = opened.locator("figure [data-series='2']")
    assert parts.count() > 10
    assert opened.evaluate(DRAWN, "2") > 10
    opened.get_by_label("leaky_relu:0.05", exact=True).uncheck()
    assert opened.evaluate(DRAWN, "2") == 0
    assert opened.evaluate(DRAWN, "1") > 10
    opened.get_by_label("leaky_relu:0.05", exact=True).check()
    assert opened.evaluate(DRAWN, "2") > 10


DRAWN = """series => [...document.querySelectorAll(`figure [data-series="${series}"]`)]
    .filter((part) => getComputedStyle(part).display !== "none").length"""


def test_the_pointer_shows_the_value_of_a_point_and_of_a_cell(opened: playwright.Page) -> None:
    point = opened.locator("#figure-severity [data-series='6'][data-tip]").nth(5)
    point.evaluate("point => point.scrollIntoView({ block: 'center' })")
    point.hover()
    assert re.fullmatch(r"a_pack\S+ \(n = 4\), severity 5: [\d.]+ % \[.*\]", *shown(opened, ".tip"))
    cell = opened.locator(".answer tbody tr").nth(1).locator("td").first
    cell.hover()
    (text,) = shown(opened, ".tip")
    assert text.startswith("leaky_relu:0.01, clean accuracy: ")
    assert "p (Holm)" in text


def test_head_and_first_column_stay_while_the_table_is_scrolled(opened: playwright.Page) -> None:
    box = opened.locator(".scroll:has(.grid)")
    head = opened.locator(".grid thead th").first
    before = head.bounding_box()
    box.evaluate("box => box.scrollTo(300, 400)")
    assert box.evaluate("box => [box.scrollLeft > 0, box.scrollTop > 0]") == [True, True]
    assert head.bounding_box() == before
    name = opened.locator(".grid tbody tr:not(.group) > th").nth(8)
    assert name.bounding_box()["x"] == before["x"]


def test_without_a_script_everything_can_be_read(browser: playwright.Browser, url: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(url)
    assert not page.locator(".filters").is_visible()
    assert len(shown(page, ".grid tbody tr:not(.group) > th")) > 10
    assert page.locator("#figure-severity .values circle title").count() > 10
    assert page.locator(".grid td[title]").count() > 10
    assert len(shown(page, "figure > .scroll")) == page.locator("figure").count() > 6
    page.locator("summary", has_text="table of numbers").click()
    assert page.locator("#caption-all-numbers").is_visible()
    context.close()


def test_the_page_can_be_printed_with_all_its_details(
    opened: playwright.Page, tmp_path: Path
) -> None:
    # Chromium repeats the text of a table's head on each page, but not that of a button in it
    assert opened.locator(".grid thead button").count() > 2
    assert opened.locator("table thead button").evaluate_all(
        "buttons => buttons.every((button) => button.textContent === '')"
    )
    content = opened.pdf(prefer_css_page_size=True)
    assert content.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", content)) > 5
    box = re.search(rb"/MediaBox\s*\[0 0 ([\d.]+) ([\d.]+)\]", content)
    assert [round(float(side)) for side in box.groups()] == [595, 842]


def test_every_linked_file_is_in_the_folder(opened: playwright.Page, url: str) -> None:
    folder = Path(urlparse(url).path).parent
    names = {a.get_attribute("href") for a in opened.locator("a:not([href^='#'])").all()}
    assert {"comparisons.csv", "trials.csv", "samples.png", "corruptions.csv"} <= names
    assert all((folder / name).exists() for name in names)
