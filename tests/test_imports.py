"""Modules that need no torch do not load it. `lint-imports` checks the order of the packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.runs import Outcome, TinyRun


def modules_loaded_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ, capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


COMMAND = "from actbench.cli.main import cli; cli.main"


@pytest.mark.parametrize(
    "code",
    [
        "import actbench",
        "import actbench.study.study, actbench.store.store",
        "import actbench.report.tables",
        "import actbench.api.studies",
        f"{COMMAND}(['--help'], standalone_mode=False)",
        f"{COMMAND}(['run', '--help'], standalone_mode=False)",
        f"{COMMAND}(['list', 'datasets'], standalone_mode=False)",
        f"{COMMAND}(['list', 'activations'], standalone_mode=False)",
    ],
    ids=[
        "package",
        "study and store",
        "tables",
        "api",
        "--help",
        "run --help",
        "list datasets",
        "list activations",
    ],
)
def test_torch_is_not_loaded_by(code: str) -> None:
    assert "torch" not in modules_loaded_by(code)


@pytest.mark.usefixtures("short_report")
def test_a_study_with_nothing_to_do_loads_no_torch(
    tiny_run: TinyRun, tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    folder = str(shutil.copytree(tiny_run.folder, tmp_path / "elsewhere"))
    here = tmp_path / "here"
    here.mkdir()
    # outside the current folder, so that code which it names would be listed
    arguments = ["run", "--config", f"{folder}/study.toml", "--out", folder]
    assert actbench_here(*arguments).code == 0
    loaded = modules_loaded_by(
        f"import os\nos.chdir({str(here)!r})\nfrom actbench.cli.main import cli\n"
        "from helpers.few_digits import FEW_DIGITS, digits_are\n"
        "with digits_are(FEW_DIGITS):\n"
        f"    cli.main({arguments!r}, standalone_mode=False)"
    )
    assert loaded.isdisjoint({"torch", "pandas", "scipy"})


def test_help_loads_no_large_library() -> None:
    loaded = modules_loaded_by(
        "from actbench.cli.main import cli\ncli.main(['--help'], standalone_mode=False)"
    )
    assert loaded.isdisjoint({"rich", "pandas", "scipy", "matplotlib", "sklearn"})
