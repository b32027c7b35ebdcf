"""The documentation: its links, and the files and commands that it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from actbench.cli.main import cli

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    + [ROOT / "bench" / "README.md", ROOT / "results" / "README.md"]
    + list((ROOT / "docs").glob("*.md"))
)
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_relative_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_files_of_the_repository_that_a_page_names_exist(page: Path) -> None:
    pattern = r"(?<![\w./-])(?:src|tests|tools|bench|docs)/[\w./-]+\.(?:py|cpp|md|svg)\b"
    paths = set(re.findall(pattern, page.read_text("utf-8")))
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_options_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    commands = re.findall(r"\bactbench (run|report|compare|audit)\b([^`\n]*)", text)
    unknown = [
        f"{name} {option}"
        for name, arguments in commands
        for option in re.findall(r"--[a-z0-9-]+", arguments)
        if option != "--help"
        and not any(option in parameter.opts for parameter in cli.commands[name].params)
    ]
    assert unknown == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_options_that_a_page_names_by_themselves_exist(page: Path) -> None:
    if page.name == "CHANGELOG.md":  # it has the former names too
        return
    known = {o for command in cli.commands.values() for item in command.params for o in item.opts}
    scripts = [*(ROOT / "tools").glob("*.py"), *(ROOT / "bench").rglob("*.py")]
    known |= {
        o for script in scripts for o in re.findall(r'"(--[a-z-]+)"', script.read_text("utf-8"))
    }
    found = set(re.findall(r"`(--[a-z0-9-]+)", page.read_text("utf-8"))) - {"--help"}
    assert [option for option in found - known if not option.startswith("--benchmark")] == []
