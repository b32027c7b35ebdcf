"""Trials that were computed in different environments, and how these differ."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from actbench.store.environment import deciding_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from actbench.store.result import TrialResult


def mixing_warnings(
    records: Sequence[TrialResult], environments: Sequence[Mapping[str, Any]], baseline: str
) -> list[str]:
    """Return a sentence for each environment but the most frequent that trials were computed in.

    Args:
        records: the trials' results, of which crashed ones have no numbers.
        environments: the entries of ``environment.json``.
        baseline: the activation that the others are compared with, seed by seed.
    """
    computed = [record for record in records if record.status != "crashed"]
    if not computed:
        return []
    counts = Counter(name for record in computed for name in _environments(record))
    usual = counts.most_common(1)[0][0]
    described = [entry for entry in environments if entry.get("id", "") == usual]
    others = differences(counts, environments, described[-1] if described else {"id": usual})
    at_baseline = {r.seed: _environments(r) for r in computed if r.activation == baseline}
    pairs = [
        (_environments(r), at_baseline[r.seed])
        for r in computed
        if r.activation != baseline and r.seed in at_baseline
    ]
    found = []
    for name, difference in others.items():
        of = f"{counts[name]} of {len(computed)} trials"
        if name == usual:
            found.append(f"environment.json has two descriptions of where {of} ran: {difference}.")
            continue
        mixed = sum((name in ours) != (name in theirs) for ours, theirs in pairs)
        sentence = f"{of} were computed in another environment: {difference}."
        if mixed:
            sentence += (
                f" In {mixed} of {len(pairs)} {'pair' if len(pairs) == 1 else 'pairs'} only one of "
                "the two trials was, and the difference may come from that."
            )
        found.append(sentence)
    return found


def _environments(record: TrialResult) -> tuple[str, ...]:
    """Return the ids of the environments in which a trial was trained and measured."""
    return (record.environment, *record.measured_in)


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
    there, here = deciding_parts(entry), deciding_parts(usual)
    both_whole = "id" in entry and "id" in usual
    return [
        f"{what} {there.get(what, 'not set')} instead of {here.get(what, 'not set')}"
        for what in {**here, **there}
        if there.get(what) != here.get(what) and (both_whole or (what in here and what in there))
    ]
