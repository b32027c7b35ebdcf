"""The measurements of a trained network: on the test images, under corruptions and attacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from actbench.attacks.gradient_masking import masking_checks
from actbench.attacks.registry import ATTACKS
from actbench.corruptions.test_sets import corrupted_test_images
from actbench.data.images import normalise
from actbench.store.measured import (
    AttackResult,
    CleanResult,
    CorruptionResult,
    GradientResult,
    SeverityResult,
)
from actbench.store.values import pack_counts
from actbench.study.levels import severities
from actbench.training.diagnostics import InactiveUnits, attempt
from actbench.training.measure import (
    calibration_error,
    computing_in,
    input_gradient_norm,
    logit_margin,
    normalise_pixels,
    output_warnings,
    predict,
    score,
)
from actbench.training.steps import seed_generators

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import torch
    from torch import nn

    from actbench.attacks.base import Attack, Attacked
    from actbench.data.images import ImageData
    from actbench.store.measured import AnyResult
    from actbench.study.measurements import Measurement
    from actbench.study.study import Study


@dataclass(frozen=True, eq=False)
class Subject:
    """A trained network, and how it is evaluated.

    Attributes:
        network: maps normalised images (N, 3, S, S) to logits (N, classes).
        classes: the number of classes.
        precision: as in ``measure.predict``.
        activation_layers: its activation layers by name, whose inactive units are counted.
        inputs: maps uint8 images (N, S, S, 3) to what the network takes.
        pixels: maps float32 images (N, 3, S, S) in [0, 1] to what the network takes.
    """

    network: nn.Module
    classes: int
    precision: str = "fp32"
    activation_layers: Mapping[str, nn.Module] | None = None
    inputs: Callable[[torch.Tensor], torch.Tensor] = normalise
    pixels: Callable[[torch.Tensor], torch.Tensor] = normalise_pixels

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of uint8 images (N, S, S, 3): see ``measure.predict``."""
        return predict(self.network, images, self.precision, self.inputs)

    def logits(self, batch: torch.Tensor) -> torch.Tensor:
        """Return the logits of float32 images (N, 3, S, S) in [0, 1], with their graph."""
        inputs = self.pixels(batch)
        with computing_in(self.precision, batch.device):
            return self.network(inputs)  # type: ignore[no-any-return]


def measure(
    subject: Subject, data: ImageData, study: Study, seed: int, measurement: Measurement
) -> AnyResult:
    """Return the result of one of a study's measurements.

    It depends on the network, the test images, the trial's seed and the measurement only: all
    generators that a layer may draw from are seeded first.

    Args:
        subject: the trained network.
        data: the study's images, on the network's device.
        study: the study, for the folder of published corrupted images.
        seed: the trial's.
        measurement: what to measure.
    """
    spec, epsilon = measurement.spec, measurement.epsilon
    context = (measurement.kind, spec, measurement.source, measurement.images, repr(epsilon))
    seed_generators("evaluation", seed, *context)
    images, labels = data.test_images, data.test_labels
    if measurement.kind == "clean":
        return clean_result(subject, images, labels)
    if measurement.kind == "corruption":
        corrupted = (
            (severity, corrupted_test_images(data, spec, severity, study.cifar10c))
            for severity in severities(spec)
        )
        return corruption_result(subject, spec, measurement.source, corrupted, labels)
    some = slice(measurement.images)
    if measurement.kind == "gradients":
        return gradient_result(subject, images[some], labels[some])
    return attack_result(subject, spec, epsilon, images[some], labels[some])


