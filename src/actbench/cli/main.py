"""The command line: arguments in, exit codes out."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import click

from actbench import __version__
from actbench.cli.listing import list_
from actbench.cli.options import Folder, Names, Numbers, Seeds
from actbench.cli.terminal import (
    open_closed_streams,
    print_what_the_terminal_can,
    say,
    say_wrong,
    show,
)
from actbench.errors import ActbenchError, UsageError
from actbench.study.study import AUGMENTATIONS, DEVICES, INITS, KERNELS, PRECISIONS, Study
from actbench.study.toml import read_config


class _Terminated(SystemExit):
    """SIGTERM asked the run to end."""


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
@click.option("--seeds", type=Seeds(), help="A count, or a list such as 3,7,11.  [default: 5]")
@click.option("--epochs", type=int, help="[default: 10]")
@click.option("--batch-size", type=int, help="[default: 64]")
@click.option("--lr", "learning_rate", type=float, help="Learning rate of SGD.  [default: 0.01]")
@click.option(
    "--tune-lr",
    type=Numbers("RATE,…", "0.003,0.01,0.03"),
    help="Choose each activation's learning rate from these, on a tenth of the training images.",
)
@click.option(
    "--init",
    type=click.Choice(INITS),
    help="Initial weights: the network's own, or Kaiming's with each activation's gain.  "
    "[default: default]",
)
@click.option("--momentum", type=float, help="[default: 0.9]")
@click.option(
    "--weight-decay",
    type=float,
    help="Of all weights but the parameters of activations.  [default: 0]",
)
@click.option(
    "--augmentation",
    type=click.Choice(AUGMENTATIONS),
    help="Mirror training images at random: where labels allow it, always, never.  [default: auto]",
)
@click.option(
    "--device",
    type=click.Choice(DEVICES),
    help="Where networks compute: cuda is this machine's GPUs; auto, these where there are any.  "
    "[default: cpu]",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    help="bf16 multiplies in bfloat16: faster, coarser; tf32, on GPUs, in TF32; auto is bf16 where "
    "the device has bfloat16 arithmetic, else fp32.  [default: fp32]",
)
@click.option(
    "--kernels",
    type=click.Choice(KERNELS),
    help="native computes convolution and max-pool as one, in half the time, where there is a C++ "
    "compiler.  [default: auto]",
)
@click.option(
    "--corruptions",
    type=Names(),
    help="Corruptions or suites, or none; see `actbench list corruptions`.  [default: noise]",
)
@click.option(
    "--cifar10c",
    metavar="DIR",
    help="Read corrupted images from the published CIFAR-10-C files; frost is then there too.",
)
@click.option(
    "--attacks",
    type=Names(),
    help="Attacks such as fgsm,pgd:steps=20,square, or none; see `actbench list attacks`.  "
    "[default: none]",
)
@click.option("--attack-images", type=int, help="Attack the first N test images.  [default: 1000]")
@click.option(
    "--epsilons",
    type=Numbers("ε,…", "2/255,8/255 or 0.1"),
    help="How far an attack may go, as fractions of the pixels' range.  "
    "[default: 1/255,2/255,4/255,8/255]",
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
@click.option("--out", type=Folder(), help="[default: results/<dataset>-<model>]")
@click.option(
    "--workers",
    type=click.IntRange(0, 1024),
    help="Processes of one thread each; 0 is this process. On GPUs, trials at once.  "
    "[default: one a core, or 32 a GPU]",
)
@click.option(
    "--executor",
    type=click.Choice(["local", "ray"]),
    default="local",
    help="Worker processes of this machine, or tasks of a Ray cluster.  [default: local]",
)
@click.option("--ray-address", help="The Ray cluster, or auto.  [default: one started here]")
@click.option(
    "--shard",
    metavar="K/N",
    help="Run the K-th of N parts of the trials, beside others in one folder.",
)
@click.option(
    "--trial-timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="End a trial that takes longer; it counts as crashed.  [default: no limit]",
)
@click.option("--retry-failed", is_flag=True, help="Run trials again that diverged or crashed.")
@click.option("--restart", is_flag=True, help="Begin anew; the folder there is renamed, not lost.")
@click.option("--yes", is_flag=True, help="Let --restart rename without asking.")
@click.option("--dry-run", is_flag=True, help="List the trials and write nothing.")
@click.option("--quiet", is_flag=True, help="No progress.")
@click.option("--verbose", is_flag=True, help="A line every 100 batches and every epoch.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON document.")
def run(
    *,
    config: Path | None,
    out: Path | None,
    workers: int | None,
    executor: str,
    ray_address: str | None,
    shard: str | None,
    trial_timeout: float | None,
    retry_failed: bool,
    restart: bool,
    yes: bool,
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
    if {"tune_lr", "learning_rate"} <= set(given):
        raise UsageError("--tune-lr chooses the learning rate, so --lr would do nothing; give one")
    study = Study(**{**values, **given})
    if config:
        _warn_of_code(config, study, set(values) - set(given))

    from actbench.api import default_folder, plan_looks
    from actbench.api import run as run_study
    from actbench.cli.finished import read_finished
    from actbench.cli.summary import print_summary, summary_of
    from actbench.store.store import Store

    asked = plan_looks(study, until_decided=until_decided, max_seeds=max_seeds)
    folder = out or default_folder(asked)
    if yes and not restart:
        raise UsageError("--yes answers what --restart asks; give that too")
    if dry_run:
        return _list_trials(asked, folder, shard, again=(restart, retry_failed), as_json=as_json)
    if restart and not yes:
        _ask_to_restart(folder)
    finished = None
    if not restart:
        finished = read_finished(Store(folder), asked, until_decided=until_decided)
    if finished is not None and (finished.complete or not retry_failed):
        if not quiet:
            click.echo(f"all {finished.planned} trials are stored already", file=sys.stderr)
        print_summary(finished, folder, as_json=as_json)
        return int(not finished.complete)
    with _stdout_kept_clean():
        results = run_study(
            study,
            folder,
            workers=workers,
            executor=executor,
            ray_address=ray_address,
            shard=shard,
            trial_timeout=trial_timeout,
            retry_failed=retry_failed,
            restart=restart,
            until_decided=until_decided,
            max_seeds=max_seeds,
            quiet=quiet,
            verbose=verbose,
        )
    summary = summary_of(results.frames)
    stored = len(results.trials)
    if shard is not None and stored < summary.planned:
        say(
            f"{stored} of {summary.planned} trials are stored; the last shard to finish, or "
            f"{shlex.join(['actbench', 'report', str(folder)])}, writes the tables"
        )
        return int((results.trials["status"] != "ok").any())
    print_summary(summary, folder, as_json=as_json)
    return int(not summary.complete)


def _warn_of_code(config: Path, study: Study, from_config: set[str]) -> None:
    """Name the code that a configuration from outside the current folder makes this run import."""
    if config.resolve().is_relative_to(Path.cwd()):
        return
    from actbench.models.activations import ACTIVATIONS
    from actbench.models.networks import MODELS
    from actbench.study.specs import parse_spec

    specs = [parse_spec(text, "activation", ACTIVATIONS) for text in study.activations]
    specs = specs if "activations" in from_config else []
    if "baseline" in from_config:
        specs.append(parse_spec(study.baseline, "activation", ACTIVATIONS))
    if "model" in from_config:
        specs.append(parse_spec(study.model, "model", MODELS))
    named = dict.fromkeys(spec.name for spec in specs if spec.imported)
    if named:
        say(
            f"warning: {str(config)!r} lies outside the current folder and names code that is "
            f"imported now: {', '.join(named)}"
        )


def _ask_to_restart(folder: Path) -> None:
    """Ask whether the folder may be renamed.

    Raises:
        UsageError: it may not, or there is nobody to ask.
    """
    if not os.path.lexists(folder):
        return
    if not sys.stdin.isatty():
        raise UsageError(f"--restart would rename {str(folder)!r}; say --yes to let it")
    if not click.confirm(f"Rename {str(folder)!r} and begin anew?", err=True):
        raise UsageError(f"{str(folder)!r} is left as it is")


def _stdout_kept_clean() -> contextlib.AbstractContextManager[Any]:
    """Send to stderr what a user's own code prints."""
    return contextlib.redirect_stdout(sys.stderr)


