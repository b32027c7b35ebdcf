"""Data frames and figures → one HTML page that asks nothing of the network."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from actbench.analysis.comparisons import VERDICTS
from actbench.report.figures.axes import finished, seeds_of
from actbench.report.figures.registry import STRIP, caption
from actbench.report.figures.style import FAINT, GRID, HUES, INK, PAPER, SHADE
from actbench.report.formatting import METRICS_ALONE
from actbench.report.printable import printable
from actbench.report.sections import means_over_seeds, robustness_sections
from actbench.report.sentences import describe_recipe, variant_label, verdict_sentences
from actbench.report.tables import SENSITIVITY_NOTE, comparison_rows, summary_rows, variance_rows
from actbench.report.warnings import chance_note, sensitivity_rows, study_warnings
from actbench.store.environment import read_environments
from actbench.study.toml import study_to_toml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actbench.analysis.frames import Frames
    from actbench.report.sections import Section

# what a figure's colours are called in report.css, which has others for the dark
_COLOURS = {
    PAPER: "paper",
    INK: "ink",
    FAINT: "faint",
    GRID: "grid",
    SHADE: "shade",
    **{hue: f"hue-{i}" for i, hue in enumerate(HUES)},
}
_WORDS = {
    *("activation", "metric", "verdict", "what would sharpen it", "without diverged trials"),
    *("attack", "masked gradients", "mechanism", "corruption"),
}


@dataclass(frozen=True)
class Table:
    """Text cells; the first of each row names it."""

    id: str
    caption: str
    headers: list[str]
    rows: list[list[str]]

    def is_text(self, column: int) -> bool:
        """Return whether the column holds words, not numbers."""
        return self.headers[column] in _WORDS


@dataclass(frozen=True)
class Answer:
    """What the study says of one activation: its verdicts by metric, and them as a sentence."""

    activation: str
    verdicts: dict[str, str]
    sentence: str


@dataclass(frozen=True)
class Picture:
    """An inline SVG with its caption."""

    id: str
    svg: Markup
    caption: str


def to_html(
    frames: Frames, svgs: Mapping[str, str], environment: Mapping[str, Any], version: str
) -> str:
    """Return the report as one self-contained page.

    Args:
        frames: the study's tables.
        svgs: each figure's SVG by its name, from ``to_svg``.
        environment: what ``environment.json`` holds; empty where it is not known.
        version: of actbench.
    """
    study = frames.study
    templates = Environment(
        loader=PackageLoader("actbench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    script = templates.get_template("report.js").render()
    pictures = {name: _picture(name, svg, frames) for name, svg in svgs.items()}
    failed = frames.trials[frames.trials["status"] != "ok"]
    return templates.get_template("report.html").render(
        study=study,
        version=version,
        style=Markup(templates.get_template("report.css").render()),  # noqa: S704 - our own files
        script=Markup(script),  # noqa: S704
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        warnings=study_warnings(frames),
        chance_note=chance_note(frames),
        sensitivity=_sensitivity(frames),
        sensitivity_note=SENSITIVITY_NOTE,
        planned=len(study.trials()),
        stored=len(frames.trials),
        answers=_answers(frames),
        alone=verdict_sentences(frames) if len(study.activations) == 1 else [],
        tally=_tally(frames),
        level=f"{frames.level():.3g}",
        metrics_alone=METRICS_ALONE,
        primary=_comparisons(frames, primary=True),
        others=_comparisons(frames, primary=False),
        summary=_summary(frames),
        by_corruption=_means(frames, "corruption"),
        by_severity=_means(frames, "severity"),
        variance=_variance(frames),
        robustness=_robustness(frames),
        failed=failed[["activation", "seed", "status", "reason"]].astype(str).to_numpy().tolist(),
        forest=pictures.pop("differences", None),
        strip=pictures.pop(STRIP, None),
        pictures=list(pictures.values()),
        recipe=describe_recipe(study),
        variant_label=variant_label(study),
        machine=_machine(environment),
        toml=study_to_toml(study),
    )


def _shown(value: object) -> object:
    """Return what a template's expression shows: our own markup as it is, other text printable."""
    return printable(value) if type(value) is str else value