def clean_result(subject: Subject, images: torch.Tensor, labels: torch.Tensor) -> CleanResult:
    """Return the results on images as they are.

    Args:
        subject: the trained network.
        images: uint8 (N, S, S, 3).
        labels: int64 (N,).
    """
    notes: list[str] = []
    network, layers = subject.network, subject.activation_layers
    with InactiveUnits(network, layers or {}) as inactive:
        logits = subject.predict(images)
    scores = score(logits, labels)
    if layers is not None:
        notes += inactive.notes()
    warnings = output_warnings(subject.predict, images, logits)
    gradient_norm = attempt(
        "the input gradient norm",
        lambda: input_gradient_norm(subject.logits, network, images, labels),
        notes,
    )
    return CleanResult(
        accuracy=scores.accuracy,
        loss=scores.loss,
        ece=calibration_error(logits, labels),
        correct=pack_counts(scores.correct.cpu().numpy()),
        class_correct=by_class(labels[scores.correct], subject.classes),
        logit_margin=logit_margin(logits, labels),
        input_gradient_norm=gradient_norm,
        inactive=inactive.fractions(),
        inactive_fraction=None if layers is None else inactive.fraction(),
        output_warnings=warnings,
        notes=tuple(notes),
    )


def corruption_result(
    subject: Subject,
    corruption: str,
    source: str,
    versions: Iterable[tuple[int, torch.Tensor]],
    labels: torch.Tensor,
) -> CorruptionResult:
    """Return the results under one corruption.

    Args:
        subject: the trained network.
        corruption: its spec.
        source: see ``Measurement``.
        versions: each severity with the corrupted images, uint8 (N, S, S, 3).
        labels: int64 (N,).
    """
    counts = np.zeros(len(labels), dtype=np.uint8)
    found = []
    for severity, images in versions:
        logits = subject.predict(images)
        scores = score(logits, labels)
        ece = calibration_error(logits, labels)
        classes = by_class(labels[scores.correct], subject.classes)
        found.append(SeverityResult(severity, scores.accuracy, scores.loss, ece, classes))
        counts += scores.correct.cpu().numpy()
    return CorruptionResult(
        corruption=corruption, source=source, severities=tuple(found), correct=pack_counts(counts)
    )


def gradient_result(subject: Subject, images: torch.Tensor, labels: torch.Tensor) -> GradientResult:
    """Return the checks for masked gradients on uint8 images (N, S, S, 3), labels int64 (N,)."""
    subject.network.eval()
    return masking_checks(subject.logits, as_pixels(images), labels.clone())


def attack_result(
    subject: Subject, spec: str, epsilon: float, images: torch.Tensor, labels: torch.Tensor
) -> AttackResult:
    """Return the results under one attack at one ε.

    The images are attacked in [0, 1], with the normalisation as part of the network. The random
    numbers depend on the attack, ε and the number of images only, so that all networks get the
    same.

    Args:
        subject: the trained network.
        spec: the attack's canonical spec.
        epsilon: the largest perturbation, in its norm.
        images: uint8 (N, S, S, 3).
        labels: int64 (N,).
    """
    subject.network.eval()
    attack = ATTACKS.resolve(spec)
    generator = attack.generator(epsilon)
    attacked = attack(subject.logits, as_pixels(images), labels.clone(), epsilon, generator)
    return result_of_attack(attack, epsilon, attacked, labels, subject.classes)


def result_of_attack(
    attack: Attack, epsilon: float, attacked: Attacked, labels: torch.Tensor, classes: int
) -> AttackResult:
    """Return the results of an attack that was run.

    Args:
        attack: the attack.
        epsilon: the largest perturbation.
        attacked: what it returned.
        labels: int64 (N,), those of the attacked images.
        classes: the number of classes.
    """
    correct = attacked.correct
    broken_by_black_box = attacked.white_box_correct & ~correct
    return AttackResult(
        attack=attack.spec,
        epsilon=epsilon,
        images=len(labels),
        norm=attack.norm,
        white_box=attack.white_box,
        accuracy=float(correct.double().mean()),
        correct=pack_counts(correct.cpu().numpy()),
        black_box_gain=float(broken_by_black_box.double().mean()),
        class_correct=by_class(labels[correct], classes),
        class_images=by_class(labels, classes),
    )


def as_pixels(images: torch.Tensor) -> torch.Tensor:
    """Return uint8 images (N, S, S, 3) as float32 in [0, 1] of shape (N, 3, S, S)."""
    return images.permute(0, 3, 1, 2).float().div(255)


def by_class(labels: torch.Tensor, classes: int) -> tuple[int, ...]:
    """Return the number of int64 labels (N,) of each class."""
    counts: list[int] = labels.bincount(minlength=classes).tolist()
    return tuple(counts)
