"""The base class of attacks: parameters, spec and the search within an ε-ball."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch

from actbench.attacks.perturbations import batches, is_correct, logits_of
from actbench.errors import UsageError
from actbench.study.fields import integer
from actbench.study.registry import parameters_of, spec_text
from actbench.study.specs import value_text
from actbench.study.study import seed_for

if TYPE_CHECKING:
    from torch import Tensor

    from actbench.attacks.perturbations import Predict

BATCH_SIZE = 250


@dataclass(frozen=True, eq=False)
class Attacked:
    """The result of an attack.

    Attributes:
        images: float32 (N, C, H, W) in [0, 1], within ε of the originals.
        correct: bool (N,), whether each was classified correctly, unchanged and at every step.
        white_box_correct: bool (N,), the same after the part of the attack that uses gradients.
    """

    images: Tensor
    correct: Tensor
    white_box_correct: Tensor

    @property
    def accuracy(self) -> float:
        """Robust accuracy in [0, 1]."""
        return float(self.correct.double().mean())

    @property
    def black_box_gain(self) -> float:
        """The share of the images, in [0, 1], that only the part without gradients broke."""
        return float((self.white_box_correct & ~self.correct).double().mean())


@dataclass(frozen=True, eq=False)
class Target:
    """The arguments of ``Attack.__call__``, and the logits of the unchanged images."""

    predict: Predict
    images: Tensor
    labels: Tensor
    epsilon: float
    generator: torch.Generator
    batch_size: int
    logits: Tensor

    def wrong_classes(self) -> Tensor:
        """Return int64 (N, classes − 1): the classes but the label, likeliest first."""
        finite = self.logits.nan_to_num()  # so that only the label's logit is infinite
        ranking = finite.scatter(1, self.labels[:, None], math.inf).argsort(1, descending=True)
        return ranking[:, 1:]


class Cost(NamedTuple):
    """The largest number of passes of one image through the network, the unchanged image's aside.

    A backward pass is one that computes the gradient at the image.
    """

    forward: int
    backward: int


COUNT = integer(1, high=10**6)


@dataclass(frozen=True)
class Attack(ABC):
    """An attack with its parameters.

    Raises:
        UsageError: a parameter has the wrong type or is out of its range.
    """

    name: ClassVar[str]
    white_box: ClassVar[bool]

    def __post_init__(self) -> None:
        for name, parameter in parameters_of(type(self)).items():
            parameter.check(f"attack {self.name!r}", name, getattr(self, name))

    @property
    @abstractmethod
    def norm(self) -> str:
        """The norm that ε is measured in: ``"linf"`` or ``"l2"``."""

    @property
    def least_classes(self) -> int:
        """The smallest number of classes with which the attack can be used."""
        return 2

    @abstractmethod
    def cost(self, classes: int) -> Cost:
        """Return the passes per image for a network with this number of classes."""

    def check_classes(self, classes: int) -> None:
        """Check that the attack can be used with this number of classes.

        Raises:
            UsageError: there are too few.
        """
        if classes < self.least_classes:
            raise UsageError(
                f"attack {self.spec!r} needs {self.least_classes} classes or more, and there are "
                f"{classes}; give {self._usable_with(classes)}"
            )

    def _usable_with(self, classes: int) -> str:
        """Return what to give instead, if there are too few classes."""
        return "another attack"

    @property
    def spec(self) -> str:
        """The canonical text: the name and the parameters that differ from their defaults."""
        return spec_text(self.name, self, value_text)  # it seeds the draws

    def generator(self, epsilon: float) -> torch.Generator:
        """Return the generator of this attack at this ε, the same for every trial of a study."""
        return torch.Generator().manual_seed(seed_for("attack", self.spec, repr(float(epsilon))))

    def __call__(
        self,
        predict: Predict,
        images: Tensor,
        labels: Tensor,
        epsilon: float,
        generator: torch.Generator,
        batch_size: int = BATCH_SIZE,
    ) -> Attacked:
        """Return the attacked images and which of them are still classified correctly.

        An image that is misclassified unchanged is returned unchanged; of one that the attack
        breaks, the first adversarial image found is returned. NaN logits count as misclassified.

        Args:
            predict: maps images to logits.
            images: float32 (N, C, H, W) in [0, 1].
            labels: int64 (N,).
            epsilon: the radius of the ball in the attack's norm.
            generator: the source of all random numbers; ``self.generator(epsilon)`` in a study.
            batch_size: the number of images per call of ``predict``.

        Raises:
            UsageError: ε is negative or not finite, or the network has too few classes.
        """
        if not 0 <= epsilon < math.inf:
            raise UsageError(f"attack epsilon is {epsilon}; it must be a finite number from 0")
        with torch.inference_mode(False):  # autograd cannot use tensors of the inference mode
            images, labels = images.clone(), labels.clone()
        everything = torch.ones_like(labels, dtype=torch.bool)
        parts = batches(everything, batch_size)
        logits = torch.cat([logits_of(predict, images[some]) for some in parts])
        self.check_classes(logits.shape[1])
        correct = is_correct(logits, labels)
        attacked = Attacked(images.clone(), correct, correct.clone())
        target = Target(predict, images, labels, epsilon, generator, batch_size, logits)
        self._run(target, attacked)
        return attacked

    def _run(self, target: Target, attacked: Attacked) -> None:
        self._search(target, attacked)
        if self.white_box:
            attacked.white_box_correct.copy_(attacked.correct)

    @abstractmethod
    def _search(self, target: Target, attacked: Attacked) -> None:
        """Search adversarial images of those still correct; write the results to ``attacked``."""
