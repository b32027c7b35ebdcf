"""Studies, trials and seeds as plain values, without torch."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import re
from collections import Counter
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from actbench.errors import UsageError
from actbench.study.fields import (
    COMPARED,
    MAX_SEED_COUNT,
    MEASURED,
    TRAINED,
    Rule,
    are_different,
    are_pairs_of_texts,
    check_settings,
    is_integer,
    is_number,
    number,
    setting,
    settings_of,
    text,
)
from actbench.study.measurement_fields import MeasurementFields
from actbench.study.recipe import canonical_recipe, former_names
from actbench.study.recipe_fields import RecipeFields
from actbench.study.subject_fields import SubjectFields
from actbench.study.tuning import canonical_tuning

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Mapping

STUDY_FORMAT = 2


def seed_for(*context: str | int) -> int:
    """Return the seed in [0, 2**63) of a generator for a named context.

    It is the first 63 bits of the SHA-256 of the context as JSON, for example
    ``seed_for("batch order", 3, 1)``, so that different purposes have different random streams.
    """
    digest = hashlib.sha256(json.dumps(context).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True, kw_only=True)
class Study(MeasurementFields, RecipeFields, SubjectFields):
    """One configuration: data, network, activations × seeds, recipe and measurements.

    Tuples may be given as lists and ``seeds`` as a count. A baseline that is not among the
    activations is added as the first. The defaults are the study that ``actbench run`` runs;
    docs/options.md lists every field with its range.

    Raises:
        UsageError: a value has a wrong type or is out of range.
    """

    margin: float = setting(
        0.005,
        Rule(is_number(0, 1, above=True), "a fraction above 0, up to 1"),
        COMPARED,
        "The largest difference in accuracy, as a fraction, that does not matter in practice.",
        metavar="SHARE",
    )
    interim_analyses: tuple[int, ...] = setting(
        (),
        Rule(
            lambda v: v == () or (are_different(is_integer(2))(v) and list(v) == sorted(v)),
            "a rising list of numbers of seeds from 2, or empty",
        ),
        COMPARED,
        "The numbers of seeds after which until_decided compares; empty for a fixed number.",
        flag=None,
    )
    claim: str = setting(
        "",
        text("the name of a published claim", empty=True),
        COMPARED,
        "Repeat this published study and compare the results with its tables: its recipe is used "
        "where nothing else is given; see `actbench list claims`.",
        metavar="NAME",
    )
    scale: float = setting(
        1.0,
        number(0, 1, above=True),
        COMPARED,
        "The share of the claim's epochs and seeds to run; below 1 it is a reduced run, which says "
        "nothing about the claim.",
        metavar="SHARE",
    )
    code: tuple[tuple[str, str], ...] = setting(
        (),
        Rule(
            are_pairs_of_texts, 'a list of pairs such as ["mine:act", "sha256:…"], each spec once'
        ),
        TRAINED,
        "The checksum of the source of each spec that is the user's own code.",
        flag=None,
    )

    def __post_init__(self) -> None:
        for name in ("data_dir", "cifar10c"):
            if isinstance(path := getattr(self, name), os.PathLike):
                object.__setattr__(self, name, os.fspath(path))
        for name in (item.name for item in fields(self) if str(item.type).startswith("tuple")):
            value = getattr(self, name)
            if name == "seeds" and type(value) is int and 1 <= value <= MAX_SEED_COUNT:
                value = range(value)
            if isinstance(value, (list, tuple, range)):
                value = tuple(tuple(v) if isinstance(v, list) else v for v in value)
                object.__setattr__(self, name, value)
        check_settings(self)
        object.__setattr__(self, "epsilons", tuple(map(float, self.epsilons)))
        for name, value in {**canonical_recipe(self), **canonical_tuning(self)}.items():
            object.__setattr__(self, name, value)
        if self.validation_images and (self.cifar10c or self.tune_lr or self.tune):
            raise UsageError(
                f"validation_images is {self.validation_images}; it must be 0 with cifar10c, "
                "tune_lr and tune, because held-out images replace the test images"
            )
        if self.interim_analyses and len(self.seeds) not in self.interim_analyses:
            raise UsageError(
                f"interim_analyses is {list(self.interim_analyses)}, so there must be that many "
                f"seeds, not {len(self.seeds)}"
            )
        if self.scale != 1 and not self.claim:
            raise UsageError(
                f"scale is {self.scale:g}, a share of a claim's epochs and seeds; give claim too"
            )
        if self.baseline not in self.activations:
            object.__setattr__(self, "activations", (self.baseline, *self.activations))
        for name in ("activations", "corruptions", "attacks"):
            values = getattr(self, name)
            twice = next((v for v, count in Counter(values).items() if count > 1), None)
            if twice is not None:
                raise UsageError(f"{name} names {twice!r} twice; name each once")

    def identity(self) -> dict[str, Any]:
        """Return the fields that decide the training of a trial: trials with equal ones agree.

        Left out are the activations and seeds, to which a study may add, what is measured (see
        ``measurements.measurements_of``), and what only the tables use.
        """
        return as_plain(self, without=_NOT_IDENTITY)

    @property
    def retuned(self) -> list[Study]:
        """The same study with the settings of each further tuning study, without attacks."""
        settings = {name: self.tuned_settings(name) for name, *_ in self.tuned}
        count = len(next(iter(settings.values()), ()))
        return [
            dataclasses.replace(
                self,
                tune="",
                tuned=tuple((name, *found[position]) for name, found in settings.items()),
                attacks=(),
            )
            for position in range(1, count)
        ]

    def code_of(self, activation: str) -> list[list[str]]:
        """Return the entries of ``code`` of an activation and of the network."""
        return [list(pair) for pair in self.code if pair[0] in (activation, self.model)]

    def trials(self) -> list[Trial]:
        """Return all trials, seed by seed, so that an interrupted study has complete pairs."""
        return [Trial(a, seed) for seed in self.seeds for a in self.activations]

    def trials_of(self, activation: str) -> list[Trial]:
        """Return the trials of one activation, in the order of the seeds."""
        return [Trial(activation, seed) for seed in self.seeds]

    @property
    def data_label(self) -> str:
        """The name of the data in tables: ``dataset_name`` if given, else ``dataset``."""
        return self.dataset_name or self.dataset


def as_plain(study: Study, without: Container[str] = ()) -> dict[str, Any]:
    """Return the fields by name, tuples as lists."""
    names = (item.name for item in fields(study) if item.name not in without)
    values = {name: getattr(study, name) for name in names}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


_MEASURED = frozenset(item.name for item in settings_of(Study) if item.group == MEASURED)
_NOT_IDENTITY = _MEASURED | {
    "activations",
    "seeds",
    "baseline",
    "margin",
    "interim_analyses",
    "claim",
    "scale",
    "dataset_name",
    "data_dir",
    "data_notes",
}
# The values that the names of trials leave out: the defaults of the version that had each first.
_LEFT_OUT = {
    **as_plain(Study()),
    "kernels": "torch",
    "optimizer": "sgd:momentum=0.9",
    "learning_rate": 0.01,
    "corruptions": ["noise"],
    "schedule": "constant",
}


@dataclass(frozen=True)
class Trial:
    """One activation with one seed: the unit of work, of storage and of retry."""

    activation: str
    seed: int

    def __str__(self) -> str:
        return f"{self.activation}, seed {self.seed}"


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that layers of settings give together, a later one over an earlier one.

    Epochs and steps replace each other; of one layer that has both, steps above 0 count, as a
    stored study has the epochs that its steps are.
    """
    fields: dict[str, Any] = {}
    for layer in layers:
        if layer.get("steps"):
            fields.pop("epochs", None)
            layer = {name: value for name, value in layer.items() if name != "epochs"}
        elif "epochs" in layer:
            fields.pop("steps", None)
        fields |= layer
    return fields


