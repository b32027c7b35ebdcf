"""Attack specs → attacks: a search for misclassified images inside an ε-ball around each image.

All is done in image space: images are float32 (N, C, H, W) in [0, 1], labels int64 (N,), and
``predict`` maps images to logits (N, classes), whatever normalisation the network wants included.
It stands for a network in evaluation mode, and is differentiable for a white-box attack.

Random numbers are drawn for all N images whether or not they are needed, so those of an image
depend on the generator alone: not on the network, the batch size, or which images it gets right.
What a batch size can change is how the network rounds, and so an image on the very edge.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from actbench.errors import UsageError
from actbench.perturbations import (
    ascend,
    batches,
    is_correct,
    linf_bounds,
    logits_of,
    margin,
    random_squares,
    uniform,
    uniform_in_unit_ball,
)
from actbench.specs import parse_spec
from actbench.study import seed_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor

    from actbench.perturbations import Predict

BATCH_SIZE = 250


@dataclass(frozen=True, eq=False)
class Attacked:
    """What an attack leaves: ``images``, float32 in [0, 1], no further than ε from the originals.

    ``correct``, bool (N,), is whether each is classified rightly unchanged and all along.
    """

    images: Tensor
    correct: Tensor

    @property
    def accuracy(self) -> float:
        """Robust accuracy in [0, 1]."""
        return float(self.correct.double().mean())


@dataclass(frozen=True, eq=False)
class _Target:
    """What ``Attack.__call__`` was given."""

    predict: Predict
    images: Tensor
    labels: Tensor
    epsilon: float
    generator: torch.Generator
    batch_size: int


def _parameter(default: Any, wanted: str, holds: Callable[[Any], bool]) -> Any:
    """Return a field for a value of the default's type for which ``holds`` is true."""
    return field(default=default, metadata={"wanted": wanted, "holds": holds})


def _count(default: int) -> Any:
    return _parameter(default, "a whole number from 1 to 1000000", lambda v: 1 <= v <= 10**6)


def _norm(*norms: str) -> Any:
    return _parameter(norms[0], " or ".join(norms), lambda v: v in norms)


@dataclass(frozen=True)
class Attack(ABC):
    """An attack with its parameters.

    Raises:
        UsageError: a parameter has the wrong type or is out of its range.
    """

    name: ClassVar[str]
    white_box: ClassVar[bool]

    def __post_init__(self) -> None:
        for item in fields(self):
            value, wanted = getattr(self, item.name), item.metadata["wanted"]
            if type(value) is not type(item.default) or not item.metadata["holds"](value):
                raise UsageError(f"attack {self.name!r}: {item.name} is {value!r}; give {wanted}")

    @property
    @abstractmethod
    def norm(self) -> str:
        """The norm that ε is measured in: ``"linf"`` or ``"l2"``."""

    @property
    def spec(self) -> str:
        """The canonical text: the name and the parameters that differ from their defaults."""
        changed = ",".join(
            f"{item.name}={str(getattr(self, item.name)).lower().removesuffix('.0')}"
            for item in fields(self)
            if getattr(self, item.name) != item.default
        )
        return f"{self.name}:{changed}" if changed else self.name

    def generator(self, epsilon: float) -> torch.Generator:
        """Return the generator that every trial of a study is attacked with at this ε."""
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
        """Return the attacked images and which of them are still classified rightly.

        An image that is misclassified unchanged is returned unchanged; one that the attack breaks
        is the first adversarial image found. NaN among the logits counts as misclassified.

        Args:
            predict: images to logits; see the module.
            images: float32 (N, C, H, W) in [0, 1].
            labels: int64 (N,).
            epsilon: the radius of the ball in the attack's norm.
            generator: the source of all random numbers; ``self.generator(epsilon)`` in a study.
            batch_size: the number of images that ``predict`` is given at once.

        Raises:
            UsageError: ε is negative or not finite.
        """
        if not 0 <= epsilon < math.inf:
            raise UsageError(f"attack epsilon is {epsilon}; it must be a finite number from 0")
        target = _Target(predict, images, labels, epsilon, generator, batch_size)
        attacked = Attacked(images.clone(), torch.ones_like(labels, dtype=torch.bool))
        for some in batches(attacked.correct, batch_size):
            attacked.correct[some] = is_correct(logits_of(predict, images[some]), labels[some])
        self._search(target, attacked)
        return attacked

    @abstractmethod
    def _search(self, target: _Target, attacked: Attacked) -> None:
        """Look for adversarial images of those still correct, and enter them in ``attacked``."""


