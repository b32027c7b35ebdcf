"""Measure any trained PyTorch classifier as the networks of a study are measured."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from actbench.errors import UsageError, in_a_line
from actbench.study.levels import is_name, level_labels
from actbench.study.measurement_fields import DEFAULT_EPSILONS
from actbench.study.measurements import measurements_of
from actbench.study.study import Study

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    import torch
    from numpy.typing import NDArray
    from torch import nn

    from actbench.data.images import ImageData
    from actbench.store.measured import AnyResult
    from actbench.training.measurements import Subject

    Normalisation = (
        tuple[float | Sequence[float], float | Sequence[float]]
        | Callable[[torch.Tensor], torch.Tensor]
    )

TOOLS_OWN = (0.5, 0.5)


@dataclass(frozen=True, eq=False)
class Measurements:
    """The results of ``measure`` as data frames. Accuracies are fractions in [0, 1].

    Attributes:
        clean: one row: images, accuracy, loss (nats), ece, logit_margin, input_gradient_norm.
        corruptions: a row per corruption × severity: accuracy, loss, ece, and ``level``, which
            says what the severity is, such as ``σ = 0.1``.
        attacks: a row per attack × ε: images, accuracy.
        classes: a row per class and row of the others: ``measured`` is ``clean``, a corruption
            with its severity and level, or an attack with its ε; images, correct, accuracy.
        warnings: why accuracy under attack may be overstated, and what could not be measured.
    """

    clean: pd.DataFrame
    corruptions: pd.DataFrame
    attacks: pd.DataFrame
    classes: pd.DataFrame
    warnings: list[str]


def measure(
    network: nn.Module,
    images: torch.Tensor | NDArray[Any],
    labels: torch.Tensor | NDArray[Any],
    *,
    corruptions: Sequence[str] = (),
    attacks: Sequence[str] = (),
    epsilons: Sequence[float] = DEFAULT_EPSILONS,
    attack_images: int = 1000,
    normalisation: Normalisation = TOOLS_OWN,
    class_names: Sequence[str] = (),
    cifar10c: str = "",
) -> Measurements:
    """Return accuracy on images, under corruptions and under attacks, of any classifier.

    Two networks that are measured on the same images get the same corrupted images and the same
    random numbers in attacks, so that their results can be compared. The network is evaluated on
    the device that it is on, in evaluation mode; the mode of each module is restored.

    Args:
        network: maps images (N, 3, S, S) to logits (N, classes). The images are float32 and
            channels_last; if it fails on these, contiguous and of the type of its parameters.
        images: uint8 (N, S, S, 3), values from 0 to 255.
        labels: integers (N,) from 0.
        corruptions: names, specs or suites, as in ``Study``.
        attacks: specs, as in ``Study``.
        epsilons: the largest perturbations, for pixels in [0, 1].
        attack_images: the first so many images are attacked.
        normalisation: mean and standard deviation of pixels in [0, 1], each a number or one per
            channel, or a function that maps float32 images (N, 3, S, S) in [0, 1] to what the
            network takes. The default is that of actbench's own networks.
        class_names: the names of the classes in ``classes``; numbers unless given.
        cifar10c: a folder of the published CIFAR-10-C files, for the test images of CIFAR-10.

    Raises:
        UsageError: an argument is not as described.
    """
    import torch

    from actbench.attacks.registry import expand as expand_attacks
    from actbench.corruptions.own import check_own_corruptions
    from actbench.corruptions.published import check_published
    from actbench.corruptions.specs import expand as expand_corruptions
    from actbench.models.global_state import generators_kept, settings_kept
    from actbench.training.measurements import by_class
    from actbench.training.measurements import measure as result_of

    if not isinstance(network, torch.nn.Module):
        raise UsageError(f"network is {type(network).__name__}; it must be a torch.nn.Module")
    with torch.inference_mode(False):
        data = _data(images, labels)
    study = Study(
        corruptions=_texts(corruptions, "corruptions"),
        attacks=_texts(attacks, "attacks"),
        epsilons=_numbers(epsilons),
        attack_images=attack_images,
        cifar10c=cifar10c,
    )
    names = expand_corruptions(study.corruptions, cifar10c)
    check_own_corruptions(names, data.test_images)
    published: tuple[tuple[str, str], ...] = ()
    if cifar10c:
        in_files = [name for name in names if is_name(name)]
        shape = data.test_images.shape[1:]
        published = check_published(cifar10c, in_files, data.test_labels, shape)
    study = replace(
        study,
        corruptions=names,
        attacks=expand_attacks(study.attacks, study.epsilons),
        cifar10c_checksums=published,
    )
    device = next((str(p.device) for p in network.parameters()), "cpu")
    modes = [(module, module.training) for module in network.modules()]
    class_names = _texts(class_names, "class_names")
    with generators_kept(), settings_kept(), torch.inference_mode(False), torch.enable_grad():
        try:
            subject = _subject(network.eval(), data.to(device), normalisation)
            if class_names and len(class_names) != subject.classes:
                raise UsageError(
                    f"class_names has {len(class_names)} names; the network has "
                    f"{subject.classes} classes"
                )
            planned = measurements_of(study, len(data.test_labels))
            results = [result_of(subject, data.to(device), study, 0, m) for m in planned]
        finally:
            for module, mode in modes:
                module.training = mode
    return _frames(results, by_class(data.test_labels, subject.classes), class_names)


def _texts(given: Sequence[str], name: str) -> tuple[str, ...]:
    if isinstance(given, str):
        raise UsageError(f"{name} is {given!r}; it must be a list such as [{given!r}]")
    return tuple(given)


def _numbers(given: Any) -> tuple[float, ...]:
    try:
        return tuple(given)
    except TypeError:
        raise UsageError(f"epsilons is {given!r}; it must be a list such as [{given!r}]") from None


def _data(images: Any, labels: Any) -> ImageData:
    """Return the images and labels as test images.

    Raises:
        UsageError: they are not uint8 (N, S, S, 3) and integers (N,) from 0.
    """
    import torch

    from actbench.data.images import ImageData
    from actbench.files.cache import checksum

    images, labels = _tensor(images, "images"), _tensor(labels, "labels")
    shape = tuple(images.shape)
    square = len(shape) == 4 and shape[1] == shape[2] and shape[3] == 3
    if images.dtype != torch.uint8 or not square or not all(shape):
        raise UsageError(
            f"images are {images.dtype} of shape {shape}; they must be uint8 of shape (N, S, S, 3)"
        )
    integers = not (
        labels.dtype.is_floating_point or labels.dtype.is_complex or labels.dtype == torch.bool
    )
    if not integers or tuple(labels.shape) != shape[:1] or int(labels.long().min()) < 0:
        raise UsageError(
            f"labels are {labels.dtype} of shape {tuple(labels.shape)}; they must be "
            f"{shape[0]} integers from 0"
        )
    images, labels = images.contiguous(), labels.long().clone()
    return ImageData(
        train_images=images[:0],
        train_labels=labels[:0],
        test_images=images,
        test_labels=labels,
        classes=(),
        flip=False,
        checksum=checksum({"images": images}),
    )


def _tensor(value: Any, name: str) -> torch.Tensor:
    """Return a tensor or array as a tensor on the CPU.

    Raises:
        UsageError: it is neither.
    """
    import numpy as np
    import torch

    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    try:
        array = np.ascontiguousarray(value)  # PyTorch has no negative strides
        return torch.tensor(array.astype(array.dtype.newbyteorder("="), copy=False))
    except (TypeError, ValueError, RuntimeError):
        raise UsageError(f"{name} are not numbers in a tensor or an array") from None


def _subject(network: nn.Module, data: ImageData, normalisation: Normalisation) -> Subject:
    """Return the network with its normalisation, after trying it on a few images.

    Raises:
        UsageError: it fails, or its outputs are not logits for all labels.
    """
    import torch

    from actbench.training.measurements import Subject, as_pixels

    least = int(data.test_labels.max()) + 1
    subject = Subject(network, least)
    if repr(normalisation) != repr(TOOLS_OWN):  # arrays have no single truth value
        pixels = _normalising(normalisation)
        subject = Subject(
            network, least, inputs=lambda images: pixels(as_pixels(images)), pixels=pixels
        )
    few = data.test_images[:2]

    def logits_of(subject: Subject) -> Any:
        with torch.no_grad():
            return subject.logits(as_pixels(few))

    try:
        try:
            logits = logits_of(subject)
        except Exception:
            subject = _plainer(subject)
            logits = logits_of(subject)
    except Exception as error:
        raise UsageError(
            f"the network fails on {len(few)} images ({in_a_line(error)}); is it trained for "
            f"images of {few.shape[1]} pixels, and is normalisation right?"
        ) from error
    found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if not isinstance(found, tuple) or len(found) != 2 or found[0] != len(few) or found[1] < least:
        raise UsageError(
            f"the network returns {found} for {len(few)} images with labels up to {least - 1}; "
            f"it must return logits ({len(few)}, classes)"
        )
    if found[1] < 2 or not logits.is_floating_point():
        raise UsageError(
            f"the network returns {logits.dtype} of shape {found}; it must return floating-point "
            "logits of two classes or more"
        )
    return replace(subject, classes=int(found[1]))


def _plainer(subject: Subject) -> Subject:
    """Return the subject with contiguous images, of the type of its parameters.

    A network whose code has ``.view`` fails on others.
    """
    import torch

    parameters = (p.dtype for p in subject.network.parameters() if p.is_floating_point())
    dtype, before = next(parameters, torch.float32), subject
    return replace(
        subject,
        inputs=lambda images: before.inputs(images).contiguous().to(dtype),
        pixels=lambda images: before.pixels(images).contiguous().to(dtype),
    )


def _normalising(normalisation: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the function that normalises pixels in [0, 1].

    Raises:
        UsageError: ``normalisation`` is neither a function nor a mean and a standard deviation.
    """
    if callable(normalisation):
        return normalisation  # type: ignore[no-any-return]
    import torch

    try:
        mean, std = (
            torch.as_tensor(value, dtype=torch.float32).expand(3)[:, None, None]
            for value in normalisation
        )
        if not bool((std > 0).all() and mean.isfinite().all() and std.isfinite().all()):
            raise ValueError
    except (TypeError, ValueError, RuntimeError):
        raise UsageError(
            f"normalisation is {normalisation!r}; it must be (mean, std), each a number or one per "
            "channel and std above 0, or a function"
        ) from None
    return lambda images: (images - mean.to(images.device)) / std.to(images.device)


