"""The study that command-line options, a configuration and a claim ask for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from actbench.cli.terminal import log
from actbench.errors import UsageError
from actbench.study.specs import is_import_path
from actbench.study.study import Study, merged
from actbench.study.toml import read_config
from actbench.study.tuning import tuning_of

if TYPE_CHECKING:
    from actbench.study.registry import Registry


_MAY_NAME_CODE = ("activations", "baseline", "model", "dataset", "corruptions")


def asked_study(config: Path | None, given: dict[str, Any]) -> Study:
    """Return the study of the options that were given, which override the configuration.

    Raises:
        UsageError: a setting is wrong, the file cannot be read, or an option would do nothing.
    """
    values = read_config(config) if config else {}
    if given.get("steps") and "epochs" in given:
        raise UsageError("--epochs and --steps both say how long to train; give one")
    of_claim = _of_claim({**values, **given})
    changed = (name in given and given[name] != values.get(name) for name in ("claim", "scale"))
    if values.get("claim") and any(changed):
        # epochs and seeds in the configuration are those of another claim or scale
        scaled = {*of_claim, *_of_claim(values)}
        values = {name: value for name, value in values.items() if name not in scaled}
    study = Study(**merged(of_claim, values, given))
    _check_used(study, given)
    if config:
        _warn_of_code(config, study, set(values) - set(given))
    return study


def _check_used(study: Study, given: dict[str, Any]) -> None:
    """Raise a UsageError if a rate or a weight decay was given that no activation would use."""
    if "learning_rate" in given:
        for value, flag in ((study.tune_lr, "--tune-lr"), (study.tune, "--tune")):
            if value:
                raise UsageError(
                    f"{flag} chooses the learning rate, so --lr would do nothing; give one"
                )
        own = {activation for activation, *_ in (*study.learning_rates, *study.tuned)}
        if own >= set(study.activations):
            raise UsageError(
                "the configuration gives each activation its own learning rate (learning_rates or "
                "tuned), so --lr would do nothing"
            )
    if "weight_decay" not in given:
        return
    if (search := tuning_of(study)) and search.weight_decay:
        raise UsageError(
            "--tune chooses the weight decay, so --weight-decay would do nothing; give one"
        )
    if study.tuned:
        raise UsageError(
            "the configuration gives each activation its own weight decay (tuned), so "
            "--weight-decay would do nothing"
        )


def _of_claim(values: dict[str, Any]) -> dict[str, Any]:
    """Return the recipe of the claim that the values name; empty if they name none."""
    claim = values.get("claim")
    if not isinstance(claim, str) or not claim:
        return {}
    from actbench.analysis.claims import claim_settings

    return claim_settings(claim, values.get("scale", 1.0))


def _warn_of_code(config: Path, study: Study, from_config: set[str]) -> None:
    """Warn of code that is imported because a configuration outside the current folder names it."""
    if config.resolve().is_relative_to(Path.cwd()):
        return
    values = {name: getattr(study, name) for name in _MAY_NAME_CODE if name in from_config}
    paths = [
        (name, text)
        for name, value in values.items()
        for text in ((value,) if isinstance(value, str) else value)
        if is_import_path(text)
    ]
    if not paths:
        return
    from actbench.corruptions.registry import CORRUPTIONS
    from actbench.data.datasets import DATASETS
    from actbench.models.networks.registry import MODELS
    from actbench.study.activations import ACTIVATIONS

    registries: tuple[Registry[Any], ...] = (
        ACTIVATIONS,
        ACTIVATIONS,
        MODELS,
        DATASETS,
        CORRUPTIONS,
    )
    registry = dict(zip(_MAY_NAME_CODE, registries, strict=True))
    specs = [registry[name].parse(text) for name, text in paths]
    named = dict.fromkeys(spec.name for spec in specs if spec.imported)
    if named:
        log(
            f"warning: {str(config)!r} is outside the current folder and names code that is "
            f"imported now: {', '.join(named)}"
        )
