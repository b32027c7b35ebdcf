"""The results of one trial for one study, whatever the format of its record."""

from __future__ import annotations

from dataclasses import dataclass, field

from actbench.store.record import EpochRecord  # noqa: TC001 - from_plain reads them
from actbench.store.values import (  # noqa: TC001
    Count,
    CountFrom0,
    Epsilon,
    Kernels,
    Layer,
    Name,
    NotNegative,
    Seed,
    Severity,
    Share,
    Status,
)
from actbench.study.study import Trial

# Mid-grey, the same picture for all classes, is within this L∞ distance of every image.
LARGE_EPSILON = 0.5
# There is no warning for a smaller share of the images: it changes accuracy by a point at most.
NEGLIGIBLE_SHARE = 0.01


@dataclass(frozen=True)
class CorruptionScore:
    """Test accuracy (a fraction), mean loss and calibration error under one corruption.

    ``class_correct`` is the number of images classified correctly, by class; empty if not stored.
    """

    corruption: Name
    severity: Severity
    accuracy: Share
    loss: NotNegative
    ece: NotNegative
    class_correct: tuple[CountFrom0, ...] = ()


@dataclass(frozen=True)
class AttackScore:
    """Accuracy, a fraction, under one attack at one ε, on the images that the study attacks.

    ``class_correct`` and ``class_images`` are numbers of images by class; empty if not stored.
    """

    attack: Name
    epsilon: Epsilon
    accuracy: Share
    class_correct: tuple[CountFrom0, ...] = ()
    class_images: tuple[CountFrom0, ...] = ()


@dataclass(frozen=True)
class MaskingChecks:
    """Results of the checks for gradient masking on one trained network.

    Attributes:
        images: the number of attacked images.
        classes: the number of classes.
        zero_gradient_share: the share of images, in [0, 1], whose input gradient is zero.
        non_finite_gradient_share: the share whose input gradient is not finite in some pixel.
        white_box_excess: (ε, accuracy under all white-box attacks − under all black-box ones) for
            each ε at which the difference is more than chance.
        large_epsilon_accuracy: accuracy under PGD at ``LARGE_EPSILON``.
        misleading_gradient_share: the share of correctly classified images for which a small step
            along the gradient does not lower the label's margin; None in records whose attacks
            used the plain cross-entropy, which depends on the scale of the logits.
    """

    images: Count
    classes: Count
    zero_gradient_share: Share
    non_finite_gradient_share: Share
    white_box_excess: tuple[tuple[Epsilon, Share], ...]
    large_epsilon_accuracy: Share
    misleading_gradient_share: Share | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence for each sign that robust accuracy is overstated; empty if there is none.

        At ``LARGE_EPSILON`` an attack that works leaves no more than the images of one class,
        since a network can call mid-grey by one name only, and these fall too unless the network
        ignores its input. Near zero is therefore taken to be half the chance level.
        """
        found = []
        if self.misleading_gradient_share is None:
            found.append(
                "fgsm and pgd were run by an earlier version, in which accuracy under them depends "
                "on the scale of the logits; run this trial again in a new folder"
            )
        for share, what in (
            (self.zero_gradient_share, "an input gradient of zero"),
            (self.non_finite_gradient_share, "an input gradient that is not finite"),
            (
                self.misleading_gradient_share or 0,
                "an input gradient along which the label's margin does not fall",
            ),
        ):
            if share > NEGLIGIBLE_SHARE:
                found.append(
                    f"{share:.1%} of {self.images} images have {what}, "
                    "so gradient attacks have no direction to follow there"
                )
        for epsilon, excess in self.white_box_excess:
            found.append(
                f"at ε = {255 * epsilon:.3g}/255 white-box attacks leave {100 * excess:.1f} points "
                f"more accuracy than black-box attacks (n = {self.images}), "
                "so the gradients mislead them"
            )
        if self.large_epsilon_accuracy > 0.5 / self.classes:
            found.append(
                f"{self.large_epsilon_accuracy:.1%} of {self.images} images withstand PGD at "
                f"ε = {LARGE_EPSILON}, where each could be turned mid-grey, so the attack fails"
            )
        return tuple(found)


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """The results of one trial in the measurements of a study.

    ``analysis.trial_results`` makes it from a record, ``format1`` from one of the earlier format,
    which had no more than the first study's measurements.

    Attributes:
        trial_id: the trial's name in the store.
        activation: its activation's spec.
        seed: its seed.
        status: ``ok``, ``diverged`` or ``crashed``, in training or in measuring.
        reason: why it diverged or crashed, one line.
        trace: the traceback of a crash.
        activation_check: the activation's self-check.
        history: a record for each epoch.
        clean_accuracy: the share of test images classified correctly, in [0, 1].
        clean_loss: mean cross-entropy on the test images.
        clean_ece: expected calibration error on the test images.
        corruptions: a score for each corruption × severity.
        logit_margin: mean over test images of the true class's logit less the largest other one.
        input_gradient_norm: mean L2 norm of the loss gradient in the image, for pixels in [0, 1].
        inactive: the share of inactive units by layer.
        inactive_fraction: the share of inactive units in all layers.
        clean_correct: per test image whether it was classified correctly (``unpack_counts``).
        corrupted_correct: parts, each per test image under how many of some corruptions ×
            severities it was classified correctly; together they are of all of them.
        attacks: a score for each attack × ε.
        masking: the checks for gradient masking.
        kernels: ``torch``, or ``native`` if these computed some of it.
        environment: the id of an entry of ``environment.json``; empty for a crashed trial.
        notes: sentences for the reader, such as of a diagnostic that failed.
        output_warnings: why accuracy under attack may be overstated, judging by the outputs.
        largest_class_share: the share of test images in the largest class, in (0, 1].
        measured_in: the ids of other environments in which some of it was measured.
        missing: how many of the study's measurements are not stored.
        class_images: the number of test images by class; empty if not stored.
        class_correct: how many of these were classified correctly; empty if not stored.
    """

    trial_id: Name
    activation: Name
    seed: Seed
    status: Status
    reason: str = ""
    trace: str = ""
    activation_check: dict[str, float | bool | int] = field(default_factory=dict)
    history: tuple[EpochRecord, ...] = ()
    clean_accuracy: Share | None = None
    clean_loss: NotNegative | None = None
    clean_ece: NotNegative | None = None
    corruptions: tuple[CorruptionScore, ...] = ()
    logit_margin: float | None = None
    input_gradient_norm: NotNegative | None = None
    inactive: dict[Layer, Share] = field(default_factory=dict)
    inactive_fraction: Share | None = None
    clean_correct: str = ""
    corrupted_correct: tuple[str, ...] = ()
    attacks: tuple[AttackScore, ...] = ()
    masking: MaskingChecks | None = None
    kernels: Kernels = "torch"
    environment: str = ""
    notes: tuple[str, ...] = ()
    output_warnings: tuple[str, ...] = ()
    largest_class_share: Share | None = None
    measured_in: tuple[str, ...] = ()
    missing: CountFrom0 = 0
    class_images: tuple[CountFrom0, ...] = ()
    class_correct: tuple[CountFrom0, ...] = ()

    @property
    def trial(self) -> Trial:
        """The trial."""
        return Trial(self.activation, self.seed)
