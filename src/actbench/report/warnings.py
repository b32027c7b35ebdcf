"""The warnings before a study's verdicts: networks at chance, lost trials, outliers."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from actbench.analysis.verdicts import ranks_disagree
from actbench.report.claims import reduced_run
from actbench.report.formatting import p_value_of, percent
from actbench.report.once import once
from actbench.report.sentences import lost_trials
from actbench.report.tuning import tuning_warnings
from actbench.study.notes import REPLACED

if TYPE_CHECKING:
    from actbench.analysis.frames import Frames

MAX_LISTED = 5


@once
def study_warnings(frames: Frames) -> tuple[str, ...]:
    """Return the warnings that every document shows before its verdicts, one or two sentences each.

    A reduced run of a claim; the baseline at chance; trials that diverged or crashed; trials at
    chance or far from the others of their activation; primary metrics in which Wilcoxon's test
    contradicts the verdict; verdicts that depend on the tuning study; what the records of trials
    note; trials that were computed in another environment.
    """
    return (
        *filter(None, [reduced_run(frames.study)]),
        *_at_chance(frames),
        *_lost(frames),
        *_flagged(frames),
        *_ranks(frames),
        *tuning_warnings(frames),
        *record_notes(frames),
        *frames.mixing(),
    )


def record_notes(frames: Frames) -> list[str]:
    """Return what the records of trials note, a sentence for each activation and note.

    First come activations whose results are the baseline's to the last bit.
    """
    baseline = frames.study.baseline
    found = [
        f"{name} has the results of {baseline} to the last bit in "
        f"{'its only pair' if n == 1 else f'all {n} pairs'}: both compute the same function "
        "on what the network gives them, or the network does not run it."
        for name, n in frames.identical.items()
    ]
    counts = Counter(
        (record.activation, note)
        for record in frames.records
        for note in (*record.notes, *record.output_warnings)
        if not note.startswith(REPLACED)
    )
    stored = Counter(record.activation for record in frames.records)
    return found + [
        f"{name}, {count} of {stored[name]} trials: {note}."
        for (name, note), count in counts.items()
    ]


def chance_note(frames: Frames) -> str:
    """Return the accuracy at chance as a sentence, or that it is not known."""
    share = frames.class_share
    if share is None:
        return (
            "Whether networks are above chance was not checked, and diverged trials are not scored "
            "as chance: the records do not state the share of the largest class."
        )
    if frames.known_class_share is None:
        return f"Chance is at least one class's equal share of the test images, {percent(share)} %."
    return f"Chance is the share of the largest class of the test images, {percent(share)} %."


def _at_chance(frames: Frames) -> list[str]:
    baseline = frames.study.baseline
    if not frames.baseline_at_chance or frames.class_share is None:
        return []
    others = ", ".join(
        f"{name} in {count - frames.at_chance(name)} of {count}"
        for name in frames.study.activations
        if name != baseline and (count := frames.with_result(name))
    )
    return [
        f"{baseline}, the baseline, is not above chance in {frames.at_chance(baseline)} of "
        f"{frames.with_result(baseline)} trials: always naming the largest class is right for "
        f"{percent(frames.class_share)} % of the test images. There is no verdict about accuracy, "
        "loss or calibration; try another learning rate, more epochs, other initial weights or a "
        f"shallower network.{f' Above chance: {others} trials.' if others else ''}"
    ]


def _lost(frames: Frames) -> list[str]:
    found = [lost for name in frames.study.activations if (lost := lost_trials(frames, name))]
    if not found:
        return []
    remain = any(map(frames.with_result, frames.study.activations))
    rest = ", so verdicts are about the other seeds only" if remain else ""
    return [f"No result: {'; '.join(found)}. They are left out of every mean{rest}."]


def _flagged(frames: Frames) -> list[str]:
    """Return a sentence for each activation with flagged trials."""
    found = []
    flagged = frames.trials[frames.trials["flag"] != ""]
    for activation, part in flagged.groupby("activation", sort=False):
        if frames.baseline_at_chance and (part["flag"] == "at chance").all():
            continue  # in the warning that the baseline is at chance
        listed = [
            f"seed {row['seed']} {row['flag']}, clean accuracy {percent(row['clean_accuracy'])} %"
            for row in part.head(MAX_LISTED).to_dict("records")
        ]
        rest = len(part) - len(listed)
        count = frames.with_result(str(activation))
        alike = len(part) == count  # then there is no rest that they differ from
        what = "are not above chance" if alike else "differ from the rest"
        more = f"; and {rest} more (trials.csv)" if rest else ""
        found.append(
            f"{activation}: {len(part)} of {count} trials {what}: {'; '.join(listed)}{more}. "
            "They count in every mean and test; look at them before you trust a t-test."
        )
    return found


def _ranks(frames: Frames) -> list[str]:
    return [
        f"{row['activation']}, {frames.metrics[row['metric']].label}: the t-test's verdict is "
        f"{row['verdict']} ({p_value_of('p (Holm)', row['p_holm'])}) and that of Wilcoxon's "
        f"signed-rank test {row['verdict_wilcoxon']} "
        f"({p_value_of('p (Holm)', row['p_wilcoxon_holm'])}, n = {row['n']}), so a few seeds "
        "decide: look at each seed's difference."
        for row in frames.primary_comparisons.to_dict("records")
        if ranks_disagree(row)
    ]
