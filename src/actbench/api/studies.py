"""Run a study from Python."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actbench.analysis.claims import claim_settings
from actbench.analysis.sequential import interim_analyses
from actbench.api.progress import ProgressDisplay
from actbench.data.folders import check_apart
from actbench.errors import UsageError, did_you_mean, in_a_line
from actbench.files.atomic import expanded
from actbench.models.user_code import importing
from actbench.session import run_shard, run_study
from actbench.store.lock import Shard
from actbench.store.store import Store
from actbench.study.run_options import MAX_SEEDS_UNTIL_DECIDED, RunOptions
from actbench.study.study import Study, merged

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Sequence

    from actbench.api.results import Results
    from actbench.execution.events import Event

    Listener = Callable[[Event], object]


def run(
    study: Study,
    out: str | os.PathLike[str] | None = None,
    *,
    quiet: bool = False,
    verbose: bool = False,
    on_event: Listener | Sequence[Listener] | None = None,
    **options: Any,
) -> Results:
    """Run what the results folder does not hold of the study yet, and return all of its results.

    The same call again resumes an interrupted one, and trains nothing once all is stored. Each
    trial's numbers depend on the study only, not on how it was run.

    Args:
        study: what to run.
        out: the results folder; ``results/<dataset>-<model>`` in the current folder unless given.
        quiet: show no progress on stderr.
        verbose: write a line every 100 steps and every epoch.
        on_event: a function, or several, that is called in this process with every event of the
            run (``actbench.api.events``), such as a listener of ``actbench.api.listeners``. If it
            has a method ``close``, that is called at the end of the run. After an exception it is
            called no more: there is a ``RuntimeWarning``, and the run goes on.
        options: the fields of ``RunOptions``, such as ``workers=0`` or ``retry_failed=True``.

    Raises:
        UsageError: something about the study or the call is wrong; nothing was trained.
        ResultsFolderError: the folder is in use, another study's, or cannot be written.
        ActbenchError: no worker process could start.
    """
    from actbench.api.results import Results

    _check_option_names(options)
    run_options = RunOptions(**options)
    with contextlib.ExitStack() as stack:
        called = [_Guarded(listener) for listener in _listeners(on_event)]
        display = stack.enter_context(ProgressDisplay(quiet=quiet, verbose=verbose))
        for listener in called:
            stack.callback(listener.close)

        def notify_all(event: Event) -> None:
            display(event)
            for listener in called:
                listener(event)

        folder = run_in_folder(study, out, run_options, notify_all)
    return Results(folder)


def _listeners(given: Any) -> list[Listener]:
    """Return the functions to call with every event.

    Raises:
        UsageError: something else was given.
    """
    if given is None:
        return []
    listeners = list(given) if isinstance(given, (list, tuple)) else [given]
    for listener in listeners:
        if not callable(listener) or isinstance(listener, type):
            raise UsageError(
                f"on_event is {listener!r}; it must be a function of an event, or a list of these"
            )
    return listeners


class _Guarded:
    """Calls a listener until it raises an exception: what it does must not cost a run."""

    def __init__(self, listener: Listener) -> None:
        self._listener, self._failed = listener, False

    def __call__(self, event: Event) -> None:
        if not self._failed:
            self._call(self._listener, event)

    def close(self) -> None:
        """Call the listener's own ``close``, if it has one."""
        if (close := getattr(self._listener, "close", None)) is not None:
            self._call(close)

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        try:
            function(*arguments)
        except Exception as error:  # user code
            self._failed = True
            name = getattr(self._listener, "__qualname__", type(self._listener).__name__)
            warnings.warn(
                f"on_event: {name} raised {in_a_line(error)}; it is not called again, and the run "
                "goes on",
                RuntimeWarning,
                stacklevel=2,
            )


def run_in_folder(
    study: Study,
    out: str | os.PathLike[str] | None,
    options: RunOptions,
    on_event: Callable[[Event], None],
) -> Path:
    """Run what the results folder does not hold of the study yet, and return the folder.

    Unlike ``run`` it does not read the results.

    Args:
        study: as for ``run``.
        out: as for ``run``.
        options: how to run it.
        on_event: called with every event of the run.

    Raises:
        ActbenchError: as ``run``.
    """
    if importing():
        raise UsageError(
            f"{importing()} calls actbench.run while a study imports it; put the call under "
            '`if __name__ == "__main__":`'
        )
    if not isinstance(study, Study):
        raise UsageError(
            f"study is {study!r}; it must be a Study, such as actbench.Study(dataset='digits')"
        )
    study = plan_interim_analyses(study, options)
    store = Store(default_folder(study) if out is None else expanded(out))
    check_apart(store.folder, study.dataset, study.data_dir)
    store.check_ours()
    if options.shard is None:
        run_study(study, store, options, on_event)
        return store.folder
    shard, trials = Shard.parse(options.shard), len(study.trials())
    if shard.count > trials:
        raise UsageError(f"shard is {options.shard!r}, but there are {trials} trials to share")
    run_shard(study, store, options, shard, on_event)
    return store.folder


def _check_option_names(options: Iterable[str]) -> None:
    names = {item.name for item in dataclasses.fields(RunOptions)}
    for name in options:
        if name not in names:
            known = names | {"out", "quiet", "verbose", "on_event"}
            raise UsageError(f"run has no option {name!r}{did_you_mean(name, known)}")


def plan_interim_analyses(study: Study, options: RunOptions) -> Study:
    """Return the study as ``until_decided`` starts it: at the first interim analysis, all planned.

    A study that has interim analyses already keeps them. Without ``until_decided`` the study is
    returned unchanged.

    Raises:
        UsageError: ``max_seeds`` is below the number of seeds that the study starts with, or is not
            that of the study's last interim analysis.
    """
    if not options.until_decided:
        return study
    if study.interim_analyses:
        if options.max_seeds not in (None, study.interim_analyses[-1]):
            raise UsageError(
                f"the study is planned to end at {study.interim_analyses[-1]} seeds, not at "
                f"{options.max_seeds}; its limit cannot change once there are results"
            )
        return study
    max_seeds = options.max_seeds or MAX_SEEDS_UNTIL_DECIDED
    first = max(2, len(study.seeds))
    if max_seeds < first:
        raise UsageError(f"max_seeds is {max_seeds}, but the study starts with {first} seeds")
    planned = interim_analyses(len(study.seeds), max_seeds)
    seeds = list(study.seeds)
    while len(seeds) < planned[0]:
        seeds.append(max(seeds) + 1)
    return dataclasses.replace(study, seeds=tuple(seeds), interim_analyses=planned)


def claim_study(name: str, scale: float = 1.0, **fields: Any) -> Study:
    """Return the study that repeats a published claim (see ``actbench list claims``).

    Args:
        name: the claim's name.
        scale: the share of its epochs and seeds, in (0, 1]; below 1 it is a reduced run.
        fields: fields of ``Study`` that replace the claim's.

    Raises:
        UsageError: there is no such claim, or a field is wrong.
    """
    return Study(**merged(claim_settings(name, scale), fields))


def default_folder(study: Study) -> Path:
    """Return ``results/<dataset>-<model>`` without characters that are unsafe in a file name.

    For a claim, ``results/<claim>``, and ``results/<claim>-scale-<scale>`` for a reduced run of it.
    """
    if study.claim:
        scale = f"-scale-{study.scale:g}" if study.scale != 1 else ""
        return Path("results") / f"{study.claim}{scale}"
    name = re.sub(r"[^A-Za-z0-9._]+", "-", f"{study.dataset}-{study.model}").strip("-.")
    return Path("results") / name[:100]
