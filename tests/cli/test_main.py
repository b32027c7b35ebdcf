"""The command line: what it prints where, its exit codes, and Ctrl-C."""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import actbench
from actbench.cli.main import is_out_of_memory
from actbench.corruptions.registry import CORRUPTIONS
from actbench.corruptions.specs import SUITES
from actbench.data.datasets import DATASETS
from actbench.models.activations import ACTIVATIONS
from actbench.models.networks.registry import MODELS
from actbench.study.toml import study_from_toml, study_to_toml
from helpers.forked import COMMAND, start_command
from helpers.runs import TINY_PART, TINY_STUDY, run_here, run_process, same_files

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers.runs import Outcome, TinyRun

QUICK = (
    *("run", "--train-images", "64", "--epochs", "1", "--seeds", "1", "--corruptions", "none"),
    *("--activation", "relu", "--workers", "0", "--out", "out"),
)


# help and lists


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_names_the_commands(option: str, actbench_here: Callable[..., Outcome]) -> None:
    done = actbench_here(option)
    assert done.code == 0
    assert done.err == ""
    for command in ("run", "report", "list"):
        assert f"\n  {command} " in done.out


def test_help_of_run_names_every_option_with_its_default(
    actbench_here: Callable[..., Outcome],
) -> None:
    text = " ".join(actbench_here("run", "--help").out.split())
    for option in (
        *("--config", "--dataset", "--data-dir", "--model", "--activation", "--baseline"),
        *("--seeds", "--epochs", "--batch-size", "--lr", "--optimizer", "--corruptions", "--out"),
        *("--workers", "--dry-run", "--quiet", "--json"),
    ):
        assert f"{option} " in text
    for default in (
        "digits",
        "cnn",
        "relu",
        "0.002",
        "adam",
        "gaussian_noise:sigma=0.05/0.1/0.2/0.4/0.8",
        "results/<dataset>-<model>, or results/<claim>",
    ):
        assert f"default: {default}]" in text


def test_no_command_is_bad_usage_and_shows_help(actbench_here: Callable[..., Outcome]) -> None:
    done = actbench_here()
    assert done.code == 2
    assert "Usage: actbench" in done.out


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("activations", ACTIVATIONS),
        ("datasets", DATASETS),
        ("models", MODELS),
        ("corruptions", [*CORRUPTIONS, *SUITES]),
    ],
)
def test_a_list_has_every_name_once(
    what: str, names: list[str], actbench_here: Callable[..., Outcome]
) -> None:
    done = actbench_here("list", what)
    assert done.code == 0
    listed = [line.split()[0] for line in done.out.splitlines() if line.strip()]
    for name in names:
        assert listed.count(name) == 1


