"""Help and the lists of what there is."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

from actbench.corruptions.registry import CORRUPTIONS
from actbench.corruptions.specs import SUITES
from actbench.data.datasets import DATASETS
from actbench.models import size
from actbench.models.networks.registry import MODELS
from actbench.study.activations import ACTIVATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from helpers.runs import Outcome


@pytest.fixture(scope="module", autouse=True)
def _networks_are_measured_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(size, "network_size", functools.cache(size.network_size))
        yield


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
        "--config",
        "--dataset",
        "--data-dir",
        "--model",
        "--activation",
        "--baseline",
        "--seeds",
        "--epochs",
        "--batch-size",
        "--lr",
        "--optimizer",
        "--corruptions",
        "--out",
        "--workers",
        "--dry-run",
        "--quiet",
        "--json",
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


def test_the_list_of_activations_shows_their_formulas(
    actbench_here: Callable[..., Outcome],
) -> None:
    head, _, *rows = actbench_here("list", "activations").out.splitlines()
    assert head.split() == ["name", "parameters", "f(x)"]
    (leaky,) = (row for row in rows if row.startswith("leaky_relu"))
    assert " ".join(leaky.split()) == (
        "leaky_relu negative_slope=0.01 x if x ≥ 0, else negative_slope · x"
    )
    assert "silu (swish)" in "\n".join(rows)


def test_the_list_of_models_shows_their_sizes(
    actbench_here: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    head, _, *rows = actbench_here("list", "models").out.splitlines()
    assert " ".join(head.split()) == "name parameters weights multiply-adds what it is"
    (resnet,) = (row for row in rows if row.startswith("resnet20"))
    assert resnet.split()[:4] == ["resnet20", "269,722", "40.6", "M"]
    measured = size.network_size
    monkeypatch.setattr(
        size,
        "network_size",
        lambda model, *of: measured(model if model == "vgg" else "mlp", *of),
    )
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
