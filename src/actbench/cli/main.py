"""The command line: arguments in, exit codes out."""

from __future__ import annotations

import errno
import gc
import os
import re
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import click

from actbench import __version__
from actbench.cli.asked import asked_study
from actbench.cli.audit import audit
from actbench.cli.listing import list_
from actbench.cli.options import Folder, GroupedCommand, Names, options_of
from actbench.cli.terminal import (
    configure_output,
    log,
    open_closed_streams,
    print_error,
    show,
    stdout_to_stderr,
)
from actbench.errors import ActbenchError, Terminated, UsageError
from actbench.files.atomic import expanded
from actbench.study.fields import MAX_IMAGE_SIZE, MIN_IMAGE_SIZE, settings_of
from actbench.study.run_options import RunOptions
from actbench.study.study import Study
from actbench.study.toml import study_to_toml


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="actbench")
def cli() -> None:
    """Does this activation really make my network better or more robust?

    actbench trains the same network under several activations, from the same initial weights on
    the same batches, over several seeds, and compares each with the baseline pair by pair.
    """


@cli.command(cls=GroupedCommand)
@options_of(Study)
@options_of(RunOptions)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Read settings from a study.toml; command-line options override it.",
)
@click.option(
    "--out", type=Folder(), help="[default: results/<dataset>-<model>, or results/<claim>]"
)
@click.option("--yes", is_flag=True, help="Do not ask before --restart renames the folder.")
@click.option("--dry-run", is_flag=True, help="List the trials and write nothing.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@click.option("--verbose", is_flag=True, help="Write a line every 100 steps and every epoch.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON document.")
def run(
    *,
    config: Path | None,
    out: Path | None,
    yes: bool,
    dry_run: bool,
    quiet: bool,
    verbose: bool,
    as_json: bool,
    **given: Any,
) -> int:
    """Run the trials that the results folder does not hold yet, then write all tables.

    The same command again resumes an interrupted run.
    """
    # 0 is a value, although it equals False: only what was not given is left out
    given = {k: v for k, v in given.items() if v is not None and v is not False and v != ()}
    run_names = {item.name for item in settings_of(RunOptions)}
    options = RunOptions(**{k: v for k, v in given.items() if k in run_names})
    config = expanded(config) if config else None  # the shell does not expand --config=~/x
    study = asked_study(config, {k: v for k, v in given.items() if k not in run_names})
    if study.claim and not quiet:
        _log_claim(study)

    from actbench.api.progress import ProgressDisplay
    from actbench.api.studies import default_folder, plan_interim_analyses, run_in_folder
    from actbench.cli.summary import print_summary
    from actbench.report.summary import read_summary

    asked = plan_interim_analyses(study, options)
    folder = out or default_folder(asked)
    if yes and not options.restart:
        raise UsageError("--yes confirms --restart; give that too")
    if dry_run:
        from actbench.cli.dry_run import list_trials

        return list_trials(asked, folder, options, as_json=as_json, quiet=quiet)
    if options.restart and not yes:
        _ask_to_restart(folder)
    with stdout_to_stderr(), ProgressDisplay(quiet=quiet, verbose=verbose) as display:
        run_in_folder(study, folder, options, display)
    if options.shard is not None:
        from actbench.api.results import load

        results = load(folder)
        stored, planned = results.complete_trials, len(results.study.trials())
        if stored < planned:
            log(
                f"{stored} of {planned} trials are stored; the last shard to finish, or "
                f"{shlex.join(['actbench', 'report', str(folder)])}, writes the tables"
            )
            return int((results.trials["status"] != "ok").any())
    summary = read_summary(folder)
    print_summary(summary, folder, as_json=as_json)
    return int(not summary.complete)


def _log_claim(study: Study) -> None:
    """Write that a run of a claim is a reduced run, and where it departs from the protocol."""
    from actbench.report.claims import departures, reduced_run

    for line in filter(None, (reduced_run(study), departures(study))):
        log(f"claim {study.claim}: {line}")


@cli.command()
@click.argument("file", type=click.Path(path_type=Path), default=Path("study.toml"))
def init(file: Path) -> None:
    """Write the default study to FILE, every setting with its meaning and range.

    `actbench run --config FILE` runs it.
    """
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(study_to_toml(Study()))
    except FileExistsError:
        raise UsageError(f"{str(file)!r} already exists; give another name") from None
    except OSError as error:
        raise UsageError(f"cannot write {str(file)!r}: {error.strerror}") from None
    command = shlex.join(["actbench", "run", "--config", str(file)])
    show(f"{file} written; edit it, then: {command}")


def _ask_to_restart(folder: Path) -> None:
    """Ask whether the folder may be renamed.

    Raises:
        UsageError: the answer is no, or stdin is not a terminal.
    """
    if not os.path.lexists(folder):
        return
    if not sys.stdin.isatty():
        raise UsageError(f"--restart would rename {str(folder)!r}; give --yes to allow it")
    if not click.confirm(f"Rename {str(folder)!r} and start over?", err=True):
        raise UsageError(f"{str(folder)!r} is unchanged")


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON document.")
def report(folder: Path, *, as_json: bool) -> int:
    """Rebuild the tables and figures of a results FOLDER from its stored records."""
    from actbench.analysis.trial_results import stored_files
    from actbench.cli.summary import print_summary
    from actbench.report.summary import summary_of
    from actbench.report.write import write_report
    from actbench.store.store import Store

    gc.freeze()  # searching these modules for garbage would take 7 % of the time (n = 8)
    store = Store(folder)
    study = store.study()
    with store.locked_briefly():
        frames = write_report(store, study)
        stored = stored_files(store, study)
        for path, fault in stored.damaged().items():
            log(f"{path} is damaged and left out: {fault}")
        if unknown := stored.unknown_records():
            log(unknown)
    print_summary(summary_of(frames), folder, as_json=as_json)
    return int((frames.trials["status"] != "ok").any())


@cli.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="DIR…")
@click.option("--paired", is_flag=True, help="Compare each trial with that of the first folder.")
@click.option("--out", type=Folder(), help="Write the tables and figures.")
def compare(folders: tuple[Path, ...], out: Path | None, *, paired: bool) -> None:
    """Compare the verdicts of the studies in several results folders.

    The studies may differ in data, network and recipe; baseline and margin must be the same. The
    output is a table in a terminal, otherwise Markdown. With --paired, compare each trial with the
    one of the same activation and seed in the first folder, for example one in another precision.
    """
    from actbench.analysis.studies import read_studies
    from actbench.cli.summary import print_comparison
    from actbench.report.paired_studies import paired_studies_files, paired_studies_terminal
    from actbench.report.studies import studies_figures, studies_files, studies_terminal
    from actbench.store.store import Store

    studies = read_studies(folders)
    if out is not None or not sys.stdout.isatty():
        files = paired_studies_files(studies) if paired else studies_files(studies)
    if out is not None:
        figures = {} if paired else studies_figures(studies)
        for name, text in {**files, **figures}.items():
            Store(out).write_text(name, text)
    if sys.stdout.isatty():
        print_comparison(*(paired_studies_terminal if paired else studies_terminal)(studies))
    else:
        show(next(text for name, text in files.items() if name.endswith(".md")), newline=False)