def _list_trials(
    study: Study, folder: Path, shard: str | None, *, again: tuple[bool, bool], as_json: bool
) -> int:
    """List the trials; ``again`` is whether all of them, and failed ones, would be run again."""
    from actbench.data.datasets import check_apart
    from actbench.execution.plan import keep_settled, prepare_study
    from actbench.execution.trials import pending_trials
    from actbench.execution.tuning import pending_choice, tuning_plans, with_rates
    from actbench.store.lock import Shard
    from actbench.store.store import Store

    everything, failed = again
    check_apart(folder, study.dataset, study.data_dir)
    store = Store(folder)
    with _stdout_kept_clean():
        plan = prepare_study(study if everything else keep_settled(study, store))
    choice = pending_choice(plan, store, retry_failed=failed)
    if everything:
        choice = [(part, part.study.trials()) for part in tuning_plans(plan)]
    to_tune = sum(len(trials) for _, trials in choice)
    plan = plan if to_tune else with_rates(plan, store)
    pending = set(pending_trials(plan, store, retry_failed=failed))
    if everything or to_tune:
        pending = set(plan.study.trials())
    everyone = plan.study.trials()
    trials = everyone if shard is None else Shard.parse(shard).part(everyone)
    rows = [
        {"activation": t.activation, "seed": t.seed, "stored": t not in pending} for t in trials
    ]
    if as_json:
        content = {"folder": str(folder), "trials": rows}
        show(json.dumps({**content, "trials_to_tune": to_tune} if study.tune_lr else content))
        return 0
    for row in rows:
        stored = ", stored" if row["stored"] else ""
        show(f"{row['activation']}, seed {row['seed']}{stored}")
    if to_tune:
        show(f"{to_tune} trials first, to choose learning rates")
    show(f"{len(rows)} trials, {len(pending & set(trials))} to run, into {folder}")
    return 0


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON document.")
def report(folder: Path, *, as_json: bool) -> int:
    """Build every table of a results FOLDER again from its stored records."""
    from actbench.cli.summary import print_summary, summary_of
    from actbench.report.write import write_report
    from actbench.store.store import Store

    store = Store(folder)
    study = store.study()
    with store.locked_for_a_moment():
        frames = write_report(store, study)
        for path, fault in store.damaged(study).items():
            say(f"{path} is damaged and left out: {fault}")
    print_summary(summary_of(frames), folder, as_json=as_json)
    return int((frames.trials["status"] != "ok").any())


