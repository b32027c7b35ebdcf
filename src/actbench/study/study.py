"""Studies, trials and named seeds: what is to be measured, as plain values. No torch here."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from actbench.errors import UsageError
from actbench.study.fields import (
    LARGEST_EPSILON,
    LARGEST_RATE,
    LARGEST_SEED,
    LARGEST_SEED_COUNT,
    are_different,
    are_pairs_of_texts,
    are_rates,
    are_texts,
    are_texts_or_none,
    check,
    is_checksum,
    is_number,
    is_text,
    is_text_or_empty,
    is_whole,
    whole,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Container

STUDY_FORMAT = 1
DEFAULT_BASELINE = "relu"
DEFAULT_ACTIVATIONS = (
    "relu",
    "leaky_relu:0.01",
    "leaky_relu:0.05",
    "leaky_relu:0.1",
    "leaky_relu:0.2",
    "leaky_relu:0.3",
)
SEVERITIES = (1, 2, 3, 4, 5)
DEFAULT_EPSILONS = (1 / 255, 2 / 255, 4 / 255, 8 / 255)
AUGMENTATIONS = ("auto", "flip", "none")
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "fp32", "tf32", "bf16")
KERNELS = ("auto", "native", "torch")
INITS = ("default", "slope_aware")


def seed_for(*context: str | int) -> int:
    """Return the generator seed in [0, 2**63) that belongs to a named context.

    It is the first 63 bits of the SHA-256 of the context as JSON, for example
    ``seed_for("batch order", 3, 1)``, so draws for different purposes never share a stream.
    """
    digest = hashlib.sha256(json.dumps(context).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


_RATE = is_number(0, LARGEST_RATE, above=True)
_CHECKSUM = check(is_checksum, "empty, or sha256: and 64 hexadecimal digits")


def _one_of(names: tuple[str, ...]) -> dict[str, Any]:
    return check(lambda value: value in names, f"one of {', '.join(names)}")


@dataclass(frozen=True, kw_only=True)
class Study:
    """One configuration: data, network, activations × seeds, recipe and measurements.

    ``seeds`` may be given as a count (``3`` is seeds 0, 1, 2) and every tuple as a list; the
    baseline is put first among the activations where it is missing. ``data_notes`` is set when the
    study is prepared: what was done to the images when they were read.
    ``train_images`` is how many of the first training images are used, 0 for all;
    ``augmentation`` ``auto`` mirrors training images at random where the data set's labels allow
    it, ``flip`` always, ``none`` never.
    ``validation_images`` of the training images, drawn at random, take the place of the test
    images and are not trained on. ``tune_lr`` is the grid from which each activation's learning
    rate is chosen, on such images; ``learning_rates`` are those chosen or given, and
    ``learning_rate`` is for all others. ``init`` ``slope_aware`` draws initial weights with each
    activation's gain.
    ``weight_decay`` leaves out the parameters of activations.
    ``device`` is where networks compute, ``cpu`` or ``cuda``, the GPUs of this machine.
    ``precision`` ``bf16`` computes convolutions and matrix products in bfloat16, with float32
    weights and sums (``torch.autocast``), in training and in evaluation; ``tf32``, on GPUs alone,
    rounds their factors to 10 bits; ``auto`` is bf16 where the device computes in it.
    ``kernels`` ``native`` computes convolution and max-pool as one
    operation compiled on this machine, ``torch`` never. ``auto`` becomes one of the others when the
    study is prepared.
    ``cifar10c`` is the folder of the published CIFAR-10-C files, which then stand for the
    corruptions made here. ``attacks`` are run on the first ``attack_images`` test images (all,
    where there are fewer) within each of ``epsilons``, in units of the attack's norm for images in
    [0, 1].
    ``margin`` is the largest difference in accuracy, as a fraction, that does not matter in
    practice; ``looks`` are the numbers of seeds after which a growing study is looked at, and is
    empty for one of a fixed size. ``code`` has for each spec that is the user's own code a checksum
    of its source, or the installed package's version; it is filled in when the study is prepared.
    The defaults are the study that ``actbench run`` makes.

    Raises:
        UsageError: a value has the wrong type or lies outside its range.
    """

    dataset: str = field(default="digits", metadata=check(is_text, "a dataset's name"))
    dataset_name: str = field(default="", metadata=check(is_text_or_empty, "a line of text"))
    data_dir: str = field(default="", metadata=check(is_text_or_empty, "a folder"))
    data_checksum: str = field(default="", metadata=_CHECKSUM)
    data_notes: tuple[str, ...] = field(
        default=(), metadata=check(are_texts_or_none, "a list of sentences")
    )
    train_images: int = field(default=0, metadata=whole(0, " (all of them)"))
    validation_images: int = field(default=0, metadata=whole(0))
    model: str = field(default="cnn", metadata=check(is_text, "a network's name"))
    activations: tuple[str, ...] = field(
        default=DEFAULT_ACTIVATIONS, metadata=check(are_texts, "a list of activation specs")
    )
    baseline: str = field(default=DEFAULT_BASELINE, metadata=check(is_text, "an activation spec"))
    seeds: tuple[int, ...] = field(
        default=(0, 1, 2, 3, 4),
        metadata=check(
            are_different(is_whole(0, LARGEST_SEED)),
            f"a count from 1 to {LARGEST_SEED_COUNT}, "
            f"or a list of different whole numbers from 0 to {LARGEST_SEED}",
        ),
    )
    epochs: int = field(default=10, metadata=whole(1))
    batch_size: int = field(default=64, metadata=whole(1))
    learning_rate: float = field(
        default=0.01, metadata=check(_RATE, f"a number above 0, up to {LARGEST_RATE}")
    )
    tune_lr: tuple[float, ...] = field(
        default=(),
        metadata=check(
            lambda v: v == () or are_different(_RATE, least=2)(v),
            f"a list of two or more different numbers above 0, up to {LARGEST_RATE}",
        ),
    )
    learning_rates: tuple[tuple[str, float], ...] = field(
        default=(),
        metadata=check(are_rates, 'a list of pairs such as ["relu", 0.01], each activation once'),
    )
    momentum: float = field(default=0.9, metadata=check(is_number(0, 1), "a number from 0 to 1"))
    weight_decay: float = field(
        default=0.0,
        metadata=check(is_number(0, LARGEST_RATE), f"a number from 0 to {LARGEST_RATE}"),
    )
    init: str = field(default="default", metadata=_one_of(INITS))
    augmentation: str = field(default="auto", metadata=_one_of(AUGMENTATIONS))
    device: str = field(default="cpu", metadata=_one_of(DEVICES))
    precision: str = field(default="fp32", metadata=_one_of(PRECISIONS))
    kernels: str = field(default="auto", metadata=_one_of(KERNELS))
    corruptions: tuple[str, ...] = field(
        default=("noise",), metadata=check(are_texts_or_none, "a list of corruptions or suites")
    )
    cifar10c: str = field(default="", metadata=check(is_text_or_empty, "a folder"))
    cifar10c_checksum: str = field(default="", metadata=_CHECKSUM)
    attacks: tuple[str, ...] = field(
        default=(), metadata=check(are_texts_or_none, "a list of attack specs")
    )
    attack_images: int = field(default=1000, metadata=whole(1))
    epsilons: tuple[float, ...] = field(
        default=DEFAULT_EPSILONS,
        metadata=check(
            are_different(is_number(0, LARGEST_EPSILON, above=True)),
            f"a list of different numbers above 0, up to {LARGEST_EPSILON}",
        ),
    )
    margin: float = field(
        default=0.005, metadata=check(is_number(0, 1, above=True), "a fraction above 0, up to 1")
    )
    looks: tuple[int, ...] = field(
        default=(),
        metadata=check(
            lambda v: v == () or (are_different(is_whole(2))(v) and list(v) == sorted(v)),
            "a rising list of numbers of seeds from 2, or empty",
        ),
    )
    code: tuple[tuple[str, str], ...] = field(
        default=(),
        metadata=check(
            are_pairs_of_texts, 'a list of pairs such as ["mine:act", "sha256:…"], each spec once'
        ),
    )

    def __post_init__(self) -> None:
        for name in _TUPLES:
            value = getattr(self, name)
            if name == "seeds" and type(value) is int and 1 <= value <= LARGEST_SEED_COUNT:
                value = range(value)
            if isinstance(value, (list, range)):
                value = tuple(tuple(v) if isinstance(v, list) else v for v in value)
                object.__setattr__(self, name, value)
        for item in fields(self):
            value = getattr(self, item.name)
            if not item.metadata["holds"](value):
                shown = _shown(list(value) if isinstance(value, tuple) else value)
                raise UsageError(f"{item.name} is {shown}; it must be {item.metadata['wanted']}")
            if item.type == "float":
                object.__setattr__(self, item.name, float(value))
        object.__setattr__(self, "epsilons", tuple(map(float, self.epsilons)))
        object.__setattr__(self, "tune_lr", tuple(sorted(map(float, self.tune_lr))))
        rates = tuple((name, float(rate)) for name, rate in self.learning_rates)
        object.__setattr__(self, "learning_rates", rates)
        if self.validation_images and (self.cifar10c or self.tune_lr):
            raise UsageError(
                f"validation_images is {self.validation_images}, which takes the place of the test "
                "images; it must be 0 with cifar10c, which belongs to these, and with tune_lr"
            )
        if self.looks and len(self.seeds) not in self.looks:
            raise UsageError(
                f"looks is {list(self.looks)}, so there must be that many seeds, not "
                f"{len(self.seeds)}"
            )
        if self.baseline not in self.activations:
            object.__setattr__(self, "activations", (self.baseline, *self.activations))
        for name in ("activations", "corruptions", "attacks"):
            values = getattr(self, name)
            twice = next((v for v, count in Counter(values).items() if count > 1), None)
            if twice is not None:
                raise UsageError(f"{name} names {twice!r} twice; name each once")

    def identity(self) -> dict[str, Any]:
        """Return the fields that decide a trial's numbers: two trials with equal ones agree.

        Left out are the lists that a study may grow by, and what only the tables use; without
        attacks, how they would be made stands at its defaults.
        """
        values = _as_plain(self, without=_NOT_IDENTITY)
        return values if self.attacks else {**values, **_NO_ATTACK}

    def learning_rate_of(self, activation: str) -> float:
        """Return the learning rate that an activation is trained with."""
        return dict(self.learning_rates).get(activation, self.learning_rate)

    def code_of(self, activation: str) -> list[list[str]]:
        """Return the entries of ``code`` that decide an activation's trials: its, the network's."""
        return [list(pair) for pair in self.code if pair[0] in (activation, self.model)]

    def trials(self) -> list[Trial]:
        """Return all trials, seed by seed, so that an interrupted study holds whole pairs."""
        return [Trial(a, seed) for seed in self.seeds for a in self.activations]

    def trials_of(self, activation: str) -> list[Trial]:
        """Return the trials of one activation, in the order of the seeds."""
        return [Trial(activation, seed) for seed in self.seeds]

    @property
    def data_label(self) -> str:
        """What tables call the data: ``dataset_name`` where one was given, else ``dataset``."""
        return self.dataset_name or self.dataset


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # a whole number of more digits than Python writes out
        return "too large a number"
    except RecursionError:
        return "a table of too many levels"
    return text if len(text) <= 80 else text[:77] + "..."


def _as_plain(study: Study, without: Container[str] = ()) -> dict[str, Any]:
    names = (item.name for item in fields(study) if item.name not in without)
    values = {name: getattr(study, name) for name in names}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


_TUPLES = (
    *("activations", "seeds", "corruptions", "attacks", "epsilons", "looks"),
    *("tune_lr", "learning_rates", "code", "data_notes"),
)
_NOT_IDENTITY = frozenset(
    {*("activations", "seeds", "baseline", "margin", "looks")}
    | {"dataset_name", "data_dir", "data_notes", "cifar10c"}
)
_DEFAULTS = {**_as_plain(Study()), "kernels": "torch"}
_NO_ATTACK = {name: _DEFAULTS[name] for name in ("attack_images", "epsilons")}


@dataclass(frozen=True)
class Trial:
    """One activation with one seed: the unit of work, of storage and of retry."""

    activation: str
    seed: int

    def __str__(self) -> str:
        return f"{self.activation}, seed {self.seed}"


def next_look(study: Study) -> Study | None:
    """Return the study grown to its next look, new seeds after the largest; None at the last."""
    later = [n for n in study.looks if n > len(study.seeds)]
    if not later:
        return None
    first = max(study.seeds) + 1
    new = range(first, first + later[0] - len(study.seeds))
    return dataclasses.replace(study, seeds=(*study.seeds, *new))


def trial_id(study: Study, trial: Trial) -> str:
    """Return the trial's name in the store: readable, safe as a file name, and unique.

    The last twelve characters are from the SHA-256 of everything that decides the trial's numbers.
    What stands at its default is left out, so that a new option leaves stored trials their names.
    Of the learning rates it is the trial's own that counts, however it was chosen; of the user's
    code that of the activation and of the network.
    """
    return trial_names(study)(trial)


def trial_names(study: Study) -> Callable[[Trial], str]:
    """Return the function that gives each trial of a study its ``trial_id``.

    The study's part of it is made once: for many trials this takes time in proportion to them.
    """
    of_the_study = {"tune_lr", "learning_rates"}
    identity = study.identity()

    @functools.cache
    def of_activation(activation: str) -> tuple[str, list[Any]]:
        own = {
            "learning_rate": study.learning_rate_of(activation),
            "code": study.code_of(activation),
        }
        values = {**identity, **own}
        decides = {k: v for k, v in values.items() if v != _DEFAULTS[k] and k not in of_the_study}
        readable = re.sub(r"[^A-Za-z0-9.=-]+", "_", activation).strip("._")[:60]
        return readable, [STUDY_FORMAT, decides, activation]

    def name(trial: Trial) -> str:
        readable, decides = of_activation(trial.activation)
        content = json.dumps([*decides, trial.seed], sort_keys=True)
        digest = hashlib.sha256(content.encode()).hexdigest()
        return f"{readable}-seed{trial.seed}-{digest[:12]}"

    return name


def conflicts(there: Study, here: Study) -> list[str]:
    """Return what keeps two studies from sharing a results folder, a line for each field.

    They may have other activations, seeds and looks; an activation's learning rate and code must
    be the same.
    """
    stored, asked = there.identity(), here.identity()
    rates, others = dict(there.learning_rates), dict(here.learning_rates)
    found = [
        f"{name} is {stored[name]!r} there and {asked[name]!r} here"
        for name in asked
        if name not in {"learning_rates", "code"} and stored[name] != asked[name]
    ]
    code = dict(there.code)
    found += [
        f"the source of {name} has changed since its trials were run"
        if name in code
        else f"its trials of {name} are stored without a checksum of the source"
        for name, checksum in here.code
        if name in (*there.activations, there.model) and code.get(name) != checksum
    ]
    return found + [
        f"the learning rate of {name} is {rates[name]} there and {others[name]} here"
        for name in rates
        if name in others and rates[name] != others[name]
    ]
