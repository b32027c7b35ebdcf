"""The overhead of Ray: the default study's trials by Ray tasks and by worker processes in turn."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from actbench.execution.corrupted_sets import prepare_corruptions
from actbench.execution.plan import prepare_study
from actbench.execution.trials import PendingTrials, make_executor, run_trials
from actbench.store.store import Store
from actbench.study.run_options import RunOptions
from actbench.study.study import Study
from interleaved import Ratio


def seconds_of(study: Study, workers: int, *, on_ray: bool) -> tuple[float, float]:
    """Return the seconds of the executor's start, and those of all trials after it."""
    plan = prepare_study(study)
    prepare_corruptions(plan)
    begin = time.perf_counter()
    executor = make_executor(
        plan.study, RunOptions(workers=workers, executor="ray" if on_ray else "local")
    )
    started = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory() as folder:
            store = Store(Path(folder))
            with store.locked():
                stored = store.open(plan.study)
                stored.begin()
                run_trials(PendingTrials(plan, stored, stored.pending()), executor, lambda _: None)
        return started - begin, time.perf_counter() - started
    finally:
        executor.close()


def main() -> None:
    """Time both executors alternately and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    study = Study(seeds=arguments.seeds)
    times: dict[bool, list[float]] = {True: [], False: []}
    starts = []
    for turn in range(arguments.rounds):
        for on_ray in (True, False) if turn % 2 else (False, True):
            start, took = seconds_of(study, arguments.workers, on_ray=on_ray)
            times[on_ray].append(took)
            if on_ray:
                starts.append(start)
    print(f"{len(study.trials())} trials, {arguments.workers} workers")
    print(f"Ray / worker processes: {Ratio.of(times[True], times[False])}")
    print(json.dumps({"ray": times[True], "local": times[False], "start of Ray": starts}))


if __name__ == "__main__":
    main()
