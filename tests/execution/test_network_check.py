"""The check of a user's networks before training: what is refused, and what is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from actbench.errors import UsageError
from actbench.execution.network_check import check_networks
from actbench.models.activations import resolve_activation
from actbench.study.study import Study
from helpers.checked_networks import checked, refusal, trial_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from actbench.data.images import ImageData
    from helpers.runs import Outcome


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


def test_a_network_that_has_nothing_to_learn_is_refused(data: ImageData, own: str) -> None:
    for name in ("cut_off", "step"):
        refused = refusal(data, f"{own}:OutputActivated", f"{own}:{name}")
        assert refused.startswith(f"activation '{own}:{name}' in model '{own}:OutputActivated'")
        assert "has nothing to learn" in refused


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