def _answers(frames: Frames) -> list[Answer]:
    sentences = dict(
        zip(
            [name for name in frames.study.activations if name != frames.study.baseline],
            verdict_sentences(frames),
            strict=False,
        )
    )
    rows = frames.comparisons
    rows = rows[rows["metric"].isin(frames.primary())]
    verdicts: dict[str, dict[str, str]] = {}
    for row in reversed(rows.to_dict("records")):
        metric = frames.metrics[row["metric"]].label
        verdicts.setdefault(row["activation"], {})[metric] = row["verdict"]
    return [
        Answer(name, verdicts.get(name, {}), _capitalised(text.removeprefix(f"{name} — ")))
        for name, text in sentences.items()
        if len(frames.study.activations) > 1
    ]


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _tally(frames: Frames) -> list[str]:
    """Return, for each primary metric, how many activations got which verdict, as a sentence."""
    lines = []
    for metric in reversed(frames.primary()):
        verdicts = frames.comparisons.loc[frames.comparisons["metric"] == metric, "verdict"]
        counts = Counter(verdicts)
        better = counts.pop("better", 0)
        if not len(verdicts):
            continue
        label = frames.metrics[metric].label.capitalize()
        line = f"{label}: {better or 'none'} of {len(verdicts)} {'is' if better < 2 else 'are'} "
        line += f"better than {frames.study.baseline}"
        rest = [f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict]]
        lines.append(f"{line}; {', '.join(rest)}." if rest else f"{line}.")
    return lines


def _comparisons(frames: Frames, *, primary: bool) -> Table:
    wanted = frames.comparisons["metric"].isin(frames.primary()) == primary
    rows, headers = comparison_rows(frames, frames.comparisons[wanted])
    return Table(
        "primary" if primary else "others",
        f"Paired differences from {frames.study.baseline}"
        + ("" if primary else ": every other metric"),
        _verdict_third(headers),
        [_verdict_third(row) for row in rows],
    )


def _sensitivity(frames: Frames) -> Table:
    rows, headers = sensitivity_rows(frames)
    return Table("sensitivity", "With diverged trials scored as chance", headers, rows)


def _verdict_third(cells: list[str]) -> list[str]:
    """Return the cells with the last, the verdict, where a narrow screen shows it."""
    return [*cells[:2], cells[-1], *cells[2:-1]]


def _summary(frames: Frames) -> Table:
    rows, headers = summary_rows(frames)
    return Table("summary", "Mean ± standard deviation over n seeds", headers, rows)


def _variance(frames: Frames) -> Table:
    rows, headers = variance_rows(frames)
    return Table("variance", "Standard errors of the difference, in points", headers, rows)


def _robustness(frames: Frames) -> list[tuple[Section, Table]]:
    return [
        (section, Table(section.id, section.title, section.headers, section.rows))
        for section in robustness_sections(frames)
    ]


def _means(frames: Frames, by: str) -> Table:
    """Return accuracy by corruption or severity: mean ± standard deviation over seeds."""
    rows, headers = means_over_seeds(frames.corruptions, frames, by, "accuracy")
    size = seeds_of(finished(frames, frames.trials))
    text = f"Accuracy by {by}, %: mean ± standard deviation, {size}"
    return Table(f"by-{by}", text, headers, rows)


def _picture(name: str, svg: str, frames: Frames) -> Picture:
    for colour, variable in _COLOURS.items():
        svg = svg.replace(colour, f"var(--{variable})")
    identifier = name.replace("_", "-")
    opening = f'<svg role="img" aria-labelledby="about-{identifier}" '
    svg = svg.replace("<svg ", opening, 1)
    told = caption(name, frames).replace(" %", "\N{NO-BREAK SPACE}%")
    told = told.replace("n = ", "n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")
    return Picture(identifier, Markup(svg), told)  # noqa: S704 - it holds outlines, no text


def _machine(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what is known of the machines, as pairs of a name and a text."""
    names = {
        "processor": "processor",
        "cpu_capability": "vector instructions",
        "gpus": "GPU",
        "compiler": "compiler",
        "cores": "cores",
        "threads_per_trial": "threads per trial",
        "system": "system",
        "python": "Python",
        "packages": "packages",
        "variables": "environment variables",
        "git_commit": "commit of actbench",
    }
    stored = read_environments(environment)
    entries, seconds = stored["environments"], stored["seconds"]
    rows = []
    for name, label in names.items():
        found = [_as_text(entry[name]) for entry in entries if entry.get(name)]
        rows += [(label, "; ".join(dict.fromkeys(found)))] * bool(found)
    for name, label, which in (("start", "begun", min), ("end", "ended", max)):
        times = [entry[name] for entry in entries if entry.get(name)]
        rows += [(label, which(times))] if times else []
    if seconds:
        mean = sum(seconds.values()) / len(seconds)
        rows.append(("time per trial", f"{mean:.1f} s on average, {len(seconds)} trials"))
    return rows


def _as_text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {found}" for name, found in value.items())
    return ", ".join(value) if isinstance(value, list) else str(value)
