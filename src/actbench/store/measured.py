"""The stored results of single measurements as plain values; ``measurements`` has their identity.

A measurement that raised an error has a ``failure``, its ``trace`` and no values.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields, replace

from actbench.store.values import (
    Count,
    Epsilon,
    Layer,
    Name,
    NotNegative,
    Severity,
    Share,
    check_mean,
    checked_counts,
)
from actbench.study.levels import severities
from actbench.study.measurements import Measurement

ByClass = tuple[int, ...]  # checked with the number of images, not one by one


@dataclass(frozen=True, kw_only=True)
class Result:
    """What all results of a measurement have.

    Attributes:
        failure: why it could not be measured, one line; empty if it was.
        trace: the traceback of the failure.
        environment: the id of an entry of ``environment.json``.
    """

    failure: str = ""
    trace: str = ""
    environment: str = ""

    @property
    def measurement(self) -> Measurement:
        """What was measured."""
        raise NotImplementedError

    def _check_empty(self) -> None:
        """Check that a failed measurement has no values.

        Raises:
            ValueError: it has.
        """
        for name in self._values():
            if getattr(self, name) not in (None, "", (), {}):
                raise ValueError(f"{name} has a value, and the measurement failed")

    def _values(self) -> list[str]:
        """Return the names of the fields that are empty if the measurement failed."""
        common = {item.name for item in fields(Result)}
        optional = [i for i in fields(self) if (i.default, i.default_factory) != (MISSING, MISSING)]
        return [item.name for item in optional if item.name not in common]


@dataclass(frozen=True, kw_only=True)
class CleanResult(Result):
    """The results on the test images themselves.

    Attributes:
        accuracy: the share of test images classified correctly, in [0, 1].
        loss: mean cross-entropy in nats.
        ece: expected calibration error.
        correct: per test image whether it was classified correctly (``values.unpack_counts``).
        class_correct: the number of images classified correctly, by class.
        logit_margin: mean of the true class's logit less the largest other one.
        input_gradient_norm: mean L2 norm of the loss gradient in the image, for pixels in [0, 1].
        inactive: the share of inactive units by layer.
        inactive_fraction: the share of inactive units in all layers.
        output_warnings: why accuracy under attack may be overstated, judging by the outputs.
        notes: sentences for the reader, such as of a diagnostic that failed.
    """

    accuracy: Share | None = None
    loss: NotNegative | None = None
    ece: NotNegative | None = None
    correct: str = ""
    class_correct: ByClass = ()
    logit_margin: float | None = None
    input_gradient_norm: NotNegative | None = None
    inactive: dict[Layer, Share] = field(default_factory=dict)
    inactive_fraction: Share | None = None
    output_warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def measurement(self) -> Measurement:
        """What was measured."""
        return Measurement("clean")

    def check(self, class_images: ByClass) -> None:
        """Check that the fields agree.

        Raises:
            ValueError: they do not.
        """
        if self.failure:
            return self._check_empty()
        if self.accuracy is None or self.correct == "":
            raise ValueError(f"{'correct' if self.accuracy is not None else 'accuracy'} is empty")
        mean = checked_counts(self.correct, sum(class_images), 1, "correct")
        check_mean(mean, [self.accuracy], "correct", "accuracy")
        _check_classes(self.class_correct, class_images, self.accuracy)
        return None


@dataclass(frozen=True)
class SeverityResult:
    """Test accuracy, mean loss, calibration error and correct images by class at one severity."""

    severity: Severity
    accuracy: Share
    loss: NotNegative
    ece: NotNegative
    class_correct: ByClass


@dataclass(frozen=True, kw_only=True)
class CorruptionResult(Result):
    """The results under one corruption.

    Attributes:
        corruption: its spec.
        source: see ``Measurement``.
        severities: the results at each severity, in rising order.
        correct: per test image at how many severities it was classified correctly.
    """

    corruption: Name
    source: str
    severities: tuple[SeverityResult, ...] = ()
    correct: str = ""

    @property
    def measurement(self) -> Measurement:
        """What was measured."""
        return Measurement("corruption", self.corruption, self.source)

    def check(self, class_images: ByClass) -> None:
        """Check that the fields agree.

        Raises:
            ValueError: they do not.
        """
        if self.failure:
            return self._check_empty()
        expected, found = severities(self.corruption), [s.severity for s in self.severities]
        if found != list(expected):
            raise ValueError(f"its severities are {found}; they must be {list(expected)}")
        mean = checked_counts(self.correct, sum(class_images), len(expected), "correct")
        check_mean(mean, [s.accuracy for s in self.severities], "correct", "the accuracies")
        for score in self.severities:
            _check_classes(score.class_correct, class_images, score.accuracy)
        return None


@dataclass(frozen=True, kw_only=True)
class GradientResult(Result):
    """The checks of a network for masked gradients, on the images that are attacked.

    Attributes:
        images: the number of attacked images.
        zero_gradient_share: the share of images, in [0, 1], whose input gradient is zero.
        non_finite_gradient_share: the share whose input gradient is not finite in some pixel.
        misleading_gradient_share: the share of correctly classified images for which a small step
            along the gradient does not lower the label's margin.
        large_epsilon_accuracy: accuracy under PGD at ``result.LARGE_EPSILON``.
    """

    images: Count
    zero_gradient_share: Share | None = None
    non_finite_gradient_share: Share | None = None
    misleading_gradient_share: Share | None = None
    large_epsilon_accuracy: Share | None = None

    @property
    def measurement(self) -> Measurement:
        """What was measured."""
        return Measurement("gradients", images=self.images)

    def check(self, class_images: ByClass) -> None:
        """Check that the fields agree.

        Raises:
            ValueError: they do not.
        """
        if self.failure:
            return self._check_empty()
        _check_attacked(self.images, class_images)
        for name in self._values():
            if getattr(self, name) is None:
                raise ValueError(f"{name} is empty")
        return None


@dataclass(frozen=True, kw_only=True)
class AttackResult(Result):
    """The results under one attack at one ε, on the first ``images`` test images.

    Attributes:
        attack: its spec.
        epsilon: the largest perturbation.
        images: the number of attacked images.
        norm: the norm that ε is measured in.
        white_box: whether the attack uses gradients.
        accuracy: the share of these classified correctly, unchanged and attacked.
        correct: which images these are (``values.unpack_counts``).
        black_box_gain: the share of the images that only its part without gradients broke.
        class_correct: their number by class.
        class_images: the number of attacked images by class.
    """

    attack: Name
    epsilon: Epsilon
    images: Count
    norm: str = ""
    white_box: bool | None = None
    accuracy: Share | None = None
    correct: str = ""
    black_box_gain: Share | None = None
    class_correct: ByClass = ()
    class_images: ByClass = ()

    @property
    def measurement(self) -> Measurement:
        """What was measured."""
        return Measurement("attack", self.attack, images=self.images, epsilon=self.epsilon)

    def check(self, class_images: ByClass) -> None:
        """Check that the fields agree.

        Raises:
            ValueError: they do not.
        """
        if self.failure:
            return self._check_empty()
        _check_attacked(self.images, class_images)
        for name in ("norm", "white_box", "accuracy", "black_box_gain"):
            if getattr(self, name) in (None, ""):
                raise ValueError(f"{name} is empty")
        mean = checked_counts(self.correct, self.images, 1, "correct")
        check_mean(mean, [self.accuracy or 0.0], "correct", "accuracy")
        if sum(self.class_images) != self.images or min(self.class_images) < 0:
            raise ValueError(
                f"class_images has a sum of {sum(self.class_images)}, and images is {self.images}"
            )
        _check_classes(self.class_correct, self.class_images, self.accuracy or 0.0)
        return None


AnyResult = CleanResult | CorruptionResult | GradientResult | AttackResult


def failed(measurement: Measurement, failure: str, trace: str, environment: str) -> AnyResult:
    """Return the result of a measurement that raised an error."""
    spec, images = measurement.spec, measurement.images
    result: AnyResult
    if measurement.kind == "clean":
        result = CleanResult()
    elif measurement.kind == "corruption":
        result = CorruptionResult(corruption=spec, source=measurement.source)
    elif measurement.kind == "gradients":
        result = GradientResult(images=images)
    else:
        result = AttackResult(attack=spec, images=images, epsilon=measurement.epsilon)
    return replace(result, failure=failure, trace=trace, environment=environment)


def _check_attacked(images: int, class_images: ByClass) -> None:
    if images > sum(class_images):
        raise ValueError(f"images is {images}, and there are {sum(class_images)} test images")


def _check_classes(correct: ByClass, images: ByClass, accuracy: float) -> None:
    """Check the number of correct images by class.

    Raises:
        ValueError: they are not of these classes, or do not give the accuracy.
    """
    if len(correct) != len(images) or any(
        not 0 <= found <= of for found, of in zip(correct, images, strict=True)
    ):
        raise ValueError("class_correct is not a number of images for each class")
    check_mean(sum(correct) / sum(images), [accuracy], "class_correct", "accuracy")
