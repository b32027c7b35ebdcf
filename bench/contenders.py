"""The training and evaluation of actbench and of the plain loop, as code to time."""

from __future__ import annotations

import contextlib
import dataclasses
from functools import partial
from typing import TYPE_CHECKING
from unittest import mock

import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from actbench.data import images as data
from actbench.data.images import ImageData, normalise
from actbench.models.activations import resolve_activation
from actbench.models.build import build_network
from actbench.models.networks import layers as models
from actbench.models.networks.registry import resolve_model
from actbench.study.activations import Shape
from actbench.study.study import Study, Trial
from actbench.training.diagnostics import GradientNorms
from actbench.training.measure import predict
from actbench.training.trial import run_to_end, train
from cifar_shaped import BATCH_SIZE, CLASSES, RECIPE, TEST_IMAGES, TRAIN_IMAGES, synthetic_images

if TYPE_CHECKING:
    from collections.abc import Callable


def synthetic_data(train_images: int = TRAIN_IMAGES, test_images: int = TEST_IMAGES) -> ImageData:
    """Return synthetic images as actbench stores a data set."""
    train_set = map(torch.from_numpy, synthetic_images(train_images, 0))
    test_set = map(torch.from_numpy, synthetic_images(test_images, 1))
    classes = tuple(map(str, range(CLASSES)))
    return ImageData(*train_set, *test_set, classes, flip=True, checksum="")


def our_training(
    images: int,
    *,
    model: str = "cnn",
    activation: str = "leaky_relu:0.01",
    precision: str = "fp32",
    kernels: str = "torch",
    channels_last: bool = True,
    pool_first: bool = True,
    gradient_norms: bool = True,
) -> Callable[[], object]:
    """Return actbench's training of one epoch; its single test image takes no measurable time.

    A flag set to False disables one part of what actbench does.
    """
    study = Study(
        **RECIPE, dataset="synthetic", model=model, epochs=1, precision=precision, kernels=kernels
    )
    trial = Trial(activation, seed=0)
    images_and_labels = synthetic_data(images, test_images=1)
    factory = resolve_activation(activation)
    if not pool_first:
        factory = dataclasses.replace(factory, shape=Shape.ANY)
    network, _ = build_network(model, factory, CLASSES, trial.seed, kernels=kernels)
    if not channels_last:
        network = network.to(memory_format=torch.contiguous_format)

    def train_epoch() -> None:
        with contextlib.ExitStack() as changed:
            if not channels_last:
                changed.enter_context(mock.patch.object(data, "normalise", _normalise_to_nchw))
            if not gradient_norms:
                changed.enter_context(mock.patch.object(GradientNorms, "add_step"))
            run_to_end(train(network, images_and_labels, study, trial, lambda progress: None))

    return train_epoch


def our_evaluation(
    *, kernels: str = "torch", pool_with_indices: bool = False
) -> Callable[[], object]:
    """Return actbench's evaluation of 10,000 images; the flag selects the pool of training."""
    activation = resolve_activation("leaky_relu:0.01")
    network, _ = build_network("cnn", activation, CLASSES, seed=0, kernels=kernels)
    images = synthetic_data(train_images=1).test_images

    def evaluate() -> None:
        with contextlib.ExitStack() as changed:
            if pool_with_indices:
                pool = partial(F.max_pool2d, kernel_size=2)
                changed.enter_context(mock.patch.object(models, "max_pool", pool))
            predict(network, images)

    return evaluate


def _normalise_to_nchw(images: torch.Tensor) -> torch.Tensor:
    colour_first = images.permute(0, 3, 1, 2).contiguous()
    return normalise(colour_first.permute(0, 2, 3, 1))


def plain_training(images: int) -> Callable[[], object]:
    """Return the plain loop's training of one epoch."""
    import plain_loop

    make_dataset = plain_loop.synthetic_data(images, test_images=1)
    loader = plain_loop.make_loader(make_dataset("train", plain_loop.TRAIN_TRANSFORM), shuffle=True)
    model = plain_loop.make_cnn(negative_slope=0.01)
    optimizer = plain_loop.make_optimizer(model)
    return lambda: plain_loop.train_epoch(model, loader, optimizer)


def plain_steps(images: int, model: str) -> Callable[[], object]:
    """Return training steps of a network in plain PyTorch, channels_last, on prepared batches.

    The batches are normalised and in memory; activations overwrite their input. It does nothing
    else that actbench does: no flips, no gradient norms, no losses that are kept.
    """
    network = _plain_network(model).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    data = synthetic_data(images, test_images=1)
    batches = [
        (normalise(part), labels)
        for part, labels in zip(
            data.train_images.split(BATCH_SIZE), data.train_labels.split(BATCH_SIZE), strict=True
        )
    ]

    def train_epoch() -> None:
        for batch, labels in batches:
            optimizer.zero_grad()
            F.cross_entropy(network(batch), labels).backward()
            optimizer.step()

    return train_epoch


def _plain_network(model: str) -> nn.Module:
    if model.startswith("torchvision:"):
        return torchvision.models.get_model(model.split(":")[1], num_classes=CLASSES)
    if model == "resnet18":
        network = torchvision.models.resnet18(num_classes=CLASSES)
        network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        network.maxpool = nn.Identity()
        return network
    _, build = resolve_model(model)
    return build(resolve_activation("relu"), CLASSES, 32)
