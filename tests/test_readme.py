"""The commands of the README's section on use, each run on a few made images or stored results."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers.runs import Outcome

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
USE = README.split("\n## Use\n")[1].split("\n## ")[0]
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", USE, flags=re.DOTALL)
    for line in block.splitlines()
    if line.startswith("actbench ")
]
CUT = (
    "--train-images 16 --batch-size 16 --epochs 1 --workers 0 --corruptions contrast "
    "--kernels torch"
)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Return a folder of two classes, ten random pictures in each of train and test."""
    draw = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            folder = tmp_path / "images" / part / name
            folder.mkdir(parents=True)
            for number in range(10):
                pixels = draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "images"


def cut(command: str, images: Path, module: str) -> list[str]:
    """Return the arguments of a README command, with made data and as little work as possible."""
    command = command.replace("my_package.my_module", module)
    command = re.sub(r"--dataset cifar10\b", "--dataset imagefolder --data-dir DIR", command)
    command = command.replace("depth=20", "depth=4")
    arguments = shlex.split(command.replace("DIR", shlex.quote(str(images))))[1:]
    if arguments[0] != "run":
        return arguments
    few = (
        ["--seeds", "2", "--max-seeds", "5"] if "--until-decided" in arguments else ["--seeds", "1"]
    )
    if "--activation" not in arguments:
        few += ["--activation", "leaky_relu:0.1"]
    return [*arguments, *CUT.split(), *few]


@pytest.mark.usefixtures("short_report")
@pytest.mark.parametrize(
    "command",
    # the list of models is tested in test_listing.py
    [
        pytest.param(c, marks=pytest.mark.slow if c == "actbench list models" else ())
        for c in COMMANDS
    ],
)
def test_a_command_of_the_readme_runs(
    command: str,
    actbench_here: Callable[..., Outcome],
    user_module: Callable[[str], str],
    images: Path,
) -> None:
    module = user_module("import torch\n\nclass MyActivation(torch.nn.Softplus):\n    pass\n")
    outcome = actbench_here(*cut(command, images, module))
    assert outcome.code == 0, outcome.err


def test_the_commands_on_stored_results_run(actbench_here: Callable[..., Outcome]) -> None:
    commands = [" ".join(text.split()) for text in re.findall(r"`(actbench [^`]*DIR[^`]*)`", USE)]
    assert len(commands) == 4
    study = ["--seeds", "2", "--activation", "leaky_relu:0.1", *CUT.split()]
    assert actbench_here("run", "--out", "DIR", *study).code == 0
    for command in commands:
        done = actbench_here(*shlex.split(command.replace("DIR DIR", "DIR ELSEWHERE"))[1:])
        assert done.code == 0, (command, done.err)
    assert Path("ELSEWHERE", "summary.md").read_bytes() == Path("DIR", "summary.md").read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="a command of POSIX shells")
def test_the_shell_completes_options() -> None:
    (command,) = re.findall(r"`eval \"\$\((_ACTBENCH_COMPLETE=bash_source actbench)\)\"`", USE)
    script = shutil.which("actbench", path=Path(sys.executable).parent)
    name, value = command.split()[0].split("=")
    outcomes = [
        subprocess.run(
            [script], env={**os.environ, name: form, **words}, capture_output=True, text=True
        )
        for form, words in [
            (value, {}),
            ("bash_complete", {"COMP_WORDS": "actbench run --until", "COMP_CWORD": "2"}),
        ]
    ]
    assert "complete -o nosort -F" in outcomes[0].stdout
    assert outcomes[1].stdout == "plain,--until-decided\n"


def test_the_readme_has_commands_of_use() -> None:
    assert len(COMMANDS) >= 7
