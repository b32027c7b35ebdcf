"""Fault tests that take too long for the test suite: kills at random moments.

Run one of::

    python tools/soak.py kills --times 100
    python tools/soak.py measuring --times 20
    python tools/soak.py workers --times 10
    python tools/soak.py bytes

Each prints what it did and the outcome, and exits with 1 if a requirement failed. ``--seed``
selects other random moments.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shlex
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
    "corruption_differences.csv",
    "class_summary.csv",
    "summary.md",
    "study.toml",
)
SMALL = shlex.split(
    "--train-images 64 --seeds 2 --corruptions noise --attacks pgd:steps=20,square:queries=50 "
    "--attack-images 64 --activation rrelu --workers 2 --quiet"
)
RESULTS = ("clean", "corruptions", "gradients", "attacks")

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


def run_to_end(folder: Path, *options: str) -> tuple[int, str]:
    process = start(folder, *options)
    _, err = process.communicate()
    return process.returncode, err


def check_same(one: Path, other: Path) -> None:
    names = [
        *SAME_BYTES,
        *(
            f"{part}/{path.name}"
            for part in ("trials", "weights")
            for path in (one / part).iterdir()
        ),
    ]
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


def parts_of(folder: Path) -> dict[str, dict[str, object]]:
    """Return what is stored of each trial: the training part, the weights' time and the results."""
    found = {}
    for path in folder.glob("trials/*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        results = {
            json.dumps(result, sort_keys=True)
            for name in RESULTS
            for result in (content[name] if isinstance(content[name], list) else [content[name]])
            if result is not None
        }
        weights = folder / "weights" / f"{path.stem}.safetensors"
        trained = {k: v for k, v in content.items() if k not in (*RESULTS, "checksum")}
        found[path.name] = {
            "trained": (trained, weights.stat().st_mtime_ns),
            "results": results,
        }
    return found


