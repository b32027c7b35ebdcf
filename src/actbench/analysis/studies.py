"""The verdicts of several studies, on other data or networks, and whether they agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from actbench.analysis.stored_frames import read_frames
from actbench.analysis.verdicts import IDENTICAL, NO_VERDICT
from actbench.errors import UsageError
from actbench.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from actbench.analysis.frames import Frames

STUDY_COLUMNS = (
    "activation",
    "baseline",
    "metric",
    "agreement",
    "study",
    "n",
    "difference",
    "ci_low",
    "ci_high",
    "p_holm",
    "margin",
    "verdict",
)
AGREEMENTS = ("agree", "differ", "open")
GRADIENT_METRICS = ("grad_norm_first", "grad_norm_ratio")


def read_studies(folders: Sequence[Path]) -> dict[str, Frames]:
    """Return the frames of each folder by its label: data and network, and the folder if needed.

    Raises:
        UsageError: there are fewer than two folders, or one is named twice.
        ResultsFolderError: a folder holds no study, or no finished trial.
    """
    resolved = [folder.resolve() for folder in folders]
    for folder, path in zip(folders, resolved, strict=True):
        if resolved.count(path) > 1:
            raise UsageError(f"{str(folder)!r} is named twice; name each results folder once")
    if len(folders) < 2:
        raise UsageError("a comparison takes at least two results folders")
    stores = [Store(folder) for folder in folders]
    frames = [read_frames(store, store.study()) for store in stores]
    names = [f"{each.study.data_label}, {each.study.model}" for each in frames]
    return {
        name if names.count(name) == 1 else f"{name} ({folder})": each
        for name, folder, each in zip(names, folders, frames, strict=True)
    }


def compare_studies(studies: Mapping[str, Frames]) -> pd.DataFrame:
    """Return every comparison that the studies share, study by study, and whether they agree.

    Shared are the activations with trials in all studies, and the metrics clean accuracy, corrupted
    accuracy if all studies have the same corruptions, the first layer's gradient norm and its ratio
    to the last layer's. ``agreement`` is the same for all studies of an activation × metric:

    - "agree": every study is decided, and all have the same verdict;
    - "differ": two studies are decided and have different verdicts, whatever the other verdicts;
    - "open": neither, as some study is undecided or has no verdict.

    It compares verdicts, each from its own study; it does not test whether the studies' differences
    differ. A small study may be undecided about a difference that a large one finds.

    Args:
        studies: two or more, by their names in the tables.

    Returns:
        A row per activation × metric × study with the columns ``STUDY_COLUMNS``: activations in the
        first study's order, and studies in the given one. ``agreement`` is one of ``AGREEMENTS``;
        the other columns are those of ``compare``, accuracies as fractions.

    Raises:
        UsageError: the studies differ in baseline or margin, or share no activation.
    """
    for field in ("baseline", "margin"):
        values = {name: getattr(frames.study, field) for name, frames in studies.items()}
        if len(set(values.values())) > 1:
            listed = "; ".join(f"{value} in {name}" for name, value in values.items())
            raise UsageError(f"the studies must have one {field}, but it is {listed}")
    found = {
        (row["activation"], row["metric"], name): {**row, "study": name}
        for name, frames in studies.items()
        for row in frames.comparisons.to_dict("records")
    }
    rows = []
    for activation in shared_activations(studies):
        for metric in _shared_metrics(studies):
            part = [found[activation, metric, name] for name in studies]
            agreement = _agreement(row["verdict"] for row in part)
            rows += [{**row, "agreement": agreement} for row in part]
    if not rows:
        raise UsageError("the studies share no activation besides the baseline")
    return pd.DataFrame(rows, columns=list(STUDY_COLUMNS))


def shared_activations(studies: Mapping[str, Frames]) -> list[str]:
    """Return the activations other than the baseline with trials in all studies."""
    compared = [list(pd.unique(frames.comparisons["activation"])) for frames in studies.values()]
    return [name for name in compared[0] if all(name in others for others in compared)]


def _shared_metrics(studies: Mapping[str, Frames]) -> list[str]:
    primary = next(iter(studies.values())).primary_metrics
    if not have_same_corruptions(studies):
        primary = ["clean_accuracy"]
    return [*primary, *GRADIENT_METRICS]


def have_same_corruptions(studies: Mapping[str, Frames]) -> bool:
    """Return whether all studies have the same corruptions, in any order."""
    return len({frozenset(frames.study.corruptions) for frames in studies.values()}) == 1


def _agreement(verdicts: Iterable[str]) -> str:
    verdicts = set(verdicts)
    verdicts = {"equivalent" if verdict == IDENTICAL else verdict for verdict in verdicts}
    decided = verdicts - {"undecided", NO_VERDICT}
    if len(decided) > 1:
        return "differ"
    return "agree" if decided == verdicts else "open"