@pytest.mark.parametrize("width", [80, 40])
@pytest.mark.parametrize("what", ["activations", "datasets", "models", "corruptions", "attacks"])
def test_a_list_fits_the_terminal(
    what: str, width: int, actbench_here: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert max(map(len, actbench_here("list", what).out.splitlines())) <= width


def test_the_list_of_corruptions_shows_constants_by_size_within_80_columns(
    actbench_here: Callable[..., Outcome],
) -> None:
    lines = actbench_here("list", "corruptions").out.splitlines()
    assert max(map(len, lines)) <= 80
    start = next(i for i, line in enumerate(lines) if line.startswith("defocus_blur"))
    end = lines.index("", start)
    rows = [line.split() for line in lines[start:end]]
    assert ["severity", *"12345"] in rows
    radius = next(i for i, row in enumerate(rows) if row[0] == "radius:")
    assert rows[radius + 1] == ["32", "px", "0.3", "0.4", "0.5", "1", "1.5"]
    assert rows[radius + 2] == ["64", "px", "0.5", "1", "1.5", "2.5", "3"]
    assert rows[radius + 3] == ["224", "px", "3", "4", "6", "8", "10"]
    assert "  extra      speckle_noise, gaussian_blur, spatter, saturate" in lines


def test_the_list_of_activations_shows_what_they_compute(
    actbench_here: Callable[..., Outcome],
) -> None:
    head, _, *rows = actbench_here("list", "activations").out.splitlines()
    for part in ("parameters", "f(−1)", "f(0)", "f(1)", "monotone", "learned"):
        assert part in head
    (leaky,) = (row for row in rows if row.startswith("leaky_relu"))
    assert leaky.split() == ["leaky_relu", "negative_slope=0.01", "-0.01", "0", "1", "yes", "0"]


def test_the_list_of_models_shows_their_sizes(actbench_here: Callable[..., Outcome]) -> None:
    head, _, *rows = actbench_here("list", "models").out.splitlines()
    assert " ".join(head.split()) == "name parameters weights multiply-adds what it is"
    (resnet,) = (row for row in rows if row.startswith("resnet20"))
    assert resnet.split()[:4] == ["resnet20", "269,722", "40.6", "M"]
    (vgg,) = (
        row
        for row in actbench_here("list", "models", "--image-size", "28").out.splitlines()
        if row.startswith("vgg")
    )
    assert "–" in vgg


def test_the_sizes_of_given_models_are_shown(actbench_here: Callable[..., Outcome]) -> None:
    specs = ("wrn:depth=10,width=1", "torchvision:resnet18")
    done = actbench_here("list", "models", *specs, "--classes", "7", "--image-size", "64")
    _, _, first, second = done.out.splitlines()
    assert first.split()[0] == specs[0]
    assert second.split()[:2] == [specs[1], f"{11_181_642 - 3 * 513:,}"]
    wrong = actbench_here("list", "models", "vgg", "--image-size", "28")
    assert (wrong.code, wrong.err) == (
        2,
        "actbench: model 'vgg' takes images of 32×32 pixels or more, not 28×28\n",
    )


def test_the_module_is_the_command(tmp_path: Path) -> None:
    done = run_process("--version", cwd=tmp_path, command=(sys.executable, "-m", "actbench"))
    assert done == type(done)(0, f"actbench, version {actbench.__version__}\n", "")


# what is printed where


def test_the_summary_is_on_stdout_and_progress_on_stderr(tiny_run: TinyRun) -> None:
    done = tiny_run.outcome
    assert "digits, cnn" in done.out
    for spec in tiny_run.study.activations:
        assert spec in done.out
    assert done.out.splitlines()[-1] == f"report: {tiny_run.folder / 'report.html'}"
    assert "[8/8]" in done.err
    assert "[8/8]" not in done.out
    assert "leaky_relu:0: f(−1) = " in done.err


def test_a_pipe_gets_no_control_characters(tiny_run: TinyRun) -> None:
    assert "\x1b" not in tiny_run.outcome.out + tiny_run.outcome.err
    assert "\r" not in tiny_run.outcome.out + tiny_run.outcome.err


def test_quiet_shows_no_progress(actbench_here: Callable[..., Outcome]) -> None:
    done = actbench_here(*QUICK, "--quiet")
    assert done.code == 0
    assert done.err == ""
    assert "relu" in done.out


def test_verbose_shows_the_loss_every_100_batches_and_the_accuracy_after_every_epoch(
    actbench_here: Callable[..., Outcome],
) -> None:
    done = actbench_here(*QUICK, "--verbose", "--batch-size", "1", "--train-images", "128")
    lines = done.err.splitlines()
    assert any("relu, seed 0: epoch 1/1, step 100/128, loss " in line for line in lines)
    assert any("epoch 1/1, test loss " in line and "test accuracy" in line for line in lines)


def test_json_is_one_document_and_nothing_else(
    actbench_here: Callable[..., Outcome], user_module: Callable[[str], str]
) -> None:
    # even where a user's own code prints, as it is imported and as it runs
    noisy = user_module("print('imported')\ndef act(x):\n    print('called')\n    return x\n")
    done = actbench_here(*QUICK, "--activation", f"{noisy}:act", "--json", "--quiet")
    assert done.code == 0
    content = json.loads(done.out)
    assert [row["activation"] for row in content["trials"]] == ["relu", f"{noisy}:act"]
    assert {row["status"] for row in content["trials"]} == {"ok"}
    assert [row["n"] for row in content["summary"]] == [1, 1]
    assert content["folder"] == "out"
    assert "called" in done.err


def test_a_workers_stdout_stays_clean_too(
    user_module: Callable[[str], str], tmp_path: Path
) -> None:
    noisy = user_module("print('imported')\ndef act(x):\n    print('called')\n    return x\n")
    done = run_process(
        *QUICK, "--activation", f"{noisy}:act", "--json", "--workers", "1", cwd=tmp_path
    )
    assert done.code == 0, done.err
    assert len(json.loads(done.out)["trials"]) == 2


def test_json_of_a_dry_run_lists_the_trials(actbench_here: Callable[..., Outcome]) -> None:
    done = actbench_here(*QUICK, "--dry-run", "--json", "--activation", "tanh")
    assert json.loads(done.out) == {
        "folder": "out",
        "trials": [
            {"activation": "relu", "seed": 0, "stored": False, "trained": False},
            {"activation": "tanh", "seed": 0, "stored": False, "trained": False},
        ],
    }


def test_json_has_no_number_that_is_none(actbench_here: Callable[..., Outcome]) -> None:
    done = actbench_here(*QUICK, "--activation", "leaky_relu:1e38", "--json")
    assert done.code == 1
    rows = {row["activation"]: row for row in json.loads(done.out)["trials"]}
    assert rows["leaky_relu:1e+38"]["status"] == "diverged"
    assert rows["leaky_relu:1e+38"]["clean_accuracy"] is None
    assert "NaN" not in done.out
    assert "Infinity" not in done.out


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_an_output_that_lacks_a_character_gets_a_plain_one(
    encoding: str, tiny_run: TinyRun
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "actbench", "run", *TINY_STUDY, "--out", str(tiny_run.folder)],
        env={**os.environ, "PYTHONIOENCODING": f"{encoding}:strict"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == b"all 8 trials are stored already\n"
    assert b"leaky_relu:0" in done.stdout
    assert b"baseline" in done.stdout
    assert b"?" not in done.stdout
    assert done.stdout.isascii() == (encoding == "ascii")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_under_stdout_is_one_line(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "actbench", "list", "datasets"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "actbench: cannot write the output: No space left on device\n"


@pytest.mark.skipif(os.name != "posix", reason="the shell is another")
@pytest.mark.parametrize(
    ("stderr", "workers"),
    [
        *(("2>/dev/full", "1"), ("2>&-", "1"), ("<&- 2>&-", "1"), ("2> >(exec true)", "1")),
        ("2>&-", "0"),  # with no worker
    ],
)
def test_a_run_goes_on_where_stderr_is_closed_full_or_not_read(
    stderr: str, workers: str, tmp_path: Path
) -> None:
    if shutil.which("bash") is None or ("full" in stderr and not Path("/dev/full").exists()):
        pytest.skip("the system has no bash or no /dev/full")
    asked = [*COMMAND, *QUICK, "--workers", workers]
    command = f"{shlex.join(asked)} {stderr}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == 0
    assert "relu" in done.stdout
    assert (tmp_path / "out" / "summary.md").exists()
    wrong = subprocess.run(["bash", "-c", f"{command} --lr 0"], cwd=tmp_path, check=False)
    assert wrong.returncode == 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="others do not limit it")
def test_too_little_address_space_is_one_line(tmp_path: Path) -> None:
    script = "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (600 << 20,) * 2); "
    script += "from actbench.cli.main import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", script, *QUICK],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("actbench: out of memory: ")
    assert "is address space limited" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), True),
        (ImportError("x.so: failed to map segment from shared object: Permission denied"), False),
        (ImportError("libgomp.so.1: cannot allocate memory in static TLS block"), False),
        (OSError("libgomp.so.1: cannot map zero-fill pages: Cannot allocate memory"), True),
        (ImportError("cannot import name 'x' from 'actbench'"), False),
        (ModuleNotFoundError("No module named 'scipy'"), False),
        (ImportError("libgomp.so.1: cannot open shared object file"), False),
        (OSError(errno.EIO, "Input/output error"), False),
        (RuntimeError("failed to map segment"), False),
    ],
)
def test_only_too_little_memory_is_reported_as_that(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) == expected


