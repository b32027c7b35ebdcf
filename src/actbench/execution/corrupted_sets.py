"""Corrupted test sets that trials share, and the samples of them for the report."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from actbench.execution.events import Stage
from actbench.execution.executors import run_here
from actbench.report.samples import SAMPLES_FILE, samples_from_png, samples_to_png
from actbench.study.levels import is_name, severities

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from actbench.execution.events import Event
    from actbench.execution.executors import Prepare
    from actbench.execution.plan import Plan
    from actbench.store.stored_study import StoredStudy, Work
    from actbench.study.study import Study

LARGE_SET = 200_000_000  # bytes


def prepare_corruptions(
    plan: Plan,
    works: Iterable[Work] = (),
    on_event: Callable[[Event], None] = lambda event: None,
    prepare: Prepare = run_here,
) -> None:
    """Create the corrupted test sets that trials share, unless the cache has them.

    Only those that ``works`` lack; all of the study's if one of them is not trained, or without
    any. ``prepare``, an executor's, makes them; or this process, if each of the executor's would
    need much memory.
    """
    from actbench.data.images import study_images

    records = [work.record for work in works]
    missing = {m.spec for r in records if r is not None for m in r.missing(plan.study)}
    needed = [
        (name, severity)
        for name in plan.study.corruptions
        if not (plan.study.cifar10c and is_name(name))
        and (name in missing or None in records or not records)
        for severity in severities(name)
    ]
    done = 0

    def one_done() -> None:
        nonlocal done
        done += 1
        on_event(Stage("making corrupted images", done, len(needed)))

    if needed:
        on_event(Stage("making corrupted images", done, len(needed)))
    make = functools.partial(_make, plan.study, plan.data_folder)
    size = study_images(plan.data_folder, plan.study).test_images.nbytes
    tasks = [functools.partial(make, *each) for each in needed]
    (run_here if size > LARGE_SET else prepare)(tasks, one_done)


def _make(study: Study, data_folder: Path, name: str, severity: int) -> None:
    """Create one corrupted test set, which the cache keeps."""
    from actbench.corruptions.test_sets import corrupted_test_images
    from actbench.data.images import study_images

    corrupted_test_images(study_images(data_folder, study), name, severity)


def has_samples(stored: StoredStudy) -> bool:
    """Return whether the folder has what ``write_samples`` stores, for these corruptions."""
    corruptions = stored.study.corruptions
    if not corruptions:
        return True
    try:
        samples_from_png((stored.store.folder / SAMPLES_FILE).read_bytes(), corruptions)
    except (OSError, ValueError):
        return False
    return True


def write_samples(stored: StoredStudy, data_folder: Path) -> None:
    """Store the first test image under every corruption and severity, for the report."""
    from actbench.corruptions.test_sets import corrupted_test_images
    from actbench.data.images import study_images

    study = stored.study
    if not study.corruptions:
        return
    data, folder = study_images(data_folder, study), study.cifar10c
    samples = {}
    for name in study.corruptions:
        samples[name, 0] = data.test_images[0].numpy()
        for severity in severities(name):
            samples[name, severity] = corrupted_test_images(data, name, severity, folder)[0].numpy()
    stored.store.write_bytes(SAMPLES_FILE, samples_to_png(samples))
