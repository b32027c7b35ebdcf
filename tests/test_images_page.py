"""The examples of docs/images.md run with the files shown there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers.runs import Outcome

PAGE = Path(__file__).parents[1] / "docs" / "images.md"
BLOCKS = re.findall(r"^```(.*?)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
SCRIPTS = [text for kind, text in BLOCKS if kind == "python"]
COMMANDS = [text for kind, text in BLOCKS if kind == "sh"]
FILES = {kind.partition("file=")[2]: text for kind, text in BLOCKS if "file=" in kind}
QUICK = ("--epochs", "1", "--seeds", "1", "--corruptions", "none", "--workers", "0", "--quiet")


def test_every_block_of_the_page_is_run() -> None:
    assert len(SCRIPTS) + len(COMMANDS) + len(FILES) == len(BLOCKS) == 4


@pytest.mark.parametrize(
    ("text", "says"), list(zip(SCRIPTS, ["ok", "arrays:sha256-"], strict=True))
)
def test_a_script_of_the_page_runs(
    text: str,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(text, "script.py", "exec"), {"__name__": "__main__"})
    assert says in capsys.readouterr().out


@pytest.mark.usefixtures("short_report")
def test_the_command_of_the_page_runs(actbench_here: Callable[..., Outcome]) -> None:
    for name, text in FILES.items():
        Path(name).write_text(text, encoding="utf-8")
    (command,) = COMMANDS
    done = actbench_here(*shlex.split(command)[1:], *QUICK, "--out", "out")
    assert done.code == 0, done.err
