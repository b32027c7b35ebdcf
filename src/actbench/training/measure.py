"""A trained network and images → accuracy, loss, calibration, margins and gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from actbench.attacks.perturbations import is_correct
from actbench.data.images import normalise

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

EVALUATION_BATCH = {"cpu": 64, "cuda": 2000}  # more does not fit into a processor's caches
GRADIENT_BATCH = 256
CALIBRATION_BINS = 15
PROBABILITY_TOLERANCE = 0.01  # for the sum over classes, which bfloat16 rounds


@dataclass(frozen=True)
class Scores:
    """Accuracy in [0, 1], mean cross-entropy in nats, and per image whether it was correct."""

    accuracy: float
    loss: float
    correct: torch.Tensor


def computing_in(precision: str, device: torch.device) -> torch.autocast:
    """Return the context for a network's forward pass in a precision; ``tf32`` needs none."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def normalise_pixels(images: torch.Tensor) -> torch.Tensor:
    """Return float32 images (N, 3, S, S) in [0, 1] as 2 x − 1, channels_last: see ``normalise``."""
    scaled = torch.add(images.new_full((), -1), images, alpha=2)  # at once, as 2 x is exact
    return scaled.contiguous(memory_format=torch.channels_last)


def predict(
    network: nn.Module,
    images: torch.Tensor,
    precision: str = "fp32",
    inputs: Callable[[torch.Tensor], torch.Tensor] = normalise,
) -> torch.Tensor:
    """Return the logits, float32 of shape (N, classes), in evaluation mode.

    Args:
        network: the network.
        images: uint8 (N, S, S, 3).
        precision: ``bf16`` computes in bfloat16.
        inputs: maps such images to what the network takes.
    """
    network.eval()
    # no inference mode: a layer may keep a tensor that training uses later
    with torch.no_grad(), computing_in(precision, images.device):
        size = EVALUATION_BATCH.get(images.device.type, EVALUATION_BATCH["cuda"])
        first: torch.Tensor = network(inputs(images[:size])).float()
        # allocated once: keeping each batch's logits would fragment the heap
        logits = first.new_empty((len(images), *first.shape[1:]))
        logits[:size] = first
        for start in range(size, len(images), size):
            logits[start : start + size] = network(inputs(images[start : start + size]))
        return logits


def score(logits: torch.Tensor, labels: torch.Tensor) -> Scores:
    """Return the scores of logits (N, classes) against int64 labels (N,).

    An image with a logit that is NaN is not correct, whatever ``argmax`` finds.
    """
    correct = is_correct(logits, labels)
    loss = F.cross_entropy(logits.double(), labels)
    return Scores(float(correct.double().mean()), float(loss), correct)


def calibration_error(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the expected calibration error in [0, 1], over 15 bins of the top confidence.

    It is computed on the processor, because a GPU adds to the bins in no fixed order.

    Naeini, Cooper and Hauskrecht 2015; Guo et al. 2017: the mean over bins, weighted by their
    share of the images, of |accuracy − mean confidence|.
    """
    logits, labels = logits.cpu(), labels.cpu()
    confidence, predicted = logits.softmax(1).max(1)
    edges = torch.linspace(0, 1, CALIBRATION_BINS + 1)
    bins = torch.bucketize(confidence, edges, right=True) - 1  # a confidence of 1 has its own bin

    def sums(values: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(edges)).scatter_add_(0, bins, values)

    counts = sums(torch.ones_like(confidence))
    accuracy = sums((predicted == labels).float()) / counts
    gaps = (accuracy - sums(confidence) / counts).nan_to_num().abs()  # an empty bin has no gap
    return float((gaps * (counts / counts.sum())).sum())


def logit_margin(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the mean of the true class's logit minus the largest of the others."""
    true = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(1, keepdim=True)
    return float((true - others).double().mean())


def output_warnings(
    predicted: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor, logits: torch.Tensor
) -> tuple[str, ...]:
    """Return why a network's outputs may overstate accuracy under attack, a sentence for each.

    Args:
        predicted: ``predict`` with the network; called once more for the first images.
        images: uint8 (N, S, S, 3).
        logits: those that it returned for them, float32 (N, classes).
    """
    found = []
    sums = logits.double().sum(1)
    if bool((logits >= 0).all()) and bool(((sums - 1).abs() < PROBABILITY_TOLERANCE).all()):
        found.append(
            "its outputs are probabilities (none is negative, and those of an image sum to 1), "
            "where logits are expected; the cross-entropy of probabilities hardly changes, which "
            "misleads training and gradient attacks"
        )
    elif bool(((logits >= 0) & (logits <= 1)).all()):
        found.append(
            "its outputs seem bounded (all are in [0, 1], as after a sigmoid), where logits are "
            "expected; gradients may be masked, which misleads gradient attacks"
        )
    some = slice(EVALUATION_BATCH[images.device.type])
    with torch.random.fork_rng(devices=[]):
        again = predicted(images[some])
    if not torch.allclose(again, logits[some], rtol=1e-3, atol=1e-4, equal_nan=True):
        found.append(
            "its outputs for the same images differ from call to call in evaluation mode, so it "
            "draws random numbers there or goes on changing, which gradient attacks cannot follow"
        )
    return tuple(found)


def input_gradient_norm(
    logits_of: Callable[[torch.Tensor], torch.Tensor],
    network: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
) -> float:
    """Return the mean over images of the L2 norm of the loss gradient in the image in [0, 1].

    Args:
        logits_of: maps float32 images (N, 3, S, S) in [0, 1] to logits.
        network: the network that it uses.
        images: uint8 (N, S, S, 3).
        labels: int64 (N,).

    Raises:
        ValueError: the loss does not depend differentiably on the images.
    """
    network.eval()
    total = 0.0
    parts = zip(
        torch.split(images, GRADIENT_BATCH), torch.split(labels, GRADIENT_BATCH), strict=True
    )
    for batch, batch_labels in parts:
        x = batch.permute(0, 3, 1, 2).float().div(255).requires_grad_()
        loss = F.cross_entropy(logits_of(x).float(), batch_labels, reduction="sum")
        gradient = None
        if loss.requires_grad:
            (gradient,) = torch.autograd.grad(loss, x, allow_unused=True)
        if gradient is None:
            raise ValueError("no gradient reaches the images")
        total += float(gradient.flatten(1).double().norm(dim=1).sum())
    return total / len(images)