def _frames(
    results: Sequence[AnyResult], images: tuple[int, ...], class_names: Sequence[str]
) -> Measurements:
    """Return the results as frames; ``images`` is the number of images by class."""
    import pandas as pd

    from actbench.analysis.breakdowns import ClassScores, class_rows
    from actbench.analysis.trial_results import masking_of
    from actbench.store.measured import AttackResult, CleanResult, CorruptionResult, GradientResult

    clean = next(r for r in results if isinstance(r, CleanResult))
    corrupted = [r for r in results if isinstance(r, CorruptionResult)]
    attacked = [r for r in results if isinstance(r, AttackResult)]
    checks = [r for r in results if isinstance(r, GradientResult)]
    scores = [
        ClassScores("clean", clean.class_correct, images),
        *(
            ClassScores(one.corruption, s.class_correct, images, severity=s.severity)
            for one in corrupted
            for s in one.severities
        ),
        *(
            ClassScores(hit.attack, hit.class_correct, hit.class_images, epsilon=hit.epsilon)
            for hit in attacked
        ),
    ]
    measures = ("accuracy", "loss", "ece", "logit_margin", "input_gradient_norm")
    masked = [w for c in checks for w in masking_of(c, attacked, len(images)).warnings]
    without_loss = clean.loss is not None and math.isnan(clean.loss)
    nan = ["the loss is NaN: images with a NaN logit count as wrong"] if without_loss else []
    return Measurements(
        clean=pd.DataFrame([{"images": sum(images), **{k: getattr(clean, k) for k in measures}}]),
        corruptions=pd.DataFrame(
            [
                (one.corruption, s.severity, s.accuracy, s.loss, s.ece, label)
                for one in corrupted
                for s, label in zip(one.severities, level_labels(one.corruption), strict=True)
            ],
            columns=["corruption", "severity", "accuracy", "loss", "ece", "level"],
        ),
        attacks=pd.DataFrame(
            [(hit.attack, hit.epsilon, hit.images, hit.accuracy) for hit in attacked],
            columns=["attack", "epsilon", "images", "accuracy"],
        ),
        classes=class_rows(scores, class_names),
        warnings=[*nan, *clean.output_warnings, *clean.notes, *masked],
    )
