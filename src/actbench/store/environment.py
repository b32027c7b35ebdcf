"""The content of ``environment.json``: a description of each environment that computed trials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actbench.store.values import NotNegative
from actbench.study.plain import from_plain, parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


_DECIDING_PACKAGES = ("actbench", "torch", "torchvision", "numpy", "pillow")
# the others only make tables, and the digits, whose checksum is in the study
PACKAGES = (*_DECIDING_PACKAGES, "scipy", "scikit-learn", "pandas")
_LABELS = {
    "python": "Python",
    "processor": "processor",
    "cpu_capability": "vector instructions",
    "compiler": "compiler",
    "gpus": "GPU",
}
_TYPES: dict[str, Any] = {
    "environments": tuple[dict[str, Any], ...],
    "start": str,
    "packages": dict[str, str],
    "seconds": dict[str, NotNegative],
}


def deciding_parts(environment: Mapping[str, Any]) -> dict[str, str]:
    """Return what may change the bits of results, as texts by readable names."""
    parts = {label: environment[name] for name, label in _LABELS.items() if name in environment}
    if "GPU" in parts:
        parts["GPU"] = ", ".join(parts["GPU"])
    packages = environment.get("packages", {})
    parts |= {name: packages[name] for name in _DECIDING_PACKAGES if name in packages}
    return {**parts, **environment.get("variables", {})}


def parse_environment(text: str) -> dict[str, Any]:
    """Return the content of ``environment.json`` from its text.

    Raises:
        ValueError: it is not a JSON object, or an entry that is used has a wrong type.
    """
    content = parse_json(text)
    if not isinstance(content, dict):
        raise ValueError("it is not a JSON object")
    for name, kind in _TYPES.items():
        if name in content:
            try:
                from_plain(kind, content[name])
            except ValueError as error:
                raise ValueError(f"{name} {error}") from None
    return content


def read_environments(content: object) -> dict[str, Any]:
    """Return the content of ``environment.json``: ``environments``, and ``seconds`` by trial id.

    The format of earlier versions, one environment without an id, is read too. Values of a wrong
    type are left out.
    """
    if not isinstance(content, dict):
        content = {}
    entries = content.get("environments")
    if not isinstance(entries, list):
        entries = [content]
    seconds = content.get("seconds")
    return {
        "environments": [e for e in map(_typed, entries) if e],
        "seconds": {
            name: took
            for name, took in (seconds.items() if isinstance(seconds, dict) else ())
            if isinstance(took, int | float)
        },
    }


def _typed(entry: object) -> dict[str, Any]:
    def fits(name: str, value: object) -> bool:
        if name in ("packages", "variables"):
            return isinstance(value, dict) and all(isinstance(v, str) for v in value.values())
        if name == "gpus":
            return isinstance(value, list) and all(isinstance(v, str) for v in value)
        return isinstance(value, int if name in ("cores", "threads_per_trial") else str)

    found = entry.items() if isinstance(entry, dict) else ()
    return {name: value for name, value in found if fits(name, value)}


def with_batch(
    environments: Sequence[Mapping[str, Any]], now: Mapping[str, Any], start: str, end: str
) -> list[Mapping[str, Any]]:
    """Return the entries with one for a batch of trials that began and ended at these times.

    If the same environment has an entry already, only its end changes.
    """
    without_times = [
        {name: value for name, value in entry.items() if name not in ("start", "end")}
        for entry in environments
    ]
    entries = [*environments]
    if now in without_times:
        index = without_times.index(dict(now))
        entries[index] = {**entries[index], "end": end}
    else:
        entries.append({"start": start, "end": end, **now})
    return entries
