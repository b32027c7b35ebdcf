"""A user's unusual networks and activations are measured, with notes on what was odd."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from actbench.models.activations import resolve_activation
from actbench.models.build import build_network, takes_contiguous
from helpers.checked_networks import SOURCE, checked, trial_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from actbench.data.images import ImageData
    from helpers.runs import Outcome


@pytest.mark.parametrize("name", ["RunningMean", "Cache"])
def test_an_activation_may_keep_a_tensor(name: str, data: ImageData, own: str) -> None:
    assert checked(data, "cnn", f"{own}:{name}") == ""
    record = trial_of(data, "cnn", f"{own}:{name}", attacks=("fgsm",), attack_images=20)
    assert (record.status, record.notes) == ("ok", ())


def test_a_network_that_needs_contiguous_images_gets_them_and_it_is_said(
    data: ImageData, own: str
) -> None:
    network, _ = build_network(f"{own}:Viewing", resolve_activation("relu"), 10, 0)
    assert takes_contiguous(network)
    channels_last = torch.zeros(2, 3, 32, 32).to(memory_format=torch.channels_last)
    assert network(channels_last).shape == (2, 10)
    assert "contiguous" in checked(data, f"{own}:Viewing")
    record = trial_of(data, f"{own}:Viewing", attacks=("fgsm",), attack_images=20)
    assert record.status == "ok"
    (note,) = record.notes
    assert "contiguous" in note


def test_a_network_that_takes_channels_last_stays_so(own: str) -> None:
    for model in (f"{own}:Net", f"{own}:lazy"):
        network, _ = build_network(model, resolve_activation("relu"), 10, 0)
        assert not takes_contiguous(network)


@pytest.mark.parametrize("init", ["default", "slope_aware"])
def test_lazy_layers_start_from_the_same_weights_under_every_activation(
    init: str, data: ImageData, own: str
) -> None:
    assert checked(data, f"{own}:lazy") == ""
    states = [
        build_network(f"{own}:lazy", resolve_activation(spec), 10, seed, init)[0].state_dict()
        for spec, seed in (("relu", 0), ("leaky_relu:0", 0), ("relu", 1))
    ]
    assert set(states[0]) == {"0.weight", "0.bias", "4.weight", "4.bias"}
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["0.weight"], states[2]["0.weight"])


@pytest.mark.parametrize("name", ["LateSlope", "LazySlope"])
def test_parameters_that_the_first_images_define_are_trained(
    name: str, data: ImageData, own: str
) -> None:
    activation = f"{own}:{name}"
    assert checked(data, "cnn", activation) == ""
    network, layers = build_network("cnn", resolve_activation(activation), 10, 0)
    assert {n for n, _ in network.named_parameters() if "slope" in n} == {
        f"{layer}.slope" for layer in layers
    }
    relu, _ = build_network("cnn", resolve_activation("relu"), 10, 0)
    assert torch.equal(network.state_dict()["fc1.weight"], relu.state_dict()["fc1.weight"])
    assert trial_of(data, "cnn", activation) != trial_of(data, "cnn", "leaky_relu:0.25")


@pytest.mark.parametrize("name", ["step", "cut_off", "with_numpy"])
def test_layers_that_no_gradient_reaches_are_named_and_the_trial_is_stored(
    name: str, data: ImageData, own: str
) -> None:
    told = "no gradient reaches conv1, conv2, fc1"
    assert told in checked(data, "cnn", f"{own}:{name}")
    record = trial_of(data, "cnn", f"{own}:{name}", attacks=("fgsm",), attack_images=20)
    assert record.status == "ok"
    assert record.notes[0].startswith(told)
    assert record.clean_accuracy is not None
    if name == "step":
        assert record.input_gradient_norm == 0
    else:
        assert record.input_gradient_norm is None
        assert record.notes[1] == (
            "the input gradient norm could not be measured "
            "(ValueError: no gradient reaches the images)"
        )


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("probabilities", "outputs are probabilities"),
        ("bounded", "gradients may be masked"),
        ("Random", "differ from call to call"),
    ],
)
def test_outputs_that_mislead_attacks_are_named_before_and_after_training(
    name: str, told: str, data: ImageData, own: str
) -> None:
    assert told in checked(data, f"{own}:{name}")
    record = trial_of(data, f"{own}:{name}", attacks=("fgsm",), attack_images=20)
    (warning,) = record.output_warnings
    assert told in warning


def test_logits_of_a_network_as_it_should_be_give_no_warning(data: ImageData, own: str) -> None:
    assert trial_of(data, f"{own}:Net").output_warnings == ()
    assert trial_of(data, "resnet20", "rrelu").output_warnings == ()


def test_a_diagnostic_that_fails_is_said_and_the_trial_is_stored(
    data: ImageData, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no\nfigure")

    monkeypatch.setattr("actbench.training.measurements.attack_result", fail)
    monkeypatch.setattr("actbench.training.diagnostics.InactiveUnits._take", fail)
    record = trial_of(data, f"{own}:Net", attacks=("fgsm",), attack_images=20)
    assert record.status == "ok"
    assert record.clean_accuracy is not None
    assert record.notes == (
        "inactive units of act could not be counted (ValueError: no figure)",
        "accuracy under attack could not be measured (ValueError: no figure)",
    )
    assert (record.inactive, record.inactive_fraction, record.attacks) == ({}, None, ())


def test_activations_that_are_called_by_keyword_are_watched(
    data: ImageData, user_module: Callable[[str], str]
) -> None:
    source = SOURCE + (
        "\nclass ByKeyword(Net):\n"
        "    def forward(self, x):\n"
        "        return self.last(self.act(input=self.first(x.flatten(1))))\n"
    )
    model = f"{user_module(source)}:ByKeyword"
    assert checked(data, model) == ""
    assert list(trial_of(data, model).inactive) == ["act"]


@pytest.mark.usefixtures("short_report")
def test_an_activation_that_changes_the_working_folder_is_measured(
    actbench_here: Callable[..., Outcome],
    user_module: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ACTBENCH_CACHE", "cache")
    source = (
        "import os\nimport torch\n\ndef moves(x):\n    os.chdir('/')\n    return torch.relu(x)\n"
    )
    options = ("--train-images", "64", "--epochs", "2", "--seeds", "1", "--workers", "0")
    activation = f"{user_module(source)}:moves"
    options += ("--activation", activation, "--corruptions", "contrast")
    done = actbench_here("run", *options, "--out", "out")
    assert done.code == 0, done.err
    assert f"{activation} changed the working folder for the process; restored, so that" in done.err
    assert "cnn changed" not in done.err
    assert Path.cwd() == tmp_path
    assert (tmp_path / "out" / "trials.csv").is_file()
