"""The rooms' order: imports run one way, and what needs no torch does not load it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import actbench

SOURCE = Path(actbench.__file__).parent
# a module may import those before it, and none after it
ORDER = """
    __init__
    errors
    terminal
    devices
    files
    printable
    parent_death
    cache
    specs
    ranges
    study
    plain
    global_state
    user_code
    lock
    record
    samples
    activations
    initialisation
    datasets
    conv_pool
    models
    data
    published
    blurs
    weather
    corruptions
    perturbations
    attacks
    masking
    diagnostics
    evaluation
    optimizer
    checkpoint
    steps
    training
    trial
    kernels
    network_check
    environment
    store
    executors
    lanes
    workers
    ray_executor
    runner
    metrics
    paired
    matched
    planning
    corruption_error
    sequential
    variance
    signed_rank
    trial_checks
    statistics
    comparison_notes
    robustness
    frames
    verdicts
    study_warnings
    sections
    latex
    tables
    summary
    finished
    studies
    counterparts
    figure_style
    figure_axes
    figure_attacks
    figure_forest
    figure_layers
    figures
    page
    report
    contact_sheet
    progress
    tuning
    conduct
    results
    options
    listing
    cli
    __main__
""".split()  # noqa: SIM905 - a word a line, without the quotes
MODULES = sorted(SOURCE.rglob("*.py"))


def imported_modules(path: Path) -> set[str]:
    """Return the modules of actbench that a file imports anywhere, for types alone as well."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} has a relative import"
            # "from actbench import data" names a module, "from actbench import __version__" none
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            package, _, rest = name.partition(".")
            if package == "actbench":
                room = rest.partition(".")[0]
                found.add(room if (SOURCE / f"{room}.py").exists() else "__init__")
    return found


@pytest.mark.parametrize("path", MODULES, ids=[path.stem for path in MODULES])
def test_a_module_imports_only_rooms_before_it(path: Path) -> None:
    assert path.stem in ORDER, f"{path.name} has no place in the order of the rooms"
    # the package itself may look anything up, as long as importing it loads nothing (see below)
    allowed = set(ORDER if path.stem == "__init__" else ORDER[: ORDER.index(path.stem)])
    assert imported_modules(path) <= allowed


def modules_loaded_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ, capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import actbench",
        "import actbench.study.study, actbench.store.store",
        "import actbench.report.tables",
        "import actbench.cli.finished, actbench.api",
        "from actbench.cli.main import cli\ncli.main(['--help'], standalone_mode=False)",
        "from actbench.cli.main import cli\ncli.main(['run', '--help'], standalone_mode=False)",
        "from actbench.cli.main import cli\ncli.main(['list', 'datasets'], standalone_mode=False)",
    ],
    ids=[
        "package",
        "study and store",
        "tables",
        "finished",
        "--help",
        "run --help",
        "list datasets",
    ],
)
def test_torch_is_not_loaded_by(code: str) -> None:
    assert "torch" not in modules_loaded_by(code)


def test_help_loads_neither_pandas_nor_scipy() -> None:
    loaded = modules_loaded_by(
        "from actbench.cli.main import cli\ncli.main(['--help'], standalone_mode=False)"
    )
    assert loaded.isdisjoint({"pandas", "scipy", "matplotlib", "sklearn"})
