"""Fault tests that take too long for the test suite: kills at random moments.

Run one of::

    python tools/soak.py kills --times 100
    python tools/soak.py workers --times 10
    python tools/soak.py bytes

Each prints what it did and the outcome, and exits with 1 if a requirement failed. ``--seed``
selects other random moments.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

SAME_BYTES = (
    "trials.csv",
    "corruptions.csv",
    "gradients.csv",
    "attacks.csv",
    "mechanism.csv",
    "summary.csv",
    "comparisons.csv",
    "summary.md",
    "study.toml",
)
SMALL = (
    *("--train-images", "64", "--seeds", "2", "--corruptions", "gaussian_noise"),
    *("--attacks", "pgd:steps=2", "--attack-images", "16"),
    *("--activation", "rrelu", "--workers", "2", "--quiet"),
)


TARGETS = ("group", "main", "worker")
SECONDS_TO_END = 2


class RequirementError(Exception):
    """A requirement failed."""


def check(is_met: bool, requirement: str) -> None:
    if not is_met:
        raise RequirementError(requirement)


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "actbench", "run", *SMALL, *options, "--out", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(folder: Path, *options: str) -> tuple[int, str]:
    process = start(folder, *options)
    _, err = process.communicate()
    return process.returncode, err


def check_same(one: Path, other: Path) -> None:
    names = [*SAME_BYTES, *(f"trials/{path.name}" for path in (one / "trials").iterdir())]
    for name in names:
        check((one / name).read_bytes() == (other / name).read_bytes(), f"{name} has other bytes")
    left = [str(p) for p in other.rglob("*") if p.suffix in {".making", ".corrupt", ".pt"}]
    check(not left, f"left behind: {left}")


def alive_in_group(group: int) -> list[int]:
    """Return the living processes of a group by pid."""
    done = subprocess.run(
        ["ps", "-e", "-o", "pid=,pgid=,stat="], capture_output=True, text=True, check=True
    )
    rows = (line.split() for line in done.stdout.splitlines())
    return [int(pid) for pid, of, state in rows if int(of) == group and state[0] != "Z"]


def check_no_orphans(process: subprocess.Popen[str], target: str) -> None:
    """Check that all processes of a run are gone ``SECONDS_TO_END`` after it ended."""
    process.wait()
    deadline = time.monotonic() + SECONDS_TO_END
    while (orphans := alive_in_group(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.02)
    if orphans:
        os.killpg(process.pid, signal.SIGKILL)
    check(not orphans, f"{len(orphans)} orphans after {SECONDS_TO_END} s, kill of: {target}")


def kill(process: subprocess.Popen[str], target: str, draw: random.Random) -> None:
    """SIGKILL a run's complete process group, its main process only, or one worker only."""
    if target == "group":
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    elif target == "main":
        process.kill()
    elif alive := workers_of(process):
        with contextlib.suppress(ProcessLookupError):
            os.kill(draw.choice(alive), signal.SIGKILL)