def test_a_broken_installation_is_not_reported_as_too_little_memory(tmp_path: Path) -> None:
    script = "import sys; sys.modules['torch'] = None; "
    script += "from actbench.cli.main import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", script, *QUICK],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ModuleNotFoundError: import of torch halted")
    assert "out of memory" not in done.stderr


# what is wrong is one line


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


# options, files and defaults


def test_a_flag_beats_the_file_and_the_file_beats_the_default(
    tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    (tmp_path / "mine.toml").write_text('activations = ["tanh", "elu"]\nseeds = [5, 6]\n')

    def trials(*options: str) -> list[tuple[str, int]]:
        done = actbench_here("run", "--config", "mine.toml", "--dry-run", "--json", *options)
        return [(t["activation"], t["seed"]) for t in json.loads(done.out)["trials"]]

    assert trials("--seeds", "1") == [("relu", 0), ("tanh", 0), ("elu", 0)]
    assert trials("--baseline", "elu") == [("tanh", 5), ("elu", 5), ("tanh", 6), ("elu", 6)]


def test_the_stored_study_repeats_it_to_the_same_bytes(
    tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    actbench_here(*QUICK, "--activation", "rrelu", "--seeds", "3,7")
    config = str(Path("out") / "study.toml")
    done = actbench_here("run", "--config", config, "--workers", "0", "--out", "again")
    assert done.code == 0
    assert same_files(tmp_path / "out", tmp_path / "again") == []


def test_the_folder_is_named_for_data_and_network_where_none_is_given(
    tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    done = actbench_here("run", "--dry-run", "--json", "--model", "deep_cnn:depth=5")
    assert json.loads(done.out)["folder"] == str(Path("results") / "digits-deep_cnn-depth-5")
    assert not (tmp_path / "results").exists()


def test_a_tilde_in_out_is_the_home_folder(
    tmp_path: Path, actbench_here: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    done = actbench_here("run", "--dry-run", "--json", "--out=~/study")
    assert json.loads(done.out)["folder"] == str(tmp_path / "home" / "study")


# Ctrl-C


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="the system has no process groups")
def test_ctrl_c_ends_with_the_line_that_resumes_to_the_same_bytes(
    tiny_run: TinyRun, tmp_path: Path
) -> None:
    # a part of the tiny study, whose trials are the same to the last bit
    part = [*TINY_PART, *("--activation", "prelu", "--activation", "rrelu", "--seeds", "1")]
    asked = ["run", *part, "--out", "out", "--workers", "1"]
    with start_command(
        *asked,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("[1/3]"):
                break
        # as a terminal does: the command and its worker get it
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    resume = f"resume with: {shlex.join(['actbench', *asked])}"
    assert err.splitlines()[-1] == f"actbench: {resume}"
    stored = len(list((tmp_path / "out" / "trials").iterdir()))
    assert f"interrupted; {stored} of 3 trials are stored" in err
    assert 1 <= stored < 3

    again = run_here(*asked[:-2], cwd=tmp_path)
    assert again.code == 0, again.err
    assert f"{stored} of 3 trials are stored already" in again.err
    records = {p.name: p.read_bytes() for p in (tmp_path / "out" / "trials").iterdir()}
    undisturbed = tiny_run.folder / "trials"
    assert records == {name: (undisturbed / name).read_bytes() for name in records}
    assert len(records) == 3


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="the system has no process groups")
@pytest.mark.parametrize(
    ("send", "code"),
    [
        (lambda process: os.killpg(process.pid, signal.SIGINT), 130),
        (lambda process: process.terminate(), 143),
    ],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_a_signal_while_workers_start_ends_them_too_and_prints_no_traceback(
    send: Callable[[subprocess.Popen[str]], None], code: int, tmp_path: Path
) -> None:
    # Python imports this first: a worker then says so and waits, as its parent does
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "if '--multiprocessing-fork' in sys.orig_argv:\n"
        "    print('loading', file=sys.stderr, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    (tmp_path / "slow.py").write_text(
        "import sys\n"
        "from actbench.execution import plan\n"
        "from actbench.cli import main as cli\n"
        "plan.prepare_study = lambda *_: sys.stdin.read()\n"
        "cli.main(['run', '--workers', '1', '--out', 'out'])\n"
    )
    with subprocess.Popen(
        [sys.executable, "slow.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ['PYTHONPATH']}"},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "loading\n"
        send(process)
        # this comes back once nobody holds stderr: the worker is gone as well
        _, err = process.communicate()
    assert process.returncode == code
    assert err.splitlines()[-1] == "actbench: resume with: actbench run --workers 1 --out out"
    assert "Traceback" not in err


def test_a_command_without_standard_streams_writes_whole_files(tmp_path: Path) -> None:
    asked = shlex.join([*COMMAND, *QUICK, "--workers", "1"])
    done = subprocess.run(
        ["sh", "-c", f"{asked} <&- >&- 2>&-"],
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0
    assert len(list((tmp_path / "out" / "trials").iterdir())) == 1
    assert run_here("report", "out", cwd=tmp_path).code == 0


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


def test_a_claim_is_the_lowest_layer_under_the_file_and_the_options(
    actbench_here: Callable[..., Outcome],
) -> None:
    Path("more.toml").write_text('dataset = "digits"\nmodel = "mlp"\n', encoding="utf-8")
    options = ("--activation", "relu,mish", "--config", "more.toml", "--dry-run", "--json")
    done = actbench_here("run", "--claim", "layeract-resnet32", "--scale", "0.1", *options)
    content = json.loads(done.out)
    assert content["folder"] == "results/layeract-resnet32-scale-0.1"
    assert [(t["activation"], t["seed"]) for t in content["trials"]] == [
        (name, seed) for seed in (11, 22, 33) for name in ("relu", "mish")
    ]
    trial, departs = done.err.splitlines()[:2]
    assert "trial run of the claim layeract-resnet32 at scale 0.1: 6400 of 64000 steps" in trial
    assert "data digits (source: cifar10)" in departs
    assert "network mlp (source: resnet32)" in departs
    assert "optimizer" not in departs


def test_a_claim_and_its_scale_are_stored_and_read_again() -> None:
    study = actbench.claim_study("layeract-resnet32", 0.1, epochs=3, seeds=2)
    assert (study.claim, study.scale, study.epochs, study.steps) == ("layeract-resnet32", 0.1, 3, 0)
    assert study_from_toml(study_to_toml(study), "study.toml") == study
