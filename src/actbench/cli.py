"""The command line: arguments in, exit codes out."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from actbench import __version__
from actbench.errors import ActbenchError, UsageError
from actbench.study import AUGMENTATIONS, Study, next_look, read_config

if TYPE_CHECKING:
    from actbench.frames import Frames
    from actbench.runner import Plan
    from actbench.store import Store


class _Interrupted(BaseException):
    """A signal asked the run to end."""

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code


class _Seeds(click.ParamType[Any]):
    name = "N|LIST"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        try:
            numbers = [int(part) for part in str(value).split(",")]
        except ValueError:
            self.fail(f"{value!r} is no count such as 5 and no list such as 3,7,11", param, ctx)
        return numbers if "," in str(value) else numbers[0]


class _Names(click.ParamType[Any]):
    name = "NAME,…"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        return [part.strip() for part in value.split(",")]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="actbench")
def cli() -> None:
    """Does this activation really make my network better or more robust?

    actbench trains the same network under several activations, from the same initial weights on
    the same batches, over several seeds, and compares each with the baseline pair by pair.
    """


@cli.command()
@click.option("--config", type=click.Path(path_type=Path), help="A study.toml; options beat it.")
@click.option("--dataset", help="See `actbench list datasets`.  [default: digits]")
@click.option("--data-dir", help="Where the data set's files are, or are downloaded to.")
@click.option("--dataset-name", help="What the tables call the data.")
@click.option("--train-images", type=int, help="Use the first N training images alone.")
@click.option("--model", help="See `actbench list models`.  [default: cnn]")
@click.option(
    "--activation",
    "activations",
    multiple=True,
    metavar="SPEC",
    help="An activation such as leaky_relu:0.1; repeat for more.  [default: relu and leaky_relu "
    "at 0.01, 0.05, 0.1, 0.2, 0.3]",
)
@click.option("--baseline", metavar="SPEC", help="What all are compared with.  [default: relu]")
@click.option("--seeds", type=_Seeds(), help="A count, or a list such as 3,7,11.  [default: 5]")
@click.option("--epochs", type=int, help="[default: 10]")
@click.option("--batch-size", type=int, help="[default: 64]")
@click.option("--lr", "learning_rate", type=float, help="Learning rate of SGD.  [default: 0.01]")
@click.option("--momentum", type=float, help="[default: 0.9]")
@click.option("--weight-decay", type=float, help="[default: 0]")
@click.option(
    "--augmentation",
    type=click.Choice(AUGMENTATIONS),
    help="Mirror training images at random: where labels allow it, always, never.  [default: auto]",
)
@click.option(
    "--corruptions",
    type=_Names(),
    help="Corruptions or suites, or none; see `actbench list corruptions`.  [default: noise]",
)
@click.option(
    "--margin",
    type=float,
    help="Accuracies this close are equivalent, as a fraction.  [default: 0.005]",
)
@click.option(
    "--until-decided",
    is_flag=True,
    help="Add seeds until clean and corrupted accuracy are decided for every activation.",
)
@click.option(
    "--max-seeds",
    type=click.IntRange(2, 100_000),
    help="The most seeds that --until-decided may go to.  [default: 30]",
)
@click.option("--out", type=click.Path(path_type=Path), help="[default: results/<dataset>-<model>]")
@click.option(
    "--workers",
    type=click.IntRange(0, 1024),
    help="Processes of one thread each; 0 is this process.  [default: one a core]",
)
@click.option("--dry-run", is_flag=True, help="List the trials and write nothing.")
@click.option("--quiet", is_flag=True, help="No progress.")
@click.option("--verbose", is_flag=True, help="A line every 100 batches and every epoch.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON document.")
def run(
    *,
    config: Path | None,
    out: Path | None,
    workers: int | None,
    until_decided: bool,
    max_seeds: int | None,
    dry_run: bool,
    quiet: bool,
    verbose: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Run a study: what its results folder does not hold yet, then all tables.

    The same command again goes on where an interrupted one stopped.
    """
    values = read_config(config) if config else {}
    given = {name: value for name, value in options.items() if value not in (None, ())}
    study = Study(**{**values, **given})
    if until_decided:
        study = _until_decided(study, max_seeds or 30)
    elif max_seeds is not None:
        raise UsageError("--max-seeds belongs to --until-decided; give that too")

    from actbench.store import Store

    store = Store(out or _default_folder(study))
    with contextlib.ExitStack() as stack:
        if store.folder.exists() and not dry_run:
            stack.enter_context(store.locked())
        from actbench.runner import make_executor, prepare_study

        executor = None if dry_run else make_executor(workers, len(study.trials()))
        if executor is not None:
            stack.callback(executor.close)
        plan = prepare_study(study)
        if executor is None:
            return _list_trials(plan, store, as_json=as_json)
        if not store.folder.exists():
            stack.enter_context(store.locked())
        from actbench.report import write_report

        while True:
            store.begin(plan.study)
            _run_pending(plan, store, executor, quiet=quiet, verbose=verbose)
            frames = write_report(store, plan.study)
            grown = next_look(plan.study) if until_decided and frames.undecided() else None
            if grown is None:
                break
            plan = dataclasses.replace(plan, study=grown)
    _print_summary(frames, store.folder, as_json=as_json)
    return int((frames.trials["status"] != "ok").any())


