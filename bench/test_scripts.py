"""The scripts, with little to do: that each runs; only if nothing is timed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cifar_shaped import UNTIMED
from helpers.compiler import has_compiler

HERE = Path(__file__).parent
STUDY = """
format = 2
activations = ["relu"]
seeds = [0]
epochs = 1
train_images = 64
corruptions = ["gaussian_noise"]
attacks = ["fgsm"]
attack_images = 8
"""


@has_compiler
@pytest.mark.skipif(not UNTIMED, reason="a script is a measurement by itself")
@pytest.mark.parametrize(
    "script",
    [
        "augmentation.py --rounds 2",
        "profile_step.py",
        "roofline.py",
        "store_share.py --seeds 1",
        "sweep.py --repetitions 1 --train-images 1600 --ways native",
        "trial_stages.py study.toml --trials 1",
        "tried.py --rounds 1",
    ],
)
def test_script(script: str, tmp_path: Path) -> None:
    """Its tables are printed."""
    (tmp_path / "study.toml").write_text(STUDY, encoding="utf-8")
    name, *arguments = script.split()
    command = [sys.executable, str(HERE / name), *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout
