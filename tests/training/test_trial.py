"""Training: the recipe to the last bit, its history, and losses that are not finite."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F

from actbench.data.augmentation import Augmentation
from actbench.data.batches import batches
from actbench.data.images import ImageData, open_images, prepare
from actbench.models.activations import resolve_activation
from actbench.models.build import build_network
from actbench.study.study import Study, Trial
from actbench.training.measure import predict, score
from actbench.training.trial import Training, run_to_end, run_trial, train

if TYPE_CHECKING:
    from collections.abc import Callable

    from actbench.training.events import Progress


@pytest.fixture(scope="module")
def data() -> ImageData:
    images = open_images(prepare("digits")).train_subset(128)
    few = {"test_images": images.test_images[:40], "test_labels": images.test_labels[:40]}
    return ImageData(**{**vars(images), **few})


def trained(
    data: ImageData, spec: str = "relu", seed: int = 0, **recipe: Any
) -> tuple[dict[str, torch.Tensor], Training, list[Progress]]:
    """Return the weights after training, the history, and all reported progress."""
    study = Study(**{"epochs": 2, "activations": (spec,), **recipe})
    network, _ = build_network(study.model, resolve_activation(spec), 10, seed)
    reports: list[Progress] = []
    training = run_to_end(train(network, data, study, Trial(spec, seed), reports.append))
    return dict(network.state_dict()), training, reports


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize(
    "model", ["cnn", "deep_cnn:depth=4", pytest.param("resnet20", marks=pytest.mark.slow)]
)
def test_relu_and_a_leaky_slope_of_zero_give_the_same_weights_to_the_last_bit(
    model: str, data: ImageData
) -> None:
    relu, relu_training, _ = trained(data, "relu", model=model, augment=("flip",))
    leaky, leaky_training, _ = trained(data, "leaky_relu:0", model=model, augment=("flip",))
    assert same(relu, leaky)
    assert relu_training == leaky_training


def test_another_slope_gives_other_weights(data: ImageData) -> None:
    assert not same(trained(data, "relu")[0], trained(data, "leaky_relu:0.01")[0])


@pytest.mark.parametrize("spec", ["relu", "rrelu", "prelu"])
def test_a_trial_repeats_to_the_last_bit_whatever_was_drawn_before(
    spec: str, data: ImageData
) -> None:
    first, training, _ = trained(data, spec)
    torch.rand(100)
    again, training_again, _ = trained(data, spec)
    assert same(first, again)
    assert training == training_again


def test_seeds_differ(data: ImageData) -> None:
    assert not same(trained(data, seed=0)[0], trained(data, seed=1)[0])


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_training_is_sgd_with_momentum_on_cross_entropy(
    weight_decay: float, data: ImageData
) -> None:
    ours, training, _ = trained(
        data,
        weight_decay=weight_decay,
        learning_rate=0.05,
        optimizer="sgd:momentum=0.9",
        schedule="constant",
    )
    network, _ = build_network("cnn", resolve_activation("relu"), 10, 0)
    speed = {name: torch.zeros_like(p) for name, p in network.named_parameters()}
    losses = []
    for epoch in (1, 2):
        total = 0.0
        for images, labels in batches(data, 64, 0, epoch, Augmentation((), flip=False)):
            network.zero_grad()
            loss = F.cross_entropy(network(images), labels)
            loss.backward()
            total += loss.item() * len(labels)
            with torch.no_grad():
                for name, p in network.named_parameters():
                    assert p.grad is not None
                    speed[name] = 0.9 * speed[name] + p.grad + weight_decay * p
                    p -= 0.05 * speed[name]
        losses.append(total / 128)
    torch.testing.assert_close(ours, dict(network.state_dict()))
    assert [epoch.train_loss for epoch in training.history] == pytest.approx(losses, rel=1e-5)


def test_the_history_holds_the_test_scores_after_every_epoch(data: ImageData) -> None:
    study, trial = Study(epochs=3, activations=("relu",)), Trial("relu", 0)
    network, _ = build_network("cnn", resolve_activation("relu"), 10, 0)
    seen: list[tuple[float, float]] = []

    def look(_: Progress) -> None:
        scores = score(predict(network, data.test_images), data.test_labels)
        seen.append((scores.loss, scores.accuracy))

    training = run_to_end(train(network, data, study, trial, look))
    assert [(e.test_loss, e.test_accuracy) for e in training.history] == seen
    assert [e.epoch for e in training.history] == [1, 2, 3]
    assert training.diverged == ""


def test_training_learns(data: ImageData) -> None:
    _, training, _ = trained(data, epochs=15, batch_size=16)
    losses = [epoch.train_loss for epoch in training.history]
    assert losses[-1] < losses[0] / 4
    assert training.history[-1].test_accuracy > 0.6


def test_progress_is_reported_every_100_steps_and_after_every_epoch(data: ImageData) -> None:
    _, training, reports = trained(data, batch_size=1, learning_rate=1e-4)
    assert [(r.epoch, r.step, r.steps) for r in reports] == [
        (1, 100, 128),
        (1, 128, 128),
        (2, 100, 128),
        (2, 128, 128),
    ]
    assert [r.test_accuracy for r in reports] == [
        None,
        training.history[0].test_accuracy,
        None,
        training.history[1].test_accuracy,
    ]
    assert {r.epochs for r in reports} == {2}


def test_images_are_mirrored_if_their_labels_allow_it_or_on_request(data: ImageData) -> None:
    def weights(flip: bool, augment: str) -> dict[str, torch.Tensor]:
        allowed = ImageData(**{**vars(data), "flip": flip})
        return trained(allowed, augment=(augment,), epochs=1)[0]

    plain, mirrored = weights(False, "none"), weights(True, "flip")
    assert not same(plain, mirrored)
    assert same(weights(False, "auto"), plain)
    assert same(weights(True, "auto"), mirrored)
    assert same(weights(True, "none"), plain)
    assert same(weights(False, "flip"), mirrored)


def test_a_loss_that_is_not_finite_ends_training_within_its_step(data: ImageData) -> None:
    weights, training, _ = trained(data, "leaky_relu:1e38")
    assert re.fullmatch(r"loss (nan|inf) at epoch 1, step 1", training.diverged)
    assert training.history == ()
    # that step has changed nothing
    network, _ = build_network("cnn", resolve_activation("leaky_relu:1e38"), 10, 0)
    assert same(weights, dict(network.state_dict()))


def test_a_learning_rate_of_a_million_ends_as_diverged_with_the_step(data: ImageData) -> None:
    study = Study(
        learning_rate=1e6,
        optimizer="sgd:momentum=0.9",
        schedule="constant",
        epochs=3,
        activations=("leaky_relu:0.1",),
        baseline="leaky_relu:0.1",
    )
    record = run_to_end(run_trial(study, study.trials()[0], data, lambda _: None))
    assert record.status == "diverged"
    assert re.fullmatch(
        r"loss (nan|inf) at epoch \d, step \d|test loss (nan|inf) at epoch \d, after step \d",
        record.reason,
    )
    assert record.results == {}


def test_bf16_computes_coarsely_and_keeps_float32_weights(data: ImageData) -> None:
    fine, fine_training, _ = trained(data, seed=1, epochs=1)
    coarse, coarse_training, _ = trained(data, seed=1, epochs=1, precision="bf16")
    assert all(weight.dtype == torch.float32 for weight in coarse.values())
    assert not same(fine, coarse)
    losses = [[e.train_loss for e in t.history] for t in (fine_training, coarse_training)]
    # bfloat16 keeps 8 significant bits
    assert losses[1] == pytest.approx(losses[0], rel=2**-6)


@pytest.mark.parametrize(
    "model",
    ["cnn", *(pytest.param(m, marks=pytest.mark.slow) for m in ("deep_cnn:depth=4", "resnet20"))],
)
def test_relu_and_a_leaky_slope_of_zero_agree_in_bf16_as_well(model: str, data: ImageData) -> None:
    relu, _, _ = trained(data, "relu", model=model, epochs=1, precision="bf16")
    leaky, _, _ = trained(data, "leaky_relu:0", model=model, epochs=1, precision="bf16")
    assert same(relu, leaky)


def test_weight_decay_does_not_move_the_parameters_of_activations(
    data: ImageData, user_module: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = """
import torch
class Act(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor(0.25))
    def forward(self, x):
        return torch.relu(x) + 0 * self.slope
"""
    spec = f"{user_module(source)}:Act"
    built: list[torch.nn.Module] = []

    def build(
        *arguments: Any, **options: Any
    ) -> tuple[torch.nn.Module, dict[str, torch.nn.Module]]:
        network, layers = build_network(*arguments, **options)
        built.append(network)
        return network, layers

    monkeypatch.setattr("actbench.training.trial.build_network", build)
    weights = {}
    for decay in (0.0, 0.1):
        study = Study(activations=(spec,), baseline=spec, epochs=1, weight_decay=decay)
        few = {"corruptions": (), "kernels": "torch"}
        run_to_end(run_trial(replace(study, **few), Trial(spec, 0), data, lambda _: None))
        weights[decay] = dict(built[-1].state_dict())
    slopes = [value.item() for name, value in weights[0.1].items() if name.endswith("slope")]
    assert slopes == [0.25, 0.25, 0.25]
    assert not same(weights[0.0], weights[0.1])