def kills(times: int, draw: random.Random, work: Path) -> str:
    """SIGKILL at random moments, count the remaining processes, resume, compare the bytes.

    Each kill is of the complete group, of the main process only, or of one worker only, after which
    the run continues by itself.
    """
    options = ("--epochs", "20")
    check(run_to_end(work / "warm", *options)[0] == 0, "the cache could be filled")
    begin = time.monotonic()
    check(run_to_end(work / "undisturbed", *options)[0] == 0, "an undisturbed run ends with 0")
    longest = time.monotonic() - begin
    folder, stored, completed, in_training, in_measuring = work / "killed", {}, 0, 0, 0
    complete = {name: len(part["results"]) for name, part in parts_of(work / "undisturbed").items()}
    targets: Counter[str] = Counter()
    for number in range(times):
        target = TARGETS[number % len(TARGETS)]
        process = start(folder, *options)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(draw.uniform(0, longest))
        under_way = bool(list(folder.glob("checkpoints/*.pt")))
        measuring = any(
            len(part["results"]) < complete[name] for name, part in parts_of(folder).items()
        )
        ended = process.poll()
        check(ended in (None, 0), f"a run ended by itself with {ended}")
        in_training += ended is None and under_way
        in_measuring += ended is None and measuring
        targets[target] += ended is None
        kill(process, target, draw)
        check_no_orphans(process, target)
        _, err = process.communicate()
        if target == "worker" and ended is None:
            ended = process.returncode
            # a worker that dies before any trial has begun ends the run with the reason
            before_all = ended == 1 and "no trial could start" in err
            check(ended == 0 or before_all, f"without a worker it ended with {ended}: {err}")
        now = parts_of(folder)
        for name, before in stored.items():
            check(name in now, f"{name} is lost")
            check(now[name]["trained"] == before["trained"], f"{name} was trained twice")
            check(now[name]["results"] >= before["results"], f"results of {name} are lost")
        stored = now
        if ended == 0:
            check_same(work / "undisturbed", folder)
            shutil.rmtree(folder)
            completed, stored = completed + 1, {}
    check(run_to_end(folder, *options)[0] == 0, "the last resumed run ends with 0")
    check_same(work / "undisturbed", folder)
    return (
        f"{times} kills within {longest:.1f} s of the start "
        f"({', '.join(f'{n} of {target}' for target, n in targets.items())} before it had ended), "
        f"{in_training} of them with a trial in training and {in_measuring} with one that is "
        f"partly measured; no process was left after "
        f"{SECONDS_TO_END} s; {completed + 1} studies finished with the bytes of an undisturbed run"
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
    check(run_to_end(work / "undisturbed", *options)[0] == 0, "an undisturbed run ends with 0")
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
            check(run_to_end(folder, *options, "--retry-failed")[0] == 0, "failed trials run again")
        check_same(work / "undisturbed", folder)
        shutil.rmtree(folder)
    return (
        f"{killed} workers killed in {runs} studies; {crashed} ended with 1 and a crashed trial, "
        "and then with 0 by --retry-failed; all have the bytes of an undisturbed run"
    )


def same_bytes(times: int, draw: random.Random, work: Path) -> str:
    """Run one study in several ways: each gives the same bytes."""
    epochs = ("--epochs", "2")
    check(run_to_end(work / "one", *epochs, "--seeds", "5", "--workers", "1")[0] == 0, "one worker")
    ways = []
    for workers_now in ("2", "8"):
        ways.append(work / f"{workers_now} workers")
        asked = ("--seeds", "5", "--workers", workers_now)
        check(run_to_end(ways[-1], *epochs, *asked)[0] == 0, f"{workers_now} workers")
    ways.append(work / "grown")
    check(run_to_end(ways[-1], *epochs, "--seeds", "3")[0] == 0, "three seeds")
    check(run_to_end(ways[-1], *epochs, "--seeds", "5")[0] == 0, "grown to five seeds")
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


def measuring(times: int, draw: random.Random, work: Path) -> str:
    """SIGKILL runs that only measure a trained study, at random moments: nothing is trained."""
    options = ("--epochs", "2")
    check(run_to_end(work / "undisturbed", *options)[0] == 0, "an undisturbed run ends with 0")
    bare = ("--corruptions", "none", "--attacks", "none")
    check(
        run_to_end(work / "bare", *options, *bare)[0] == 0, "a run that measures little ends with 0"
    )
    begin = time.monotonic()
    shutil.copytree(work / "bare", work / "killed")
    check(run_to_end(work / "killed", *options)[0] == 0, "a run that only measures ends with 0")
    longest = time.monotonic() - begin
    check_same(work / "undisturbed", work / "killed")
    trained = {name: part["trained"] for name, part in parts_of(work / "bare").items()}
    complete = {name: len(part["results"]) for name, part in parts_of(work / "undisturbed").items()}
    killed = in_measuring = completed = 0
    folder = work / "killed"
    while killed < times:
        shutil.rmtree(folder)
        shutil.copytree(work / "bare", folder)
        for _ in range(3):
            process = start(folder, *options)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(draw.uniform(longest / 4, longest))
            if process.poll() is not None:
                process.communicate()
                break
            counts = {name: len(part["results"]) for name, part in parts_of(folder).items()}
            in_measuring += any(1 < count < complete[name] for name, count in counts.items())
            killed += 1
            kill(process, "group", draw)
            check_no_orphans(process, "group")
            process.communicate()
        check(run_to_end(folder, *options)[0] == 0, "a resumed run ends with 0")
        check_same(work / "undisturbed", folder)
        now = {name: part["trained"] for name, part in parts_of(folder).items()}
        check(now == trained, "a trial was trained again")
        completed += 1
    return (
        f"{killed} kills of runs that only measure, {in_measuring} of them with a partly measured "
        f"trial; {completed} studies finished without training, with the bytes of measuring at once"
    )


SOAKS = {"kills": kills, "measuring": measuring, "workers": workers, "bytes": same_bytes}


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
