"""The protocol of a claim beside a study's: what differs, and what the source does not state."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from actbench.analysis.claims import STUDY_FIELDS
from actbench.study.fields import TRAINED, settings_of
from actbench.study.specs import setting_text
from actbench.study.study import Study

if TYPE_CHECKING:
    from actbench.analysis.claims import Claim

NOT_STATED = "not stated"
# compared in a way of their own, or decided by others
_OTHERS = ("activations", "seeds", "corruptions", "dataset", "epochs", "steps")
_NOT_PROTOCOL = ("kernels", "data_dir", "dataset_name", "tune_lr", "tune")


class Difference(NamedTuple):
    """A setting in which a study is not known to do what the source did, with both values."""

    setting: str
    source: str
    here: str


def protocol_differences(claim: Claim, study: Study) -> list[Difference]:
    """Return where a study departs from a claim's protocol, and where the source leaves it open.

    Args:
        claim: the claim.
        study: that repeats it; names in it may be resolved or as given.
    """
    stated = claim.study
    theirs = Study(**{k: v for k, v in stated.items() if k not in ("epochs", "steps")})
    found = _subject(claim, study)
    length = "steps" if "steps" in stated else "epochs"
    source = str(stated.get(length, NOT_STATED))
    if source != (here := str(getattr(study, length))):
        found.append(Difference(length, source, here if here != "0" else f"{study.epochs} epochs"))
    default = Study()
    for item in settings_of(Study):
        name = item.name
        if item.group != TRAINED or item.flag is None or name in (*_OTHERS, *_NOT_PROTOCOL):
            continue
        ours = getattr(study, name)
        if name in stated:
            other = getattr(theirs, name)
            if other != ours:
                found.append(Difference(_label(name), setting_text(other), setting_text(ours)))
        elif name in STUDY_FIELDS or ours != getattr(default, name):
            found.append(Difference(_label(name), NOT_STATED, setting_text(ours)))
    if study.tune_lr or study.tune:
        found.append(Difference("learning rates", "one", "chosen for each activation"))
    return found


def _subject(claim: Claim, study: Study) -> list[Difference]:
    """Return the differences in data, activations, seeds, baseline and corruptions."""
    stated, found = claim.study, []
    if study.dataset != stated["dataset"]:
        found.append(Difference("data", stated["dataset"], study.data_label))
    missing = [name for name in stated.get("activations", ()) if name not in study.activations]
    if missing:
        found.append(
            Difference(
                "activations",
                str(len(stated["activations"])),
                f"without {', '.join(missing)}",
            )
        )
    if "baseline" in stated and study.baseline != stated["baseline"]:
        found.append(Difference("baseline", stated["baseline"], study.baseline))
    seeds = stated.get("seeds", NOT_STATED)
    count = len(seeds) if isinstance(seeds, list) else seeds
    if count != len(study.seeds):
        found.append(Difference("seeds", str(count), str(len(study.seeds))))
    needed = {name for each in claim.tables for row in each.table.rows for name in row.corruptions}
    if needed and not study.cifar10c and claim.corrupted_images:
        found.append(
            Difference(
                "corrupted images", claim.corrupted_images, "made here, with the same constants"
            )
        )
    return found


def _label(name: str) -> str:
    return {"model": "network", "train_images": "training images"}.get(name, name.replace("_", " "))
