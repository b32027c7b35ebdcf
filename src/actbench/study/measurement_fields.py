"""The fields of a study that say what is measured."""

from __future__ import annotations

from dataclasses import dataclass

from actbench.study.fields import (
    MAX_EPSILON,
    MEASURED,
    Rule,
    are_different,
    are_pairs_of_texts,
    integer,
    is_number,
    setting,
    text,
    texts,
)

DEFAULT_EPSILONS = (1 / 255, 2 / 255, 4 / 255, 8 / 255)


@dataclass(frozen=True, kw_only=True)
class MeasurementFields:
    """What is measured on a trained network."""

    corruptions: tuple[str, ...] = setting(
        ("gaussian_noise:sigma=0.05/0.1/0.2/0.4/0.8",),
        texts("a list of corruptions or suites", empty=True),
        MEASURED,
        "Corruptions such as fog,gaussian_noise:sigma=0.1/0.4, or suites of them, or none; see "
        "`actbench list corruptions`.",
    )
    cifar10c: str = setting(
        "",
        text("a folder", empty=True),
        MEASURED,
        "Read corrupted images from this folder of published files (CIFAR-10-C, CIFAR-10-C̄, "
        "CIFAR-100-C); each file is then a corruption.",
        metavar="DIR",
    )
    cifar10c_checksums: tuple[tuple[str, str], ...] = setting(
        (),
        Rule(
            are_pairs_of_texts, 'a list of pairs such as ["fog", "sha256:…"], each corruption once'
        ),
        MEASURED,
        "The checksum of the published file of each corruption.",
        flag=None,
    )
    attacks: tuple[str, ...] = setting(
        (),
        texts("a list of attack specs", empty=True),
        MEASURED,
        "Attacks such as pgd:steps=20,autoattack, or none; see `actbench list attacks`.",
    )
    attack_images: int = setting(
        1000, integer(1), MEASURED, "Attack the first N test images.", metavar="N"
    )
    epsilons: tuple[float, ...] = setting(
        DEFAULT_EPSILONS,
        Rule(
            are_different(is_number(0, MAX_EPSILON, above=True)),
            f"a list of different numbers above 0, up to {MAX_EPSILON}",
        ),
        MEASURED,
        "The largest perturbation, in the attack's norm, for pixels in [0, 1].",
        metavar="ε,…",
    )
