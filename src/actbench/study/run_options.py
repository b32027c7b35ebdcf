"""How a study is run; no option here changes a result."""

from __future__ import annotations

from dataclasses import dataclass

from actbench.errors import UsageError
from actbench.study.fields import (
    COMPARED,
    RUN,
    check_settings,
    flag,
    integer,
    number,
    one_of,
    optional,
    setting,
    text,
)

MAX_SEEDS_UNTIL_DECIDED = 30
MAX_WORKERS = 1024


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How the trials of a study are run and stored; docs/options.md lists every field.

    Raises:
        UsageError: a value has the wrong type or range, or two options exclude each other.
    """

    until_decided: bool = setting(
        False,
        flag(),
        COMPARED,
        "Add seeds until clean and corrupted accuracy are decided for every activation.",
    )
    max_seeds: int | None = setting(
        None,
        optional(integer(2, high=100_000)),
        COMPARED,
        f"The most seeds of --until-decided; {MAX_SEEDS_UNTIL_DECIDED} unless given.",
        metavar="N",
    )
    workers: int | None = setting(
        None,
        optional(integer(0, high=MAX_WORKERS)),
        RUN,
        "Worker processes of one thread each; 0 runs in this process. One per core unless given. "
        "On GPUs: trials at once, 32 per GPU unless given.",
        metavar="N",
    )
    executor: str = setting(
        "local",
        one_of("local", "ray"),
        RUN,
        "Worker processes of this machine, or tasks of a Ray cluster.",
    )
    ray_address: str | None = setting(
        None,
        optional(text("an address")),
        RUN,
        "The Ray cluster, or auto for the one of this machine; one is started unless given.",
        metavar="ADDRESS",
    )
    shard: str | None = setting(
        None,
        optional(text("a part such as 3/16")),
        RUN,
        "Run only the K-th of N parts of the trials, for one of several processes that share the "
        "folder; the last to finish writes the tables.",
        metavar="K/N",
    )
    trial_timeout: float | None = setting(
        None,
        optional(number(0, 10**9, above=True)),
        RUN,
        "End a trial that takes longer; it counts as crashed. Needs worker processes.",
        metavar="SECONDS",
    )
    retry_failed: bool = setting(
        False, flag(), RUN, "Run diverged and crashed trials, and measurements that failed, again."
    )
    no_weights: bool = setting(
        False,
        flag(),
        RUN,
        "Remove the weights of each trial once it is measured. A measurement that is added later "
        "then trains it again.",
    )
    restart: bool = setting(
        False, flag(), RUN, "Start over; the existing folder is renamed, not deleted."
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.ray_address is not None and self.executor != "ray":
            raise UsageError(
                f"ray_address is {self.ray_address!r}, but the executor is {self.executor!r}"
            )
        if self.max_seeds is not None and not self.until_decided:
            raise UsageError(
                f"max_seeds is {self.max_seeds}, but it belongs to until_decided; give that too"
            )
        if self.shard is not None and (self.restart or self.until_decided):
            option = "restart" if self.restart else "until_decided"
            raise UsageError(f"{option} needs all trials of the study; it excludes shard")
        if self.workers == 0 and (self.trial_timeout is not None or self.executor == "ray"):
            what = "Ray" if self.executor == "ray" else "trial_timeout"
            raise UsageError(f"{what} needs a worker process; workers is 0")
