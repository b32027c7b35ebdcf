"""Data frames and figures → one self-contained HTML page that loads nothing."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from actbench.analysis.verdicts import VERDICTS
from actbench.report.answer import answer_lines, answer_of, remedy
from actbench.report.claims import RULE, claim_facts_of, replication_tables
from actbench.report.figures.axes import ok_rows, seeds_of
from actbench.report.figures.registry import caption
from actbench.report.figures.series import HUES, series_styles
from actbench.report.figures.strip import STRIP
from actbench.report.figures.style import FAINT, GRID, INK, PAPER, SHADE
from actbench.report.formatting import METRICS_NOT_CORRECTED, capitalised
from actbench.report.grid import comparison_groups, headline_bars
from actbench.report.printable import printable
from actbench.report.robustness import masking_warnings, robustness_tables
from actbench.report.samples import SAMPLES_FILE
from actbench.report.sentences import (
    describe_study,
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
from actbench.study.levels import corruption_label, has_levels
from actbench.study.toml import study_to_toml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from actbench.analysis.frames import Frames
    from actbench.report.table import Table
    from actbench.study.study import Study

# the names of a figure's colours in report.css, which has others for dark mode
_COLOURS = {
    PAPER: "paper",
    INK: "ink",
    FAINT: "faint",
    GRID: "grid",
    SHADE: "shade",
    **{hue: f"hue-{i}" for i, hue in enumerate(HUES)},
}


@dataclass(frozen=True)
class Picture:
    """An inline SVG with its caption; without an SVG the caption says why there is none."""

    id: str
    svg: Markup
    caption: str


@dataclass(frozen=True)
class Toggle:
    """An activation that can be hidden in the figures."""

    series: int
    name: str
    colour: str
    dashes: str


def to_html(
    frames: Frames, pictures: Mapping[str, str], environment: Mapping[str, Any], version: str
) -> str:
    """Return the report as one self-contained page.

    Args:
        frames: the study's tables.
        pictures: by a figure's name, its SVG from ``to_svg``, or a sentence in its place.
        environment: the content of ``environment.json``; empty if there is none.
        version: the version of actbench.
    """
    study = frames.study
    drawn = {name: picture(name, text, caption(name, frames)) for name, text in pictures.items()}
    strip = drawn.pop(STRIP, None)
    answer, machine = answer_of(frames), _machine(environment)
    comparisons = replace(comparison_table(frames, frames.comparisons), id="all-numbers")
    return render_page(
        "report.html",
        version,
        study=study,
        warnings=[
            _split(warning) for warning in (*study_warnings(frames), *masking_warnings(frames))
        ],
        chance_note=chance_note(frames),
        sensitivity=sensitivity_table(frames),
        planned=len(study.trials()),
        stored=len(frames.trials),
        answer=answer,
        answer_bars=headline_bars(frames, list(answer.rows.values())),
        sentences={n: capitalised(text) for n, text in verdicts_by_activation(frames).items()},
        no_comparison=verdict_sentences(frames) if len(study.activations) == 1 else [],
        remedy=remedy(frames),
        level=f"{frames.level:.3g}",
        metrics_not_corrected=METRICS_NOT_CORRECTED,
        groups=comparison_groups(frames),
        verdicts=[
            (v.replace(" ", "-"), v) for v in VERDICTS if v in set(frames.comparisons["verdict"])
        ],
        comparisons=_verdict_third(comparisons),
        claim_facts=claim_facts_of(frames),
        claim_figure=drawn.pop("replication", None),
        claim_tables=replication_tables(frames),
        claim_rule=RULE,
        summary=summary_table(frames),
        accuracies=_accuracies(frames),
        corruptions=[corruption_label(name) for name in study.corruptions],
        has_severities=not all(map(has_levels, study.corruptions)),
        variance=variance_table(frames),
        robustness=robustness_tables(frames),
        failed=failures_table(frames),
        strip=strip,
        activations=_toggles(frames),
        pictures=_without_repetition(drawn.values()),
        recipe=describe_study(frames),
        variant_label=variant_label(study),
        machine=machine,
        toml=study_to_toml(study),
        files=_files(study, strip=strip is not None, environment=bool(machine)),
    )


def to_notebook(frames: Frames, folder: Path) -> str:
    """Return the answer, with what to know of it, as HTML for the output of a notebook cell."""
    templates, answer = _templates(), answer_of(frames)
    return templates.get_template("notebook.html").render(
        study=frames.study,
        style=Markup(templates.get_template("answer.css").render()),  # noqa: S704 - our own file
        stored=len(frames.records),
        planned=len(frames.study.trials()),
        warnings=study_warnings(frames),
        answer=answer,
        answer_bars=headline_bars(frames, list(answer.rows.values())),
        lines=answer_lines(frames),
        page=str(folder / "report.html"),
    )


@cache
def _templates() -> Environment:
    """Return the templates of the report, which escape everything that is not markup."""
    return Environment(
        loader=PackageLoader("actbench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )


def render_page(template: str, version: str, **values: Any) -> str:
    """Return a page from a template, with the style and the script that all pages share."""
    templates = _templates()
    styles = (templates.get_template(name).render() for name in ("report.css", "answer.css"))
    script = templates.get_template("report.js").render()
    return templates.get_template(template).render(
        version=version,
        style=Markup("\n".join(styles)),  # noqa: S704 - our own files
        script=Markup(script),  # noqa: S704
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **values,
    )


def _shown(value: object) -> object:
    """Return the text of a template's expression without control characters; markup unchanged."""
    return printable(value) if type(value) is str else value


