"""Data frames and figures → one self-contained HTML page that loads nothing."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from actbench.analysis.verdicts import VERDICTS
from actbench.report.figures.axes import finished, seeds_of
from actbench.report.figures.registry import STRIP, caption
from actbench.report.figures.series import HUES
from actbench.report.figures.style import FAINT, GRID, INK, PAPER, SHADE
from actbench.report.formatting import METRICS_NOT_CORRECTED
from actbench.report.printable import printable
from actbench.report.robustness import robustness_tables
from actbench.report.sentences import (
    describe_recipe,
    variant_label,
    verdict_sentences,
    verdicts_by_activation,
)
from actbench.report.tables import (
    accuracy_tables,
    comparison_table,
    failures_table,
    sensitivity_table,
    summary_table,
    variance_table,
)
from actbench.report.warnings import chance_note, study_warnings
from actbench.store.environment import read_environments
from actbench.study.levels import corruption_label
from actbench.study.toml import study_to_toml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actbench.analysis.frames import Frames
    from actbench.report.table import Table

# the names of a figure's colours in report.css, which has others for dark mode
_COLOURS = {
    PAPER: "paper",
    INK: "ink",
    FAINT: "faint",
    GRID: "grid",
    SHADE: "shade",
    **{hue: f"hue-{i}" for i, hue in enumerate(HUES)},
}
# the columns that hold words, not numbers
_TEXT_HEADERS = {
    "activation",
    "metric",
    "verdict",
    "what reduces it",
    "without diverged trials",
    "attack",
    "masked gradients",
    "mechanism",
    "corruption",
    "row",
    "what",
    "printed",
    "expected",
    "result",
    "why",
    "level",
}


@dataclass(frozen=True)
class Answer:
    """The result for one activation: its verdicts by metric, and as a sentence."""

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
        environment: the content of ``environment.json``; empty if there is none.
        version: of actbench.
    """
    study = frames.study
    pictures = {name: picture(name, svg, caption(name, frames)) for name, svg in svgs.items()}
    return render_page(
        "report.html",
        version,
        study=study,
        warnings=study_warnings(frames),
        chance_note=chance_note(frames),
        sensitivity=sensitivity_table(frames),
        planned=len(study.trials()),
        stored=len(frames.trials),
        answers=_answers(frames),
        no_comparison=verdict_sentences(frames) if len(study.activations) == 1 else [],
        tally=_tally(frames),
        level=f"{frames.level:.3g}",
        metrics_not_corrected=METRICS_NOT_CORRECTED,
        primary=_comparisons(frames, primary=True),
        others=_comparisons(frames, primary=False),
        summary=summary_table(frames),
        accuracies=_accuracies(frames),
        corruptions=[corruption_label(name) for name in study.corruptions],
        variance=variance_table(frames),
        robustness=robustness_tables(frames),
        failed=failures_table(frames),
        forest=pictures.pop("differences", None),
        strip=pictures.pop(STRIP, None),
        pictures=list(pictures.values()),
        recipe=describe_recipe(study),
        variant_label=variant_label(study),
        machine=_machine(environment),
        toml=study_to_toml(study),
    )


def render_page(template: str, version: str, **values: Any) -> str:
    """Return a page from a template, with the style and the script that all pages share."""
    templates = Environment(
        loader=PackageLoader("actbench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    script = templates.get_template("report.js").render()
    return templates.get_template(template).render(
        version=version,
        style=Markup(templates.get_template("report.css").render()),  # noqa: S704 - our own files
        script=Markup(script),  # noqa: S704
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        text_headers=_TEXT_HEADERS,
        **values,
    )


def _shown(value: object) -> object:
    """Return the text of a template's expression without control characters; markup unchanged."""
    return printable(value) if type(value) is str else value


def _answers(frames: Frames) -> list[Answer]:
    verdicts: dict[str, dict[str, str]] = {}
    for row in reversed(frames.primary_comparisons.to_dict("records")):
        metric = frames.metrics[row["metric"]].label
        verdicts.setdefault(row["activation"], {})[metric] = row["verdict"]
    return [
        Answer(name, verdicts.get(name, {}), _capitalised(text))
        for name, text in verdicts_by_activation(frames).items()
    ]


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _tally(frames: Frames) -> list[str]:
    """Return a sentence for each primary metric: how many activations have which verdict."""
    lines = []
    for metric in reversed(frames.primary_metrics):
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
    selected = frames.comparisons["metric"].isin(frames.primary_metrics) == primary
    table = comparison_table(frames, frames.comparisons[selected])
    # the verdict, last, comes third: a narrow screen shows it there
    *headers, verdict = table.headers
    table = table.columns(*headers[:2], verdict, *headers[2:])
    if primary:
        return replace(table, id="primary")
    return replace(table, id="others", title=f"{table.title}: every other metric")


def _accuracies(frames: Frames) -> list[Table]:
    """Return accuracy by corruption, severity and level, with n in the titles."""
    size = seeds_of(finished(frames, frames.trials))
    return [
        replace(table, title=f"{table.title}: mean ± standard deviation, {size}")
        for table in accuracy_tables(frames)
    ]


def picture(name: str, svg: str, caption: str) -> Picture:
    """Return an SVG of ``to_svg`` for a page, in the page's colours."""
    for colour, variable in _COLOURS.items():
        svg = svg.replace(colour, f"var(--{variable})")
    identifier = name.replace("_", "-")
    opening = f'<svg role="img" aria-labelledby="about-{identifier}" '
    svg = svg.replace("<svg ", opening, 1)
    text = caption.replace(" %", "\N{NO-BREAK SPACE}%")
    text = text.replace("n = ", "n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")
    return Picture(identifier, Markup(svg), text)  # noqa: S704 - outlines without text


def _machine(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the descriptions of the machines, as pairs of a name and a text."""
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
        if found:
            rows.append((label, "; ".join(dict.fromkeys(found))))
    for name, label, which in (("start", "begun", min), ("end", "ended", max)):
        times = [entry[name] for entry in entries if entry.get(name)]
        if times:
            rows.append((label, which(times)))
    if seconds:
        mean = sum(seconds.values()) / len(seconds)
        rows.append(("time per trial", f"{mean:.1f} s on average, {len(seconds)} trials"))
    return rows


def _as_text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {found}" for name, found in value.items())
    return ", ".join(value) if isinstance(value, list) else str(value)