def kills(times: int, draw: random.Random, work: Path) -> str:
    """SIGKILL at random moments, count the remaining processes, resume, compare the bytes.

    Each kill is of the complete group, of the main process only, or of one worker only, after which
    the run continues by itself.
    """
    options = ("--epochs", "20")
    check(finish(work / "warm", *options)[0] == 0, "the cache could be filled")
    begin = time.monotonic()
    check(finish(work / "undisturbed", *options)[0] == 0, "an undisturbed run ends with 0")
    longest = time.monotonic() - begin
    folder, stored, finished, kills_in_trials = work / "killed", {}, 0, 0
    targets: Counter[str] = Counter()
    for number in range(times):
        target = TARGETS[number % len(TARGETS)]
        process = start(folder, *options)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(draw.uniform(0, longest))
        under_way = bool(list(folder.glob("checkpoints/*.pt")))
        ended = process.poll()
        check(ended in (None, 0), f"a run ended by itself with {ended}")
        kills_in_trials += ended is None and under_way
        targets[target] += ended is None
        kill(process, target, draw)
        check_no_orphans(process, target)
        _, err = process.communicate()
        if target == "worker" and ended is None:
            ended = process.returncode
            # a worker that dies before any trial has begun ends the run with the reason
            before_all = ended == 1 and "no trial could start" in err
            check(ended == 0 or before_all, f"without a worker it ended with {ended}: {err}")
        now = {path.name: path.stat() for path in folder.glob("trials/*.json")}
        for name, before in stored.items():
            check(name in now, f"{name} is lost")
            check(now[name].st_mtime_ns == before.st_mtime_ns, f"{name} was done twice")
        stored = now
        if ended == 0:
            check_same(work / "undisturbed", folder)
            shutil.rmtree(folder)
            finished, stored = finished + 1, {}
    check(finish(folder, *options)[0] == 0, "the last resumed run ends with 0")
    check_same(work / "undisturbed", folder)
    return (
        f"{times} kills within {longest:.1f} s of the start "
        f"({', '.join(f'{n} of {target}' for target, n in targets.items())} before it had ended), "
        f"{kills_in_trials} of them with a trial under way; no process was left after "
        f"{SECONDS_TO_END} s; {finished + 1} studies finished with the bytes of an undisturbed run"
    )


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    done = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(process.pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    return [int(line.split()[0]) for line in done.stdout.splitlines() if "spawn_main" in line]


def workers(times: int, draw: random.Random, work: Path) -> str:
    """SIGKILL single workers during one study: the others continue, killed trials are run again."""
    options = ("--epochs", "60")
    check(finish(work / "undisturbed", *options)[0] == 0, "an undisturbed run ends with 0")
    folder, killed, crashed, runs = work / "killed", 0, 0, 0
    while killed < times:
        runs += 1
        process = start(folder, *options)
        while process.poll() is None and killed < times:
            time.sleep(draw.uniform(1, 3))
            alive = workers_of(process)
            if alive and list(folder.glob("checkpoints/*.pt")):
                os.kill(draw.choice(alive), signal.SIGKILL)
                killed += 1
        _, err = process.communicate()
        check(process.returncode in (0, 1), f"a run ended with {process.returncode}: {err}")
        if process.returncode == 1:
            crashed += 1
            table = (folder / "trials.csv").read_text()
            check("ended by SIGKILL, 3 times in a row" in table, "a crashed trial has its reason")
            check(finish(folder, *options, "--retry-failed")[0] == 0, "failed trials run again")
        check_same(work / "undisturbed", folder)
        shutil.rmtree(folder)
    return (
        f"{killed} workers killed in {runs} studies; {crashed} ended with 1 and a crashed trial, "
        "and then with 0 by --retry-failed; all have the bytes of an undisturbed run"
    )


def same_bytes(times: int, draw: random.Random, work: Path) -> str:
    """Run one study in several ways: each gives the same bytes."""
    epochs = ("--epochs", "2")
    check(finish(work / "one", *epochs, "--seeds", "5", "--workers", "1")[0] == 0, "one worker")
    ways = []
    for workers_now in ("2", "8"):
        ways.append(work / f"{workers_now} workers")
        asked = ("--seeds", "5", "--workers", workers_now)
        check(finish(ways[-1], *epochs, *asked)[0] == 0, f"{workers_now} workers")
    ways.append(work / "grown")
    check(finish(ways[-1], *epochs, "--seeds", "3")[0] == 0, "three seeds")
    check(finish(ways[-1], *epochs, "--seeds", "5")[0] == 0, "grown to five seeds")
    ways.append(work / "shards")
    shards = [
        start(ways[-1], *epochs, "--seeds", "5", "--workers", "1", "--shard", f"{number}/3")
        for number in (3, 1, 2)
    ]
    for shard in shards:
        _, err = shard.communicate()
        check(shard.returncode == 0, f"a shard ended with {shard.returncode}: {err}")
    for way in ways:
        check_same(work / "one", way)
    return f"the bytes of one worker: {', '.join(way.name for way in ways)}"


SOAKS = {"kills": kills, "workers": workers, "bytes": same_bytes}


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=SOAKS)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        os.environ["ACTBENCH_CACHE"] = str(Path(name) / "cache")
        work = Path(name) / "work"
        work.mkdir()
        begin = time.monotonic()
        try:
            summary = SOAKS[arguments.what](arguments.times, random.Random(arguments.seed), work)
        except RequirementError as error:
            sys.stdout.write(f"BROKEN: {error}\n")
            return 1
        sys.stdout.write(f"{summary} ({time.monotonic() - begin:.0f} s)\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
