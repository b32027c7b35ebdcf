"""A user's networks and activations as people write them: what is refused, said, or made to fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from actbench.analysis.trial_results import result_of
from actbench.data.images import ImageData, open_images, prepare
from actbench.errors import UsageError
from actbench.execution.network_check import check_networks
from actbench.models.activations import resolve_activation
from actbench.models.build import build_network, takes_contiguous
from actbench.study.study import Study, Trial
from actbench.training.trial import finish, run_trial

if TYPE_CHECKING:
    from collections.abc import Callable

    from actbench.store.result import TrialResult
    from helpers.runs import Outcome

SOURCE = (Path(__file__).parents[1] / "helpers" / "odd_networks.py").read_text(encoding="utf-8")


@pytest.fixture
def own(user_module: Callable[[str], str]) -> str:
    """Return the name of a module with the networks and activations of ``odd_networks``."""
    return user_module(SOURCE)


@pytest.fixture(scope="module")
def data() -> ImageData:
    return open_images(prepare("digits")).train_subset(129)


def checked(data: ImageData, model: str = "cnn", activation: str = "tanh", **recipe: Any) -> str:
    study = Study(model=model, activations=("relu", activation), **recipe)
    factories = [resolve_activation(spec) for spec in study.activations]
    return "\n".join(check_networks(study, factories, data))


def refusal(data: ImageData, model: str = "cnn", activation: str = "tanh", **recipe: int) -> str:
    with pytest.raises(UsageError) as error:
        checked(data, model, activation, **recipe)
    message = str(error.value)
    assert "\n" not in message
    return message


def trial_of(
    data: ImageData, model: str = "cnn", activation: str = "tanh", **changes: object
) -> TrialResult:
    study = Study(model=model, activations=(activation,), baseline=activation, **changes)
    study = replace(study, epochs=2, corruptions=(), kernels="torch")
    few = data.train_subset(8)
    result = result_of(finish(run_trial(study, Trial(activation, 0), few, lambda _: None)), study)
    assert result is not None
    return result


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 3", "cannot be built: AttributeError"),
        ("raise KeyError('a\\nb')", "cannot be built: KeyError"),
        (
            "return nn.Sequential(nn.Linear(10, classes), activation())",
            "in evaluation on 40 images",
        ),
        ("return nn.Sequential(nn.Flatten(), nn.Linear(3072, classes))", "does not use the act"),
        ("return nn.Sequential(nn.Flatten(), nn.Linear(3072, 3), activation())", "returns (40, 3)"),
        ("return nn.Sequential(nn.Flatten(), activation(), nn.MaxPool1d(307))", "nothing to train"),
    ],
)
def test_a_network_that_cannot_be_trained_is_refused_by_name(
    body: str, message: str, data: ImageData, user_module: Callable[[str], str]
) -> None:
    source = f"from torch import nn\n\ndef build(activation, classes):\n    {body}\n"
    refused = refusal(data, f"{user_module(source)}:build")
    assert refused.startswith("model 'user_module")
    assert message in refused


def test_a_parameter_that_a_network_does_not_take_is_refused(data: ImageData, own: str) -> None:
    assert "unexpected keyword argument 'breadth'" in refusal(data, f"{own}:Net:breadth=3")


def test_a_network_that_works_gives_no_note_and_draws_no_random_numbers(
    data: ImageData, own: str
) -> None:
    before = torch.get_rng_state()
    assert checked(data, f"{own}:Net", "rrelu") == ""
    assert torch.equal(torch.get_rng_state(), before)


def test_networks_and_activations_of_actbench_are_not_tried(
    data: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actbench.execution.network_check.build_network", None)
    assert checked(data, "resnet20", "gelu") == ""


def test_a_network_that_never_runs_its_activations_is_refused(data: ImageData, own: str) -> None:
    assert "never runs the activation layers that it builds (act)" in refusal(
        data, f"{own}:NeverRuns"
    )


def test_activations_that_are_no_submodules_are_refused(data: ImageData, own: str) -> None:
    assert "torch.nn.ModuleList" in refusal(data, f"{own}:Unregistered")


def test_activations_that_do_not_run_are_named_before_and_after_training(
    data: ImageData, own: str
) -> None:
    told = "the network never runs its activation layers spare in"
    warned = checked(data, f"{own}:RunsOneOfTwo")
    assert warned.splitlines() == [
        f"{own}:RunsOneOfTwo with relu, tanh: {told} {when}" for when in ("evaluation", "training")
    ]
    assert trial_of(data, f"{own}:RunsOneOfTwo").notes == (f"{told} evaluation",)


def test_an_activation_that_runs_only_in_evaluation_is_refused(data: ImageData, own: str) -> None:
    refused = refusal(data, f"{own}:OnlyInEvaluation")
    assert "never runs the activation layers that it builds (act) in training" in refused


def test_an_activation_that_runs_only_in_training_gives_a_warning(
    data: ImageData, own: str
) -> None:
    told = "the network never runs its activation layers act in evaluation"
    assert checked(data, f"{own}:OnlyInTraining").endswith(f": {told}")
    assert trial_of(data, f"{own}:OnlyInTraining").notes == (told,)


def test_an_activation_at_several_layers_is_counted_at_each(data: ImageData, own: str) -> None:
    assert checked(data, f"{own}:Shared") == ""
    record = trial_of(data, f"{own}:Shared")
    assert record.status == "ok"
    assert list(record.inactive) == ["act", "act (call 2)"]
    shares = list(record.inactive.values())
    assert record.inactive_fraction == pytest.approx((16 * shares[0] + 8 * shares[1]) / 24)


def test_a_second_output_in_training_is_refused(data: ImageData, own: str) -> None:
    assert "returns tuple in training for 64 images" in refusal(data, f"{own}:Auxiliary")


def test_a_last_batch_that_cannot_be_trained_on_is_refused_with_sizes_that_can(
    data: ImageData, own: str
) -> None:
    refused = refusal(data, f"{own}:Normed")  # 129 images, so the last batch of 64 has one
    assert "last batch of an epoch, which has 1 of 129 images at batch_size 64" in refused
    sizes = [int(size) for size in refused.rpartition("batch_size can be ")[2].split(", ")]
    assert len(sizes) == 3
    assert all(129 % size != 1 for size in sizes)
    for size in sizes:
        assert checked(data, f"{own}:Normed", batch_size=size) == ""


def test_a_batch_of_one_that_cannot_be_trained_on_is_refused(data: ImageData, own: str) -> None:
    assert "cannot be trained on a batch of 1" in refusal(data, f"{own}:Normed", batch_size=1)


def test_the_last_batch_while_learning_rates_are_tuned_is_tried_too(
    data: ImageData, own: str
) -> None:
    study = Study(model=f"{own}:Normed", activations=("relu",), batch_size=43)
    factories = [resolve_activation("relu")]
    check_networks(study, factories, data, [129])
    with pytest.raises(UsageError, match="which has 1 of 87 images"):
        check_networks(study, factories, data, [129, 87])


def test_what_cannot_be_trained_twice_is_refused(data: ImageData, own: str) -> None:
    for name in ("KeepsGraph", "KeepsGraphOfSteps"):
        refused = refusal(data, "cnn", f"{own}:{name}")
        assert "backward through the graph a second time" in refused


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


def test_a_network_that_has_nothing_to_learn_is_refused(data: ImageData, own: str) -> None:
    for name in ("cut_off", "step"):
        refused = refusal(data, f"{own}:OutputActivated", f"{own}:{name}")
        assert refused.startswith(f"activation '{own}:{name}' in model '{own}:OutputActivated'")
        assert "has nothing to learn" in refused


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


@pytest.mark.parametrize("against", ["pgd:steps=1", "trades:steps=1", "fgsm"])
def test_a_network_of_ones_own_may_be_trained_against_any_adversary(
    against: str, data: ImageData, own: str
) -> None:
    assert checked(data, f"{own}:Net", train_against=against) == ""


@pytest.mark.parametrize("when", ["not x.requires_grad", "x.requires_grad", "len(x) > 2"])
def test_an_activation_that_exits_is_refused_before_training(
    when: str, actbench_here: Callable[..., Outcome], user_module: Callable[[str], str]
) -> None:
    source = f"def leaves(x):\n    if {when}:\n        raise SystemExit(0)\n    return x\n"
    activation = f"{user_module(source)}:leaves"
    done = actbench_here("run", "--activation", activation, "--workers", "0", "--out", "out")
    assert done.code == 2
    (line,) = [line for line in done.err.splitlines() if "SystemExit: 0" in line]
    assert activation in line


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
    assert f"{activation} changed the working folder for the whole process" in done.err
    assert "cnn changed" not in done.err
    assert Path.cwd() == tmp_path
    assert (tmp_path / "out" / "trials.csv").is_file()
