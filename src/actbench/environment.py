"""Where trials were computed: what may decide the bits of their numbers, and whether it is mixed.

``environment.json`` holds an entry for each batch of trials that one environment computed, with an
``id`` that their records name, and the seconds of each trial.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actbench.devices import gpu_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from actbench.record import TrialRecord

PACKAGES = (
    *("actbench", "torch", "torchvision", "numpy", "pillow"),
    *("scipy", "scikit-learn", "pandas"),
)
# The last three only make tables and the digits, whose checksum is in the study.
_DECIDING_PACKAGES = PACKAGES[:5]
# What PyTorch, oneDNN, MKL and OpenBLAS choose their kernels by.
VARIABLES = (
    *("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_CBWR"),
    *("MKL_ENABLE_INSTRUCTIONS", "OPENBLAS_CORETYPE"),
)
_LABELS = {
    "python": "Python",
    "processor": "processor",
    "cpu_capability": "vector instructions",
    "compiler": "compiler",
    "gpus": "GPU",
}


@functools.cache
def environment_of(device: str, kernels: str) -> dict[str, Any]:
    """Return what this process computes with; its ``id`` is a digest of what may decide bits.

    Args:
        device: ``cpu`` or ``cuda``.
        kernels: ``torch``, or ``native``, which a compiler made on this machine.
    """
    import torch

    found: dict[str, Any] = {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "system": platform.platform(),
        "processor": _processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "variables": {name: os.environ[name] for name in VARIABLES if os.environ.get(name)},
        "cores": os.cpu_count(),
        "threads_per_trial": 1,
    }
    if kernels == "native":
        from actbench.conv_pool import compiler_version

        found["compiler"] = compiler_version()
    if device == "cuda":
        found["gpus"] = sorted(set(gpu_names()))
    deciding = json.dumps(_deciding(found), sort_keys=True)
    return {"id": hashlib.sha256(deciding.encode()).hexdigest()[:16], **found}


def _deciding(environment: Mapping[str, Any]) -> dict[str, str]:
    """Return what may decide bits, as texts by the names that a user knows it by."""
    parts = {label: environment[name] for name, label in _LABELS.items() if name in environment}
    if "GPU" in parts:
        parts["GPU"] = ", ".join(parts["GPU"])
    packages = environment.get("packages", {})
    parts |= {name: packages[name] for name in _DECIDING_PACKAGES if name in packages}
    return {**parts, **environment.get("variables", {})}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def read_environments(content: object) -> dict[str, Any]:
    """Return what ``environment.json`` holds: its ``environments``, its ``seconds`` by trial id.

    A file of an earlier version, which described one environment, gives that one, without an id.
    What is not of its type is left out.
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

    Where the same environment has an entry already, that one ends later; no other changes.
    """
    without_times = [
        {name: value for name, value in entry.items() if name not in ("start", "end")}
        for entry in environments
    ]
    entries = [*environments]
    if now in without_times:
        place = without_times.index(dict(now))
        entries[place] = {**entries[place], "end": end}
    else:
        entries.append({"start": start, "end": end, **now})
    return entries


def mixing_warnings(
    records: Sequence[TrialRecord], environments: Sequence[Mapping[str, Any]], baseline: str
) -> list[str]:
    """Return a sentence for each environment but the most frequent that trials were computed in.

    Args:
        records: the stored records, of which crashed ones have no numbers.
        environments: the entries of ``environment.json``.
        baseline: the activation that the others are compared with, seed by seed.
    """
    computed = [record for record in records if record.status != "crashed"]
    if not computed:
        return []
    counts = Counter(record.environment for record in computed)
    usual = counts.most_common(1)[0][0]
    described = [entry for entry in environments if entry.get("id", "") == usual]
    others = differences(counts, environments, described[-1] if described else {"id": usual})
    at_baseline = {r.seed: r.environment for r in computed if r.activation == baseline}
    pairs = [
        {r.environment, at_baseline[r.seed]}
        for r in computed
        if r.activation != baseline and r.seed in at_baseline
    ]
    found = []
    for name, difference in others.items():
        of = f"{counts[name]} of {len(computed)} trials"
        if name == usual:
            found.append(f"environment.json has two descriptions of where {of} ran: {difference}.")
            continue
        mixed = sum(name in pair and len(pair) > 1 for pair in pairs)
        found.append(
            f"{of} were computed in another environment: {difference}. In {mixed} of {len(pairs)} "
            "pairs only one of the two trials was, and their difference may come from that."
        )
    return found


def differences(
    names: Iterable[str], environments: Sequence[Mapping[str, Any]], usual: Mapping[str, Any]
) -> dict[str, str]:
    """Return how each named environment differs from the usual one, for those that do."""
    found = {}
    for name in names:
        entries = [entry for entry in environments if entry.get("id", "") == name]
        if name != usual.get("id", "") and not (entries and "packages" in usual):
            found[name] = "environment.json does not describe how it differs"
            continue
        parts = next(filter(None, (_difference(entry, usual) for entry in entries)), [])
        if parts:
            found[name] = ", ".join(parts)
    return found


def _difference(entry: Mapping[str, Any], usual: Mapping[str, Any]) -> list[str]:
    """Return what differs; without an id an entry is an earlier version's, which stored less."""
    there, here = _deciding(entry), _deciding(usual)
    both_whole = "id" in entry and "id" in usual
    return [
        f"{what} {there.get(what, 'not set')} instead of {here.get(what, 'not set')}"
        for what in {**here, **there}
        if there.get(what) != here.get(what) and (both_whole or (what in here and what in there))
    ]
