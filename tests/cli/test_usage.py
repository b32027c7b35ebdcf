"""Bad usage: one line that says what is wrong."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from actbench.cli.asked import asked_study
from actbench.study.toml import study_to_toml

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers.runs import Outcome


# what is wrong is one line


@pytest.mark.parametrize(
    ("content", "option", "says"),
    [
        ("tune_lr = [0.1, 0.2]\n", "--lr", "so --lr would do nothing"),
        ('learning_rates = [["relu", 0.1]]\nactivations = ["relu"]\n', "--lr", "so --lr would"),
        ('tuned = [["relu", 0.1, 0.0]]\nactivations = ["relu"]\n', "--weight-decay", "do nothing"),
    ],
)
def test_a_rate_that_the_configuration_makes_useless_is_refused(
    content: str, option: str, says: str, actbench_here: Callable[..., Outcome]
) -> None:
    Path("c.toml").write_text(content, "utf-8")
    done = actbench_here("run", "--config", "c.toml", option, "0.5", "--dry-run")
    assert done.code == 2
    assert says in done.err


def test_another_scale_than_the_configurations_has_its_own_epochs_and_seeds(
    tmp_path: Path,
) -> None:
    claim, file = {"claim": "xu-2015-nin"}, tmp_path / "c.toml"
    reduced_run = asked_study(None, {**claim, "scale": 0.1})
    file.write_text(study_to_toml(reduced_run), "utf-8")
    complete = asked_study(file, {"scale": 1.0})
    assert complete == asked_study(None, claim)
    assert asked_study(file, {"seeds": (7,)}).seeds == (7,)
    assert asked_study(file, {}) == reduced_run


def test_a_folder_that_is_gone_and_an_unknown_home_are_named(
    tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    for option in ("--out", "--cifar10c"):
        done = actbench_here("run", option, "~nosuchuser/x", "--dry-run")
        assert done.code == 2
        assert "'~nosuchuser/x' begins with no known user's home folder" in done.err


@pytest.mark.parametrize("option", ["--model", "--activation", "--dataset", "--out", "--seeds"])
@pytest.mark.parametrize("part", ["x", "x ", "x,", "x:"])
def test_a_long_argument_is_not_echoed_whole(
    option: str, part: str, actbench_here: Callable[..., Outcome]
) -> None:
    done = actbench_here("run", option, part * 2500, "--workers", "0", "--dry-run")
    assert done.code in (2, 3) or option == "--out"
    assert len(done.err) < 2100


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ("run --frobnicate", 2, "No such option '--frobnicate'"),
        ("run extra", 2, "unexpected extra argument (extra)"),
        ("runn", 2, "No such command 'runn'"),
        ("list nothing", 2, "No such command 'nothing'"),
        ("report", 2, "Missing argument"),
        ("run --config", 2, "requires an argument"),
        ("run --config absent.toml", 2, "cannot read the configuration 'absent.toml'"),
        ("run --seeds 1.5", 2, "'1.5' is neither a count such as 5 nor a list such as 3,7,11"),
        ("run --seeds 3,3", 2, "seeds is [3, 3]"),
        ("run --seeds -1", 2, "seeds is -1"),
        ("run --epochs ten", 2, "'ten' is not a valid integer"),
        ("run --lr 0", 2, "learning_rate is 0.0; it must be a number above 0"),
        ("run --lr nan", 2, "learning_rate is nan"),
        ("run --optimizer sgd:momentum=2", 2, "momentum is 2.0; it must be a number from 0 to 1"),
        ("run --optimizer sdg", 2, "unknown optimizer 'sdg'; did you mean 'sgd'?"),
        ("run --schedule step:at=0.75/0.5", 2, "it must be rising shares of the steps"),
        ("run --schedule cosine:warmup=1", 2, "it must be a share of the steps, from 0 to below 1"),
        ("run --epochs 2 --steps 9", 2, "--epochs and --steps both say how long to train"),
        ("run --select best", 2, "needs held-out images: give validation too"),
        ("run --validation 0.0001", 2, "validation is 0.0001, which holds out no image"),
        ("run --train-against pgd:epsilon=8/0", 2, "epsilon is '8/0'; it must be a number"),
        ("run --train-against trades:epsilon=8", 2, "give a fraction such as 8/255"),
        ("run --attacks pgd,square --epsilons 8", 2, "give fractions such as 8/255"),
        ("run --batch-size 0", 2, "batch_size is 0"),
        ("run --train-images 5000", 2, "the data has 1437 training images"),
        ("run --augment rotate", 2, "unknown augmentation 'rotate'"),
        ("run --augment crop:33", 2, "padding is 33; the images have 32×32 pixels"),
        ("run --augment cutout:40", 2, "size is 40; the images have 32×32 pixels"),
        ("run --augment flip,none", 2, "'none' beside other names"),
        ("run --workers -1", 2, "workers is -1; it must be None or an integer from 0 to 1024"),
        ("run --corruptions none,noise", 2, "'none' beside other names"),
        ("run --model deep_cnn:depth=2", 2, "it must be an integer from 3 to 200"),
        ("run --model math:pi", 2, "must be a callable"),
        ("run --activation leaky_relu:inf", 2, "negative_slope is inf; it must be finite"),
        ("run --activation leaky_relu:slope=1", 2, "did you mean 'negative_slope'?"),
        ("run --activation collections:OrderedDict", 2, "must be a torch.nn.Module class"),
        ("run --activation torch.nn:GLU", 2, "fails its self-check"),
        ("run --activation no_such_module_here:Act", 2, "cannot import 'no_such_module_here'"),
        ("run --activation relu --activation relu", 2, "names 'relu' twice"),
        ("run --dataset imagefolder --data-dir absent", 2, "data_dir 'absent' is not a folder"),
        ("run --data-dir .", 2, "takes no data_dir"),
        ("run --executor dask", 2, "'dask' is not one of 'local', 'ray'"),
        ("run --executor ray", 2, "Ray needs a worker process; workers is 0"),
        ("run --ray-address auto", 2, "ray_address is 'auto', but the executor is 'local'"),
        ("run --yes", 2, "--yes confirms --restart"),
        ("run --trial-timeout 0", 2, "trial_timeout is 0.0; it must be None or a number above 0"),
        ("run --out ''", 2, "it is empty; give a folder"),
        ("run --out file", 3, "cannot write 'file'"),
        ("run --out file/below", 3, "cannot write 'file/below'"),
        (f"run --out {'x' * 300}", 3, "cannot write 'xxx"),
        ("run --out other", 3, "cannot read 'other/study.toml'"),
        ("report absent", 3, "'absent' is not a results folder: it has no study.toml"),
        ("report file", 3, "cannot read 'file/study.toml'"),
        ("report nonsense", 3, "nonsense/study.toml is not valid TOML"),
    ],
)
def test_what_is_wrong_is_one_line(
    arguments: str, code: int, says: str, tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "other" / "study.toml").mkdir(parents=True)
    (tmp_path / "nonsense").mkdir()
    (tmp_path / "nonsense" / "study.toml").write_text("nonsense")
    here = arguments.replace("run", "run --workers 0", 1) if arguments[:4] == "run " else arguments
    done = actbench_here(*shlex.split(here))
    assert done.code == code
    assert done.out == ""
    assert done.err.startswith("actbench: ")
    assert done.err.count("\n") == 1
    assert says in done.err
    assert not (tmp_path / "results").exists()


# claims


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--claim", "mish-squezenet"], "unknown claim 'mish-squezenet'; did you mean 'mish-squee"),
        (["--scale", "0.1"], "scale is 0.1, a share of a claim's epochs and seeds; give claim too"),
        (["--claim", "xu-2015-nin", "--scale", "0"], "scale is 0.0; it must be a number above 0"),
    ],
)
def test_a_wrong_claim_is_one_line_before_anything_is_read(
    arguments: list[str], message: str, actbench_here: Callable[..., Outcome]
) -> None:
    done = actbench_here("run", *arguments)
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert message in line
    assert list(Path().iterdir()) == []
