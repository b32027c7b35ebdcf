"""What is measured on a trained network, as plain values: each measurement with its identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from actbench.study.study import Study

Kind = Literal["clean", "corruption", "gradients", "attack"]


@dataclass(frozen=True)
class Measurement:
    """One measurement of a trained network: the unit of measuring, of storage and of retry.

    Two measurements of a trial with equal fields give the same numbers.

    Attributes:
        kind: ``clean``, the test images; ``corruption``, the test images under one corruption at
            all of its severities; ``gradients``, the checks for masked gradients; ``attack``, one
            attack at one ε.
        spec: the canonical spec of the corruption or attack.
        source: the checksum of the published file that the images are read from, or of the user's
            own code; empty for a corruption of actbench.
        images: how many of the first test images are attacked.
        epsilon: the largest perturbation, in the attack's norm.
    """

    kind: Kind
    spec: str = ""
    source: str = ""
    images: int = 0
    epsilon: float = 0.0

    def __str__(self) -> str:
        if self.kind == "clean":
            return "the test images"
        if self.kind == "gradients":
            return "the gradients"
        if self.kind == "attack":
            return f"{self.spec} at ε = {self.epsilon:.4g}"
        return self.spec


def source_of(study: Study, corruption: str) -> str:
    """Return the checksum that a corruption's images depend on besides its spec; else empty."""
    return {**dict(study.code), **dict(study.cifar10c_checksums)}.get(corruption, "")


def measurements_of(study: Study, test_images: int) -> list[Measurement]:
    """Return what a study measures on each trained network, in the order of measuring.

    Args:
        study: the study, every name in it resolved.
        test_images: the number of its test images; no more than these are attacked.
    """
    found = [Measurement("clean")]
    found += [Measurement("corruption", name, source_of(study, name)) for name in study.corruptions]
    if study.attacks:
        images = min(study.attack_images, test_images)
        found.append(Measurement("gradients", images=images))
        found += [
            Measurement("attack", attack, images=images, epsilon=epsilon)
            for attack in study.attacks
            for epsilon in study.epsilons
        ]
    return found
