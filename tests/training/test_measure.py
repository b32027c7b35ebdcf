"""Scores: accuracy, loss, calibration and margins against plain numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from actbench.corruptions.corrupt import corrupt
from actbench.corruptions.test_sets import corrupted_test_images
from actbench.data.images import normalise, open_images, prepare
from actbench.models.activations import resolve_activation
from actbench.models.build import build_network
from actbench.training.measure import (
    calibration_error,
    input_gradient_norm,
    logit_margin,
    predict,
    score,
)
from actbench.training.measurements import Subject


def random_logits(count: int = 1000, classes: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(classes, (count,), generator=generator)
    logits = 2 * torch.randn(count, classes, generator=generator)
    logits[torch.arange(count), labels] += 1.5
    return logits, labels


def softmax(logits: torch.Tensor) -> np.ndarray:
    raised = np.exp(logits.double().numpy() - logits.double().numpy().max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


def random_images(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (count, 32, 32, 3), dtype=torch.uint8, generator=generator)


def test_accuracy_and_loss_are_the_plain_means() -> None:
    logits, labels = random_logits()
    scores = score(logits, labels)
    correct = logits.numpy().argmax(1) == labels.numpy()
    assert scores.accuracy == correct.mean()
    expected = -np.log(softmax(logits)[np.arange(1000), labels.numpy()]).mean()
    assert scores.loss == pytest.approx(expected, rel=1e-12)
    assert np.array_equal(scores.correct.numpy(), correct)


def test_an_image_with_a_logit_that_is_nan_is_not_correct() -> None:
    logits = torch.tensor([[1.0, math.nan], [0.0, 1.0], [math.nan, math.nan]])
    scores = score(logits, torch.tensor([1, 1, 0]))
    assert scores.correct.tolist() == [False, True, False]
    assert scores.accuracy == pytest.approx(1 / 3)


def test_calibration_error_of_a_case_worked_by_hand() -> None:
    # four images at confidence 0.9, three of them correct: |0.75 − 0.9|; one at 0.6, wrong: 0.6
    confidence = torch.tensor([0.9, 0.9, 0.9, 0.9, 0.6])
    logits = torch.stack([confidence.log(), (1 - confidence).log()], 1)
    labels = torch.tensor([0, 0, 0, 1, 1])
    assert calibration_error(logits, labels) == pytest.approx(0.8 * 0.15 + 0.2 * 0.6, abs=1e-6)


def test_calibration_error_is_over_15_bins_of_the_top_confidence() -> None:
    logits, labels = random_logits()
    probabilities = softmax(logits)
    confidence = probabilities.max(1)
    correct = probabilities.argmax(1) == labels.numpy()
    bins = np.ceil(confidence * 15)
    expected = sum(
        (bins == b).mean() * abs(correct[bins == b].mean() - confidence[bins == b].mean())
        for b in np.unique(bins)
    )
    assert calibration_error(logits, labels) == pytest.approx(expected, abs=1e-6)


def test_a_network_that_is_always_right_and_sure_is_calibrated() -> None:
    logits = torch.eye(3) * 1000
    assert calibration_error(logits, torch.arange(3)) == 0
    assert score(logits, torch.arange(3)).accuracy == 1


def test_the_margin_is_the_true_logit_less_the_largest_other() -> None:
    logits, labels = random_logits()
    values = logits.numpy().astype(np.float64)
    rows = np.arange(1000)
    true = values[rows, labels.numpy()]
    others = values.copy()
    others[rows, labels.numpy()] = -np.inf
    assert logit_margin(logits, labels) == pytest.approx((true - others.max(1)).mean(), rel=1e-6)


@pytest.mark.parametrize("count", [1, 257])
def test_predictions_are_those_of_the_network_in_evaluation_mode(count: int) -> None:
    network, _ = build_network("wrn:depth=10,width=1", resolve_activation("rrelu"), 10, 0)
    network.train()
    images = random_images(count)
    logits = predict(network, images)
    assert logits.shape == (count, 10)
    assert logits.dtype == torch.float32
    with torch.no_grad():
        torch.testing.assert_close(logits, network.eval()(normalise(images)))
    assert torch.equal(predict(network, images), logits)


def test_predicting_does_not_change_the_network() -> None:
    network, _ = build_network("resnet20", resolve_activation("relu"), 10, 0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    predict(network, random_images(10))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_input_gradient_of_a_linear_network_is_its_closed_form() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 4))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        network[1].weight.copy_(torch.randn(4, 3072, generator=generator) / 50)
    images, labels = random_images(300), torch.arange(300) % 4
    probabilities = softmax(predict(network, images))
    # d loss / d x = Wᵀ (p − onehot); x is 2 · image − 1
    error = probabilities - np.eye(4)[labels.numpy()]
    gradients = 2 * error @ network[1].weight.detach().double().numpy()
    expected = np.linalg.norm(gradients, axis=1).mean()
    logits_of = Subject(network, 4).logits
    norm = input_gradient_norm(logits_of, network, images, labels)
    assert norm == pytest.approx(expected, rel=1e-5)


def test_the_corrupted_test_set_is_made_once_for_all_trials(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = open_images(prepare("digits"))
    first = corrupted_test_images(data, "gaussian_noise", 3)
    assert torch.equal(first, corrupt(data.test_images, "gaussian_noise", 3))
    monkeypatch.setattr("actbench.corruptions.test_sets.corrupt", None)
    assert torch.equal(corrupted_test_images(data, "gaussian_noise", 3), first)
    assert torch.equal(corrupted_test_images(data.train_subset(10), "gaussian_noise", 3), first)
