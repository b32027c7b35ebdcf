"""Held-out training images, and the weights that are selected by them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from actbench.data.images import ImageData, open_images, prepare
from actbench.errors import UsageError
from actbench.models.activations import resolve_activation
from actbench.models.build import build_network
from actbench.store.record import EpochRecord
from actbench.study.study import Study, Trial
from actbench.training.measure import predict, score
from actbench.training.trial import run_to_end, run_trial, train
from actbench.training.validation import best_epoch, split


@pytest.fixture(scope="module")
def data() -> ImageData:
    images = open_images(prepare("digits")).train_subset(200)
    few = {"test_images": images.test_images[:30], "test_labels": images.test_labels[:30]}
    return ImageData(**{**vars(images), **few})


LABELS = torch.tensor([0] * 50 + [1] * 30 + [2] * 7 + [3])


def test_a_split_has_the_share_of_each_class_and_each_image_once() -> None:
    train_part, held_out = split(LABELS, 0.1, seed=0)
    assert LABELS[held_out].bincount(minlength=4).tolist() == [5, 3, 1, 0]
    assert sorted([*train_part.tolist(), *held_out.tolist()]) == list(range(len(LABELS)))
    assert train_part.tolist() == sorted(train_part.tolist())


def test_a_split_depends_on_the_seed_only() -> None:
    torch.manual_seed(99)
    assert torch.equal(split(LABELS, 0.2, 3)[1], split(LABELS, 0.2, 3)[1])
    assert not torch.equal(split(LABELS, 0.2, 3)[1], split(LABELS, 0.2, 4)[1])


def test_each_class_keeps_an_image_to_train_on() -> None:
    train_part, _ = split(torch.tensor([0, 0, 1, 1, 2]), 0.5, seed=0)
    assert set(torch.tensor([0, 0, 1, 1, 2])[train_part].tolist()) == {0, 1, 2}


def test_a_share_below_half_an_image_of_every_class_is_refused() -> None:
    with pytest.raises(UsageError, match=r"validation is 0\.001, which holds out no image"):
        split(LABELS, 0.001, seed=0)


def epoch(number: int, accuracy: float, loss: float) -> EpochRecord:
    return EpochRecord(number, 1.0, None, None, {}, loss, accuracy)


def test_the_best_epoch_has_the_highest_accuracy_then_the_lowest_loss_then_is_first() -> None:
    history = [epoch(1, 0.5, 1.0), epoch(2, 0.7, 0.9), epoch(3, 0.7, 0.8), epoch(4, 0.7, 0.8)]
    assert best_epoch(history) == 3
    assert best_epoch(history[:2]) == 2


@pytest.mark.parametrize("select", ["last", "best"])
def test_the_selected_weights_are_measured_on_the_test_images_after_training(
    select: str, data: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def watched(network: torch.nn.Module, images: torch.Tensor, *rest: Any) -> torch.Tensor:
        seen.append(len(images))
        return predict(network, images, *rest)

    for module in ("trial", "measurements"):
        monkeypatch.setattr(f"actbench.training.{module}.predict", watched)
    # a rate at which accuracy goes up and down
    study = Study(
        epochs=4,
        validation=0.2,
        select=select,
        learning_rate=0.3,
        optimizer="sgd:momentum=0.9",
        schedule="constant",
        batch_size=20,
        corruptions=(),
    )
    record = run_to_end(run_trial(study, Trial("relu", 1), data, lambda _: None))
    held_out = len(split(data.train_labels, 0.2, 1)[1])
    assert seen[:4] == [held_out] * 4  # no test image before the training ends
    assert set(seen[4:]) == {30}
    assert {(e.test_loss, e.test_accuracy) for e in record.history} == {(None, None)}
    best = best_epoch(record.history)
    assert best < 4, "the seed must be one whose last epoch is not the best"

    # the same weights, from a training that stops there and selects nothing
    until = best if select == "best" else 4
    network, _ = build_network("cnn", resolve_activation("relu"), 10, 1)
    plain = Study(
        epochs=until,
        validation=0.2,
        learning_rate=0.3,
        optimizer="sgd:momentum=0.9",
        schedule="constant",
        batch_size=20,
    )
    training = run_to_end(train(network, data, plain, Trial("relu", 1), lambda _: None))
    assert training.history == record.history[:until]
    expected = score(predict(network, data.test_images), data.test_labels)
    assert record.clean is not None
    assert (record.clean.accuracy, record.clean.loss) == (expected.accuracy, expected.loss)


def test_held_out_images_are_not_trained_on_nor_augmented(data: ImageData) -> None:
    part, held_out = split(data.train_labels, 0.2, 0)
    study, trial = Study(epochs=2, validation=0.2, augment=("flip",)), Trial("relu", 0)
    network, _ = build_network("cnn", resolve_activation("relu"), 10, 0)
    first = run_to_end(train(network, data, study, trial, lambda _: None)).history
    images = data.train_images.clone()
    images[held_out] = 255 - images[held_out]
    other = ImageData(**{**vars(data), "train_images": images})
    network, _ = build_network("cnn", resolve_activation("relu"), 10, 0)
    second = run_to_end(train(network, other, study, trial, lambda _: None)).history
    assert [e.train_loss for e in first] == [e.train_loss for e in second]
    assert [e.validation_loss for e in first] != [e.validation_loss for e in second]
    assert len(part) + len(held_out) == 200