def _until_decided(study: Study, max_seeds: int) -> Study:
    from actbench.sequential import looks

    if max_seeds < len(study.seeds):
        raise UsageError(
            f"--max-seeds is {max_seeds}, but the study begins with {len(study.seeds)} seeds"
        )
    planned = looks(len(study.seeds), max_seeds)
    first = dataclasses.replace(study, looks=())
    while len(first.seeds) < planned[0]:
        first = dataclasses.replace(first, seeds=(*first.seeds, max(first.seeds) + 1))
    return dataclasses.replace(first, looks=planned)


def _default_folder(study: Study) -> Path:
    name = re.sub(r"[^A-Za-z0-9._]+", "-", f"{study.dataset}-{study.model}").strip("-.")
    return Path("results") / name[:100]


def _run_pending(plan: Plan, store: Store, executor: Any, *, quiet: bool, verbose: bool) -> None:
    from actbench.progress import ProgressDisplay
    from actbench.runner import pending_trials, prepare_corruptions, run_trials, write_samples

    pending = pending_trials(plan, store)
    planned = len(plan.study.trials())
    with ProgressDisplay(len(pending), quiet=quiet, verbose=verbose) as display:
        for spec, check in plan.checks.items() if pending else ():
            display.say(
                f"{spec}: f(−1) = {check.at_minus_one:.4g}, f(0) = {check.at_zero:.4g}, "
                f"f(1) = {check.at_one:.4g}"
            )
        if len(pending) < planned:
            display.say(f"{planned - len(pending)} of {planned} trials are stored already")
        if pending:
            prepare_corruptions(plan)
            write_samples(plan, store)
            try:
                run_trials(plan, store, pending, executor, display.tell)
            except (KeyboardInterrupt, _Interrupted):
                left = len(pending_trials(plan, store))
                display.say(f"interrupted; {planned - left} of {planned} trials are stored")
                raise


def _list_trials(plan: Plan, store: Store, *, as_json: bool) -> int:
    from actbench.runner import pending_trials

    pending = set(pending_trials(plan, store))
    rows = [
        {"activation": t.activation, "seed": t.seed, "stored": t not in pending}
        for t in plan.study.trials()
    ]
    if as_json:
        click.echo(json.dumps({"folder": str(store.folder), "trials": rows}))
        return 0
    for row in rows:
        stored = ", stored" if row["stored"] else ""
        click.echo(f"{row['activation']}, seed {row['seed']}{stored}")
    click.echo(f"{len(rows)} trials, {len(pending)} to run, into {store.folder}")
    return 0


