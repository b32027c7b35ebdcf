"""The cost of the store: the share of a default trial's time spent on its files."""

from __future__ import annotations

import argparse
import functools
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actbench.execution.corrupted_sets import prepare_corruptions
from actbench.execution.events import Finished
from actbench.execution.executors import configure_malloc
from actbench.execution.local import InProcess
from actbench.execution.plan import prepare_study
from actbench.execution.trials import PendingTrials, run_trials
from actbench.store.checkpoint import Checkpoint
from actbench.store.store import Store
from actbench.store.weights import Weights
from actbench.study.study import Study
from actbench.training import trial as trial_module
from actbench.training.events import Updated

if TYPE_CHECKING:
    from collections.abc import Callable

    from actbench.execution.events import Event


class Stopwatch:
    """Adds up the durations of calls, in milliseconds."""

    def __init__(self) -> None:
        self.laps: list[float] = []

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with each call timed."""

        @functools.wraps(function)
        def timed(*args: object, **kwargs: object) -> object:
            begin = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.laps.append(1000 * (time.perf_counter() - begin))

        return timed


def main() -> None:
    """Run default trials in this process, time each access to their files, print the share."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    configure_malloc()
    plan = prepare_study(Study(seeds=arguments.seeds))
    prepare_corruptions(plan)
    watches = {name: Stopwatch() for name in ("checkpoints", "weights", "records")}
    saved = watches["checkpoints"]
    Checkpoint.restore = saved.around(Checkpoint.restore)  # type: ignore[method-assign]
    Checkpoint.save = saved.around(Checkpoint.save)  # type: ignore[method-assign]
    for name in ("weights_content", "checksum_of"):
        found = getattr(trial_module, name)
        setattr(trial_module, name, watches["weights"].around(found))
    Weights.save = watches["weights"].around(Weights.save)  # type: ignore[method-assign]
    trials: list[float] = []

    class Timed(InProcess):
        """Times what is done with each record: it is written, and its checkpoint removed."""

        def run(self, study, works, data_folder, on_event, folder=None):  # type: ignore
            write = watches["records"].around(on_event)

            def tell_timed(event: Event) -> None:
                (write if isinstance(event, Finished | Updated) else on_event)(event)

            super().run(study, works, data_folder, tell_timed, folder)

    def note(event: Event) -> None:
        if isinstance(event, Finished):
            trials.append(1000 * event.seconds)

    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        store = Store(Path(folder))
        with store.locked():
            stored = store.open(plan.study)
            stored.begin()
            run_trials(PendingTrials(plan, stored, stored.pending()), Timed(), note)
    for what, watch in watches.items():
        laps = sorted(watch.laps)
        per_trial = sum(laps) / len(trials)
        print(f"{what}: {per_trial:.2f} ms per trial, {len(laps) / len(trials):.1f} calls")
    spent = sum(sum(watch.laps) for watch in watches.values())
    print(
        f"{spent / sum(trials):.2%} of {len(trials)} trials' time, "
        f"{statistics.median(trials) / 1000:.2f} s each"
    )


if __name__ == "__main__":
    main()
