"""Robustness as tables of text cells with their notes, for Markdown, LaTeX, page and terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actbench.metrics import epsilon_text
from actbench.verdicts import MASKED, percent

if TYPE_CHECKING:
    import pandas as pd

    from actbench.frames import Frames


@dataclass(frozen=True)
class Section:
    """A table with its title, what stands below it, and warnings that must not be missed.

    ``id`` is its name within a page; ``folded`` says that it is long and of second interest.
    """

    id: str
    title: str
    headers: list[str]
    rows: list[list[str]]
    note: str
    warnings: tuple[str, ...] = ()
    folded: bool = False


def robustness_sections(frames: Frames) -> list[Section]:
    """Return the sections that the study has data for, in their order."""
    return [section for section in (attack_section(frames),) if section is not None]


def attack_section(frames: Frames) -> Section | None:
    """Return accuracy under each attack by ε, beside that of the same images unchanged.

    A cell bears the warning sign where the guard found masked gradients in one of its trials.
    """
    if frames.attacks.empty:
        return None
    study = frames.study
    unchanged = _over_seeds(frames.unattacked(), ["activation"])
    attacked = _over_seeds(frames.attacks, ["activation", "attack", "epsilon"])
    epsilons = sorted(study.epsilons)
    rows = []
    for attack in study.attacks:
        for activation in frames.attacks["activation"].unique():
            mean, spread, n = unchanged[(activation,)]
            hits = len(frames.masking(activation))
            cells = [percent(mean, spread)]
            for epsilon in epsilons:
                mean, spread, _ = attacked[activation, attack, epsilon]
                cells.append(percent(mean, spread) + MASKED * bool(hits))
            found = f"{hits} of {n} trials{MASKED}" if hits else "none found"
            rows.append([activation, attack, f"{n}", *cells, found])
    images = frames.attacked_images()
    return Section(
        id="attacks",
        title="Accuracy under attack, %",
        headers=[
            *("activation", "attack", "n", "unchanged"),
            *(f"ε = {epsilon_text(epsilon)}" for epsilon in epsilons),
            "masked gradients",
        ],
        rows=rows,
        note=f"Mean ± standard deviation over n seeds, on the first {images} test images. An "
        "attack changes an image by at most ε, in its norm, to have it misclassified; all trials "
        "meet the same random numbers. A stronger attack can only lower these figures. Paired "
        "differences with their verdicts stand in the table of comparisons.",
        warnings=tuple(masking_warnings(frames)),
    )


def _over_seeds(frame: pd.DataFrame, by: list[str]) -> dict[tuple[object, ...], Any]:
    """Return the mean, standard deviation and count of the accuracy in each group."""
    return {
        key: (part.mean(), part.std(), len(part)) for key, part in frame.groupby(by)["accuracy"]
    }


def masking_warnings(frames: Frames) -> list[str]:
    """Return a sentence for each activation whose robust accuracy may be feigned, with its n."""
    found = []
    for activation in frames.study.activations:
        by_seed = frames.masking(activation)
        if not by_seed:
            continue
        trained = int(frames.unattacked()["activation"].eq(activation).sum())
        seed, (first, *_) = next(iter(by_seed.items()))
        found.append(
            f"{activation}: accuracy under attack may be overstated, as {len(by_seed)} of "
            f"{trained} trials show signs of masked gradients. Seed {seed}: {first}. "
            "attacks.csv has them all."
        )
    return found