def next_interim_analysis(study: Study) -> Study | None:
    """Return the study with the seeds of its next interim analysis; None after the last one."""
    later = [n for n in study.interim_analyses if n > len(study.seeds)]
    if not later:
        return None
    first = max(study.seeds) + 1
    new = range(first, first + later[0] - len(study.seeds))
    return dataclasses.replace(study, seeds=(*study.seeds, *new))


def trial_id(study: Study, trial: Trial) -> str:
    """Return the trial's name in the store: readable, safe as a file name, and unique.

    Its last twelve characters are from the SHA-256 of everything that decides the trial's training.
    Fields with the value that was their first default are left out, so that neither a new field nor
    a new default changes the names of stored trials. Of ``learning_rates``, ``tuned`` and ``code``,
    only the entries of the trial's activation and network count.
    """
    return trial_names(study)(trial)


def trial_names(study: Study) -> Callable[[Trial], str]:
    """Return the function that gives each trial of a study its ``trial_id``.

    The study's part is computed once, so that the time is linear in the number of trials.
    """
    return names_with(study, STUDY_FORMAT, study.identity())


def names_with(study: Study, number: int, identity: dict[str, Any]) -> Callable[[Trial], str]:
    """Return the function that names a study's trials in a format with this number and identity."""
    of_the_study = {"tune_lr", "learning_rates", "tune", "tuned"}

    @functools.cache
    def of_activation(activation: str) -> tuple[str, list[Any]]:
        own = {
            "learning_rate": study.learning_rate_of(activation),
            "weight_decay": study.weight_decay_of(activation),
            "code": study.code_of(activation),
        }
        values = {**identity, **own}
        decides = {
            k: v for k, v in values.items() if v != _LEFT_OUT.get(k) and k not in of_the_study
        }
        decides = former_names(decides)
        readable = re.sub(r"[^A-Za-z0-9.=-]+", "_", activation).strip("._")[:60]
        return readable, [number, decides, activation]

    def name(trial: Trial) -> str:
        readable, decides = of_activation(trial.activation)
        content = json.dumps([*decides, trial.seed], sort_keys=True)
        digest = hashlib.sha256(content.encode()).hexdigest()
        return f"{readable}-seed{trial.seed}-{digest[:12]}"

    return name