def _print_summary(frames: Frames, folder: Path, *, as_json: bool) -> None:
    if as_json:
        content = {
            "folder": str(folder),
            "study": dataclasses.asdict(frames.study),
            "trials": json.loads(frames.trials.to_json(orient="records")),
            "summary": json.loads(frames.summary.to_json(orient="records")),
            "comparisons": json.loads(frames.comparisons.to_json(orient="records")),
        }
        click.echo(json.dumps(content))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from actbench.tables import summary_rows
    from actbench.verdicts import verdict_sentences

    rows, headers = summary_rows(frames)
    table = Table(title=Text(f"{frames.study.data_label}, {frames.study.model}"))
    for position, header in enumerate(headers):
        table.add_column(Text(header), justify="right" if position else "left")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console()
    console.print(table)
    for sentence in verdict_sentences(frames):
        name, dash, rest = sentence.partition(" — ")
        console.print(Text.assemble((name, "bold"), dash, *_coloured(rest)))
    console.print(Text(f"The tables lie in {folder}; read {folder / 'summary.md'}"), soft_wrap=True)


def _coloured(sentence: str) -> list[str | tuple[str, str]]:
    colours = {"better": "green", "worse": "red", "equivalent": "cyan", "undecided": "yellow"}
    parts = re.split(rf"(?<=: )({'|'.join(colours)})", sentence)
    return [(part, colours[part]) if part in colours else part for part in parts]


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON document.")
def report(folder: Path, *, as_json: bool) -> int:
    """Build every table of a results FOLDER again from its stored records."""
    from actbench.report import write_report
    from actbench.store import Store

    store = Store(folder)
    study = store.study()
    with store.locked():
        frames = write_report(store, study)
    _print_summary(frames, folder, as_json=as_json)
    return int((frames.trials["status"] != "ok").any())


@cli.group(name="list")
def list_() -> None:
    """Show the names that `actbench run` knows."""


@list_.command()
def activations() -> None:
    """Activations with their parameters and what they compute."""
    from actbench.activations import ACTIVATIONS, check_activation, resolve_activation

    rows = []
    for name, definition in ACTIVATIONS.items():
        check = check_activation(resolve_activation(name))
        parameters = ", ".join(
            f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}"
            for k, v in definition.parameters.items()
        )
        values = (check.at_minus_one, check.at_zero, check.at_one)
        rows.append(
            [
                name,
                parameters,
                *(f"{value:.4g}" for value in values),
                "yes" if check.monotone else "no",
                str(check.trainable_parameters),
            ]
        )
    headers = ["name", "parameters", "f(−1)", "f(0)", "f(1)", "monotone", "trainable"]
    _print_table(rows, headers)


@list_.command()
def datasets() -> None:
    """Data sets."""
    from actbench.datasets import DATASETS

    _print_table([[name, about] for name, (_, about) in DATASETS.items()], ["name", ""])


@list_.command()
def models() -> None:
    """Networks."""
    from actbench.models import MODELS

    _print_table([[name, about] for name, (_, _, about) in MODELS.items()], ["name", ""])


@list_.command()
def corruptions() -> None:
    """Corruptions and suites of them."""
    from actbench.corruptions import CORRUPTIONS, SUITES

    rows = [
        [name, (function.__doc__ or "").partition("\n")[0]]
        for name, function in CORRUPTIONS.items()
    ]
    _print_table(
        rows + [[name, ", ".join(members)] for name, members in SUITES.items()], ["name", ""]
    )


def _print_table(rows: list[list[str]], headers: list[str]) -> None:
    from tabulate import tabulate

    click.echo(tabulate(rows, headers=headers, disable_numparse=True))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code; an error is one line on stderr."""
    asked = sys.argv[1:] if arguments is None else arguments

    def terminate(*_: object) -> None:
        raise _Interrupted(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, terminate)
    try:
        code = cli.main(asked, prog_name="actbench", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt, _Interrupted) as error:
        command = shlex.join(["actbench", *asked])
        _say(f"resume with: {command}")
        code = error.exit_code if isinstance(error, _Interrupted) else 128 + signal.SIGINT
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        code = UsageError.exit_code
    except click.ClickException as error:
        _say(error.format_message())
        code = UsageError.exit_code
    except ActbenchError as error:
        _say(str(error))
        code = error.exit_code
    except BrokenPipeError:  # the reader of our output went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


def _say(message: str) -> None:
    click.echo(f"actbench: {' '.join(message.split())}", err=True)