@dataclass(frozen=True)
class PGD(Attack):
    """Projected gradient descent (Madry et al. 2018, arXiv:1706.06083).

    Repeats x ← projection of x + step · direction onto the ball and [0, 1], where the direction is
    that of the gradient: its signs for L∞, its unit vector for L2. The loss is the cross-entropy
    of logits whose scale is taken out (``perturbations.logit_gradient``). The step
    is ``step_size`` · ε, where 0 stands for 2.5 / ``steps``, Madry's choice: it crosses the ball
    with some to spare. ``random_start`` draws the start uniformly from the ball. An image is
    robust only if it withstands all points visited, in all of the ``restarts``.
    """

    name = "pgd"
    white_box = True
    steps: int = _count(10)
    step_size: float = _parameter(0.0, "a number from 0 to 1000", lambda v: 0 <= v <= 1000)
    norm: str = _norm("linf", "l2")
    random_start: bool = _parameter(True, "true or false", lambda _: True)
    restarts: int = _count(1)

    def _search(self, target: _Target, attacked: Attacked) -> None:
        images, epsilon = target.images, target.epsilon
        for _ in range(self.restarts):
            start = images
            if self.random_start:
                start = images + epsilon * uniform_in_unit_ball(images, self.norm, target.generator)
            for some in batches(attacked.correct, target.batch_size):
                attacked.images[some], attacked.correct[some] = ascend(
                    target.predict,
                    start[some],
                    images[some],
                    target.labels[some],
                    epsilon=epsilon,
                    norm=self.norm,
                    steps=self.steps,
                    step_size=(self.step_size or 2.5 / self.steps) * epsilon,
                )


@dataclass(frozen=True)
class FGSM(Attack):
    """The fast gradient sign method (Goodfellow, Shlens and Szegedy 2015, arXiv:1412.6572).

    One step of length ε from the image itself, which for L2 is along the gradient. The loss is
    that of ``PGD``.
    """

    name = "fgsm"
    white_box = True
    norm: str = _norm("linf", "l2")

    def _search(self, target: _Target, attacked: Attacked) -> None:
        step = PGD(steps=1, step_size=1.0, norm=self.norm, random_start=False)
        step._search(target, attacked)


# After which share of the queries the window is halved: 10, 50, 200, … of the paper's 10,000.
_HALVINGS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True)
class Square(Attack):
    """Square Attack in L∞ (Andriushchenko et al. 2020, arXiv:1912.00049, algorithms 1 and 2).

    A random search that sees logits alone. Vertical stripes of ±ε come first; then each query sets
    a square at a random place to ±ε per channel, and keeps it where the margin, the label's logit
    minus the largest other, falls. The square covers the share ``p`` of the image, halved as in
    the paper's schedule, which is compressed to the number of ``queries``.

    ``queries`` counts the attacked images shown to the network. The paper allows 10,000; 200 break
    about half of what a plain CNN gets right at 8/255, enough to expose gradients that hide.
    """

    name = "square"
    white_box = False
    queries: int = _count(200)
    p: float = _parameter(0.8, "a number above 0, up to 1", lambda v: 0 < v <= 1)
    norm: str = _norm("linf")

    def _search(self, target: _Target, attacked: Attacked) -> None:
        count, channels, _, width = target.images.shape
        generator, device = target.generator, target.images.device
        lower, upper = linf_bounds(target.images, target.epsilon)
        least_margin = torch.full((count,), math.inf, device=device)
        for query in range(self.queries):
            raised = uniform((count, channels, 1, 1 if query else width), generator, device) < 0.5
            share = self.p / 2 ** sum(query / self.queries > end for end in _HALVINGS)
            window = random_squares(target.images, share, generator) | (query == 0)
            for some in batches(attacked.correct, target.batch_size):
                best, labels = attacked.images[some], target.labels[some]
                extreme = torch.where(raised[some], upper[some], lower[some])
                candidate = torch.where(window[some], extreme, best)
                logits = logits_of(target.predict, candidate)
                reached, correct = margin(logits, labels), is_correct(logits, labels)
                better = (reached < least_margin[some]) | ~correct
                attacked.images[some] = torch.where(better[:, None, None, None], candidate, best)
                least_margin[some] = torch.where(better, reached, least_margin[some])
                attacked.correct[some] = correct


ATTACKS: dict[str, type[Attack]] = {"fgsm": FGSM, "pgd": PGD, "square": Square}


def resolve(spec: str) -> Attack:
    """Return the attack that a spec names, such as ``pgd:steps=20,norm=l2``.

    A value alone, as in ``square:500``, sets the first parameter.

    Raises:
        UsageError: an unknown name or parameter, or a value of the wrong type or range.
    """
    parsed = parse_spec(spec, "attack", ATTACKS, importable=False)
    attack = ATTACKS[parsed.name]
    defaults: dict[str, Any] = {item.name: item.default for item in fields(attack)}
    values: dict[str, Any] = parsed.bind(defaults)
    return attack(**values)


def expand(names: Iterable[str]) -> tuple[str, ...]:
    """Return the canonical specs of attacks, each once; ``none`` alone stands for no attack.

    Raises:
        UsageError: as ``resolve``, or ``none`` stands beside others.
    """
    specs = tuple(names)
    if specs == ("none",):
        return ()
    if "none" in specs:
        raise UsageError("attacks has 'none' beside other names; give one or the other")
    return tuple(dict.fromkeys(resolve(spec).spec for spec in specs))
