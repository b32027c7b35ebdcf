"""The cost of the store: the share of a default trial's time spent on its files."""

from __future__ import annotations

import argparse
import functools
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actbench.execution.executors import Finished, configure_malloc
from actbench.execution.local import InProcess
from actbench.execution.plan import prepare_study
from actbench.execution.trials import prepare_corruptions, run_trials
from actbench.store.checkpoint import Checkpoint
from actbench.store.store import Store
from actbench.study.study import Study

if TYPE_CHECKING:
    from collections.abc import Callable

    from actbench.execution.executors import Event


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
    restoring, saving, storing = Stopwatch(), Stopwatch(), Stopwatch()
    Checkpoint.restore = restoring.around(Checkpoint.restore)  # type: ignore[method-assign]
    Checkpoint.save = saving.around(Checkpoint.save)  # type: ignore[method-assign]
    trials: list[float] = []

    class Timed(InProcess):
        """Times the end of a trial: its record is written and its checkpoint removed."""

        def run(self, study, trials, data_folder, on_event, checkpoints=None):  # type: ignore
            write = storing.around(on_event)

            def tell_timed(event: Event) -> None:
                (write if isinstance(event, Finished) else on_event)(event)

            super().run(study, trials, data_folder, tell_timed, checkpoints)

    def note(event: Event) -> None:
        if isinstance(event, Finished):
            trials.append(1000 * event.seconds)

    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        store = Store(Path(folder))
        with store.locked():
            store.begin(plan.study)
            run_trials(plan, store, plan.study.trials(), Timed(), note)
    for what, watch in (("checkpoint", saving), ("record", storing)):
        laps = sorted(watch.laps)
        median, per_trial = statistics.median(laps), len(laps) / len(trials)
        print(f"{what}: {median:.2f} ms [{laps[0]:.2f}, {laps[-1]:.2f}], {per_trial:.1f} per trial")
    spent = sum(restoring.laps) + sum(saving.laps) + sum(storing.laps)
    total = sum(trials) + sum(storing.laps)
    print(
        f"{spent / total:.2%} of {len(trials)} trials' time, "
        f"{statistics.median(trials) / 1000:.2f} s each"
    )


if __name__ == "__main__":
    main()