def with_unused_code(there: Study, here: Study, used: Collection[str]) -> Study:
    """Return a stored study with another's sources of the specs of which no trial is stored.

    Args:
        there: the stored study.
        here: the other study.
        used: the specs of which trials are stored.
    """
    adopted = {name: code for name, code in here.code if name not in used}
    rates = ((name, rate) for name, rate in there.learning_rates if name not in adopted)
    return dataclasses.replace(
        there,
        code=tuple(sorted({**dict(there.code), **adopted}.items())),
        learning_rates=tuple(rates),  # the others were chosen with the old source
        tuned=tuple(entry for entry in there.tuned if entry[0] not in adopted),
    )


def conflicts(there: Study, here: Study) -> list[str]:
    """Return why two studies cannot share a results folder, a line for each field.

    Activations, seeds, interim analyses and what is measured may differ; the learning rate and the
    code of an activation must be the same.
    """
    stored, asked = there.identity(), here.identity()
    found = [
        f"{name} is {stored[name]!r} there and {asked[name]!r} here"
        for name in asked
        if name not in {"learning_rates", "tuned", "code"} and stored[name] != asked[name]
    ]
    code = dict(there.code)
    found += [
        f"the source of {name} has changed since its trials were run"
        if name in code
        else f"its trials of {name} are stored without a checksum of the source"
        for name, checksum in here.code
        if name in (*there.activations, there.model) and code.get(name) != checksum
    ]
    rates: tuple[dict[str, Any], ...] = (dict(there.learning_rates), dict(here.learning_rates))
    tuned = tuple({n: each.tuned_settings(n) for n, *_ in each.tuned} for each in (there, here))
    for what, (own, others) in (("learning rate", rates), ("tuned setting", tuned)):
        found += [
            f"the {what} of {name} is {own[name]} there and {others[name]} here"
            for name in own
            if name in others and own[name] != others[name]
        ]
    return found