@cli.command()
@click.argument("image", required=False, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("corruptions.png"),
    help="[default: corruptions.png]",
)
@click.option(
    "--image-size",
    type=click.IntRange(MIN_IMAGE_SIZE, MAX_IMAGE_SIZE),
    default=32,
    metavar="N",
    help="Resize the image to N×N pixels.  [default: 32]",
)
@click.option(
    "--corruptions",
    type=Names(),
    default="all",
    help="Names, suites or specs such as gaussian_noise:sigma=0.1/0.4.  [default: all]",
)
def show_corruptions(
    image: Path | None, out: Path, image_size: int, corruptions: list[str]
) -> None:
    """Write a PNG of IMAGE, or of a photograph, under corruptions at each severity or level."""
    from actbench.report.contact_sheet import contact_sheet, image_to_show

    content = contact_sheet(image_to_show(image, image_size), corruptions)
    try:
        out.write_bytes(content)
    except OSError as error:
        raise UsageError(f"cannot write {str(out)!r}: {error.strerror}") from None
    show(f"{out} shows the image under: {', '.join(corruptions)}")


cli.add_command(audit)
cli.add_command(list_)


# What glibc's loader reports, as an ImportError or an OSError, if it cannot map a library. The
# causes of a file system mounted noexec and of a full static TLS block are not too little memory.
_LOADER_OUT_OF_MEMORY = re.compile(
    r"failed to map segment from shared object(?!: (Operation not permitted|Permission denied))"
    r"|cannot map zero-fill pages|annot allocate memory(?! in static TLS)"
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error is that of too little memory or address space."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, (ImportError, OSError)) and (
        getattr(error, "errno", None) == errno.ENOMEM
        or _LOADER_OUT_OF_MEMORY.search(str(error)) is not None
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code; an error is one line on stderr."""
    given = sys.argv[1:] if arguments is None else arguments

    def terminate(*_: object) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, terminate)
    open_closed_streams()
    configure_output()
    try:
        os.getcwd()  # noqa: PTH109 - raises if it is gone
    except FileNotFoundError:
        print_error("the current folder was deleted; change to another one")
        sys.exit(UsageError.exit_code)
    try:
        code = cli.main(given, prog_name="actbench", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt, Terminated) as error:
        command = shlex.join(["actbench", *given])
        log(f"resume with: {command}")
        code = 128 + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)
    except click.exceptions.NoArgsIsHelpError as error:
        show(error.format_message())
        code = UsageError.exit_code
    except click.ClickException as error:
        print_error(error.format_message())
        code = UsageError.exit_code
    except ActbenchError as error:
        print_error(str(error))
        code = error.exit_code
    except (ImportError, MemoryError, OSError) as error:
        if is_out_of_memory(error):
            reason = str(error) or type(error).__name__
            print_error(f"out of memory: {reason} (is address space limited, as by ulimit -v?)")
            sys.exit(UsageError.exit_code)
        if not isinstance(error, OSError) or error.errno not in (errno.EPIPE, errno.ENOSPC):
            raise
        if error.errno == errno.ENOSPC:
            log(f"cannot write the output: {error.strerror}")
        # with EPIPE the reader of our output went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)