@cli.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="DIR…")
@click.option("--paired", is_flag=True, help="Pair each trial with the first folder's instead.")
@click.option("--out", type=Folder(), help="Write the table as Markdown and CSV.")
def compare(folders: tuple[Path, ...], out: Path | None, *, paired: bool) -> None:
    """Set the studies of several results folders side by side: do their verdicts agree?

    The studies may differ in data, network and recipe; baseline and margin must be the same. With
    --paired: how do the trials differ from those of the first folder that have the same activation
    and seed, for example in another precision?
    """
    from actbench.analysis.studies import read_studies
    from actbench.report.paired_studies import counterpart_files
    from actbench.report.studies import studies_files
    from actbench.store.store import Store

    studies = read_studies(folders)
    files = counterpart_files(studies) if paired else studies_files(studies)
    if out is not None:
        for name, text in files.items():
            Store(out).write_text(name, text)
    show(next(text for name, text in files.items() if name.endswith(".md")), newline=False)


@cli.command()
@click.argument("image", required=False, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("corruptions.png"),
    help="[default: corruptions.png]",
)
def show_corruptions(image: Path | None, out: Path) -> None:
    """Write a PNG of IMAGE, or of a photograph, under every corruption and severity."""
    from actbench.report.contact_sheet import contact_sheet, image_to_show

    content = contact_sheet(image_to_show(image))
    try:
        out.write_bytes(content)
    except OSError as error:
        raise UsageError(f"cannot write {str(out)!r}: {error.strerror}") from None
    show(f"{out} shows every corruption at severities 1 to 5")


cli.add_command(list_)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code; an error is one line on stderr."""
    asked = sys.argv[1:] if arguments is None else arguments

    def terminate(*_: object) -> None:
        raise _Terminated

    signal.signal(signal.SIGTERM, terminate)
    open_closed_streams()
    print_what_the_terminal_can()
    try:
        code = cli.main(asked, prog_name="actbench", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt, _Terminated) as error:
        command = shlex.join(["actbench", *asked])
        say(f"resume with: {command}")
        code = 128 + (signal.SIGTERM if isinstance(error, _Terminated) else signal.SIGINT)
    except click.exceptions.NoArgsIsHelpError as error:
        show(error.format_message())
        code = UsageError.exit_code
    except click.ClickException as error:
        say_wrong(error.format_message())
        code = UsageError.exit_code
    except ActbenchError as error:
        say_wrong(str(error))
        code = error.exit_code
    except (ImportError, MemoryError) as error:
        reason = str(error) or type(error).__name__
        say_wrong(f"cannot go on: {reason} (is memory or address space limited, as by ulimit -v?)")
        code = UsageError.exit_code
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ENOSPC):
            raise
        if error.errno == errno.ENOSPC:
            say(f"cannot write the output: {error.strerror}")
        # with EPIPE the reader of our output went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)
