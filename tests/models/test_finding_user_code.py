"""Where a user's code is found: files, modules, scripts and configurations."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from actbench.errors import UsageError
from actbench.models.activations import check_activation, resolve_activation
from actbench.models.build import build_network
from helpers.forked import run_script
from helpers.user_files import LEAKY, SMALL, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.runs import Outcome


def test_a_file_is_named_by_its_path_and_imports_from_its_own_folder(here: Path) -> None:
    (here / "mine").mkdir()
    write(here / "mine", code="from leaky import act", leaky=LEAKY)
    for text in ("mine/code.py:act", "./mine/code.py:act", str(here / "mine" / "code.py:act")):
        factory = resolve_activation(text)
        assert factory.spec == "./mine/code.py:act"
        assert check_activation(factory).at_minus_one == pytest.approx(-0.1)
    assert not hasattr(sys.modules.get("code"), "act")
    assert str(here / "mine") != sys.path[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("./missing.py:act", "FileNotFoundError: there is no file '/"),
        ("./mine.py:other", "'./mine.py' has no 'other'"),
        ("code:act", "code.py'); for your own file write ./code.py:Name"),
        ("__main__:act", "is defined in a script or notebook"),
        ("empty:act", "'empty' has no 'act' (read from '/"),
    ],
)
def test_what_is_not_found_is_reported_with_the_places_searched(
    text: str, message: str, here: Path
) -> None:
    write(here, mine=LEAKY, code=LEAKY, empty="")
    with pytest.raises(UsageError) as error:
        resolve_activation(text)
    assert message in str(error.value)
    assert "known are" not in str(error.value) or "empty" not in text


def test_partial_objects_are_activations_and_networks(here: Path) -> None:
    source = (
        "from functools import partial\n"
        "from torch import nn\n"
        "from torch.nn import functional as F\n"
        "function = partial(F.leaky_relu, negative_slope=0.2)\n"
        "module = partial(nn.LeakyReLU, 0.3)\n"
        "def net(act, classes, width):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(3072, width), act(inplace=True),\n"
        "                         nn.Linear(width, classes))\n"
        "narrow = partial(net, width=4)\n"
    )
    write(here, partials=source)
    assert check_activation(resolve_activation("partials:function")).at_minus_one == pytest.approx(
        -0.2
    )
    assert check_activation(resolve_activation("partials:module")).at_minus_one == pytest.approx(
        -0.3
    )
    _, layers = build_network("partials:narrow", resolve_activation("partials:module"), 10, 0)
    assert list(layers) == ["2"]


def test_parameters_for_each_channel_pass_the_self_check() -> None:
    check = check_activation(resolve_activation("torch.nn:PReLU:num_parameters=16"))
    assert (check.trainable_parameters, check.at_minus_one) == (16, -0.25)


UNGUARDED = """
import actbench
study = actbench.Study(activations=["relu"], seeds=1, epochs=1, train_images=64, corruptions=[])
print(len(actbench.run(study, "out", workers=1).trials), "trial")
"""


@pytest.mark.usefixtures("short_report")
def test_a_script_without_a_main_guard_runs(tmp_path: Path) -> None:
    write(tmp_path, unguarded=UNGUARDED)
    script = "import runpy; runpy.run_path('unguarded.py', run_name='__main__')"
    done = run_script(script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1 trial\n"


@pytest.mark.slow
@pytest.mark.parametrize("way", ["file", "standard input"])
def test_a_script_without_a_main_guard_runs_in_a_new_interpreter(way: str, tmp_path: Path) -> None:
    write(tmp_path, unguarded=UNGUARDED)
    done = subprocess.run(
        [sys.executable, "unguarded.py" if way == "file" else "-"],
        input=None if way == "file" else UNGUARDED,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1 trial\n"


@pytest.mark.usefixtures("short_report")
def test_a_module_that_runs_a_study_when_it_is_imported_is_refused(
    here: Path, actbench_here: Callable[..., Outcome]
) -> None:
    write(here, unguarded=f"{UNGUARDED}{LEAKY}")
    done = actbench_here("run", *SMALL, "--activation", "unguarded:act", "--workers", "0")
    assert done.code == 2
    assert "unguarded calls actbench.run while a study imports it" in done.err
    assert not (here / "out").exists()


def test_a_configuration_from_elsewhere_is_named_with_the_code_that_it_imports(
    here: Path, actbench_here: Callable[..., Outcome]
) -> None:
    elsewhere = here / "elsewhere"
    work = here / "work"
    elsewhere.mkdir()
    work.mkdir()
    config = elsewhere / "study.toml"
    config.write_text('activations = ["relu", "missing_module:act"]\n')
    import os

    os.chdir(work)
    done = actbench_here("run", "--config", str(config), "--workers", "0")
    os.chdir(elsewhere)
    own = actbench_here("run", "--config", str(config), "--workers", "0")
    warning = "names code that is imported now: missing_module:act"
    assert warning in done.err
    assert warning not in own.err
    assert "cannot import 'missing_module'" in done.err
