"""The examples of docs/bring-your-own.md: commands and scripts run with the files shown there."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from actbench.models.activations import resolve_activation
from actbench.models.build import build_network, build_notes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from helpers.runs import Outcome

PAGE = Path(__file__).parents[1] / "docs" / "bring-your-own.md"
BLOCKS = re.findall(r"^```(.*?)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
QUICK = ("--epochs", "1", "--seeds", "1", "--corruptions", "none", "--workers", "0", "--quiet")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the current folder, which holds the files that the page shows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    files = {kind.partition("file=")[2]: text for kind, text in BLOCKS if "file=" in kind}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    yield tmp_path
    for name in files:
        sys.modules.pop(Path(name).stem, None)


def blocks(kind: str) -> list[str]:
    return [text for block_kind, text in BLOCKS if block_kind == kind]


def test_every_code_block_has_a_kind_that_is_tested() -> None:
    kinds = {kind.partition(" file=")[0] for kind, _ in BLOCKS}
    assert kinds == {"python", "sh", ""}  # files and scripts, commands, the folder and a note
    assert len(blocks("sh")) == 6


@pytest.mark.usefixtures("short_report")
@pytest.mark.parametrize("text", blocks("sh"))
def test_a_command_of_the_page_runs(
    text: str, folder: Path, actbench_here: Callable[..., Outcome]
) -> None:
    name, *arguments = shlex.split(text)
    assert name == "actbench"
    if "imagefolder" in arguments:
        rng = np.random.default_rng(0)
        (layout,) = [text for text in blocks("") if text.startswith("images/")]
        for path in map(Path, layout.split()):
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / path)
    else:
        arguments += ["--train-images", "16"]
    quick = QUICK[:4] + QUICK[6:] if "--corruptions" in arguments else QUICK
    done = actbench_here(*arguments, *quick, "--out", "out")
    assert done.code == 0, done.err


@pytest.mark.parametrize("text", blocks("python"))
def test_a_script_of_the_page_runs(
    text: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exec(compile(text, "script.py", "exec"), {"__name__": "__main__"})
    assert "my_activations:LearnedLeak — clean accuracy" in capsys.readouterr().out
    assert (folder / "results" / "mine" / "summary.md").exists()


def test_the_converted_network_of_the_page_has_the_note_that_it_shows(folder: Path) -> None:
    network, _ = build_network("my_plain_networks:Plain", resolve_activation("prelu"), 10, 0)
    assert build_notes(network) == [text.strip() for text in blocks("") if "replaced" in text]


def test_the_learned_leak_of_the_page_has_one_slope_per_channel(folder: Path) -> None:
    spec = "my_activations:LearnedLeak:start=0.2"
    network, _ = build_network("my_networks:small", resolve_activation(spec), 10, 0)
    slopes = {n: p for n, p in network.named_parameters() if n.endswith("slope")}
    assert {name: len(slope) for name, slope in slopes.items()} == {"2.slope": 16, "6.slope": 64}
    assert all((slope == 0.2).all() for slope in slopes.values())