def _split(warning: str) -> tuple[str, str]:
    """Return a warning's first sentence or clause, and the rest."""
    lead, end, rest = warning.partition(". ")
    return (lead + end.strip(), rest)


def _verdict_third(table: Table) -> Table:
    """Return the table with its last column third, where a narrow screen shows it."""
    *headers, verdict = table.headers
    return table.columns(*headers[:2], verdict, *headers[2:])


def _without_repetition(pictures: Iterable[Picture]) -> list[Picture]:
    """Return the pictures; of several sentences in their places that are equal, the first."""
    seen: dict[str, Picture] = {}
    for picture in pictures:
        seen.setdefault(picture.id if picture.svg else picture.caption, picture)
    return list(seen.values())


def _toggles(frames: Frames) -> list[Toggle]:
    toggles = []
    for name, style in series_styles(frames.study.activations).items():
        dashes = (
            "" if isinstance(style.line, str) else " ".join(f"{2 * d:g}" for d in style.line[1])
        )
        colour = f"var(--{_COLOURS[style.colour]})"
        toggles.append(Toggle(style.series, name, colour, dashes or "none"))
    return toggles


def _files(study: Study, *, strip: bool, environment: bool) -> list[tuple[str, str]]:
    """Return the files beside the page that it links to, with their contents."""
    files = {
        "trials.csv": "a row per trial: status, losses, accuracies, gradient norms, flag",
        "summary.csv": "a row per activation: mean, standard deviation, interval of each metric",
        "comparisons.csv": "a row per activation × metric: difference, interval, p-values, verdict",
        "corruptions.csv": "a row per activation × seed × corruption × severity",
        "attacks.csv": "a row per activation × seed × attack × ε",
        "corruption_differences.csv": "a row per activation × corruption × severity: paired "
        "difference, interval, p-values",
        "class_summary.csv": "a row per activation × class on clean, corrupted and attacked images",
        "gradients.csv": "a row per activation × seed × epoch × layer",
        "mechanism.csv": "a row per mechanism: its rank correlation with corrupted accuracy",
        "sensitivity.csv": "comparisons that lost diverged trials, with these scored as chance",
    }
    if study.claim:
        files["replication.csv"] = "a row per published row of the claim: both differences, result"
    if study.tune_lr or study.tune:
        files["tuning.csv"] = "the settings that were compared to choose each activation's"
    if study.retuned:
        files["tuning_studies.csv"] = "the comparisons with the settings of each tuning study"
    if strip:
        files[SAMPLES_FILE] = "the first test image under every corruption and severity"
    files["study.toml"] = "all settings that change the numbers"
    if environment:
        files["environment.json"] = "versions, processor and times"
    files["summary.md"] = "this report in short"
    files["summary.tex"] = "its tables for LaTeX"
    return list(files.items())


def _accuracies(frames: Frames) -> list[Table]:
    """Return accuracy by corruption, severity and level, with n in the titles."""
    size = seeds_of(ok_rows(frames, frames.trials))
    return [
        replace(table, title=f"{table.title}: mean ± standard deviation, {size}")
        for table in accuracy_tables(frames)
    ]


def picture(name: str, drawn: str, caption: str) -> Picture:
    """Return an SVG of ``to_svg``, or the sentence in its place, for a page in its colours."""
    identifier = name.replace("_", "-")
    if not drawn.startswith("<svg"):
        return Picture(identifier, Markup(), drawn)
    opening = f'<svg role="img" aria-labelledby="about-{identifier}" '
    svg = re.sub(r'style="[^"]*"', _with_variables, drawn).replace("<svg ", opening, 1)
    text = caption.replace(" %", "\N{NO-BREAK SPACE}%")
    text = text.replace("n = ", "n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")
    return Picture(identifier, Markup(svg), text)  # noqa: S704 - names in it are escaped


def _with_variables(style: re.Match[str]) -> str:
    """Return an SVG's style with the page's colours."""
    text = style[0]
    for colour, variable in _COLOURS.items():
        text = text.replace(colour, f"var(--{variable})")
    return text


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
