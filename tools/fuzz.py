"""Fuzz stored files with damaged and forged content: each is read, or refused and named.

    python tools/fuzz.py --times 10000 --seed 0
    python tools/fuzz.py --times 500 --kind record

Each case changes one stored file of a small finished study at random: bytes of it, or a value in it
with the right checksum. Then it is read as a command would read it. Required: no traceback,
one line of error at most, no other file changed, a damaged file kept under its name or under
``*.corrupt``. Prints the outcomes of each kind; exits with 1 and prints the case if a requirement
fails. The same seed gives the same cases.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import shlex
import shutil
import socket
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
import torch

import actbench
from actbench.analysis.stored_frames import read_frames
from actbench.cli import main as cli
from actbench.cli.summary import print_summary
from actbench.data.images import open_images, prepare
from actbench.errors import ActbenchError
from actbench.execution.plan import prepare_study
from actbench.execution.tuning import choice_table, tuning_plans
from actbench.files.cache import cache_folder, cached_images
from actbench.models.activations import resolve_activation
from actbench.models.build import build_network
from actbench.report.html import to_html
from actbench.report.summary import SUMMARY_FILE, read_summary, summary_of
from actbench.report.write import derived_files
from actbench.store.checkpoint import Checkpoint
from actbench.store.record import EpochRecord
from actbench.store.store import ENVIRONMENT_FILE, STUDY_FILE, Store
from actbench.store.tuning import tuning_store
from actbench.study.study import Study
from actbench.training.optimizers import SGD
from fuzz_inputs import (
    changed_checkpoint,
    changed_header,
    changed_json,
    changed_record,
    changed_study,
)

ASKED = shlex.split(
    "run --train-images 64 --epochs 2 --seeds 2 --workers 0 --quiet --activation relu "
    "--activation tanh --corruptions gaussian_noise --attacks fgsm --attack-images 16 "
    "--tune-lr 0.05,0.1 --out out"
)
KINDS = {
    "study": 0.35,
    "record": 0.35,
    "environment": 0.07,
    "tuning": 0.05,
    "checkpoint": 0.08,
    "summary": 0.05,
    "data": 0.03,
    "images": 0.02,
}


class BrokenError(Exception):
    """A requirement failed."""


def check(is_met: bool, requirement: str) -> None:
    if not is_met:
        raise BrokenError(requirement)


class Fuzz:
    """A small finished study in the current folder, and a method for each kind of file."""

    def __init__(self) -> None:
        self.store = Store(Path("out"))
        code, err = command(list(ASKED))
        check(code == 0, f"the study ends with 0: {err}")
        self.study = self.store.study()
        self.plan = prepare_study(self.study)
        self.asked = Study(
            **{**vars(self.study), "learning_rates": ()}  # as the command line gave it
        )
        self.original = Path("original")
        shutil.copytree(self.store.folder, self.original)
        self.network, _ = build_network("cnn", resolve_activation("prelu"), 10, 0)
        self.optimizer = SGD(
            self.network.parameters(), learning_rate=0.1, momentum=0.9, weight_decay=0
        )

    def restore(self) -> None:
        """Restore the results folder."""
        shutil.rmtree(self.store.folder)
        shutil.copytree(self.original, self.store.folder)
        self.store = Store(Path("out"))

    def study_case(self, draw: random.Random) -> str:
        Path("config").mkdir(exist_ok=True)
        path = Path("config") / STUDY_FILE
        path.write_bytes(changed_study(draw))
        asked = draw.choice([["run", "--config", str(path), "--dry-run"], ["report", "config"]])
        code, err = command(asked)
        check(code in (0, 2, 3), f"exit {code}: {err}")
        check(code == 0 or err.count("\n") == 1, f"one line: {err}")
        found = {p.name for p in Path("config").iterdir()} - {".lock", ".lock-holder"}
        check(found == {STUDY_FILE}, f"wrote {found}")
        return f"exit {code}"

    def record_case(self, draw: random.Random) -> str:
        path = draw.choice(sorted((self.store.folder / "trials").iterdir()))
        return self.in_folder(path, changed_record(path.read_bytes(), draw), draw)

    def environment_case(self, draw: random.Random) -> str:
        path = self.store.folder / ENVIRONMENT_FILE
        return self.in_folder(path, changed_json(path.read_bytes(), draw), draw)

    def in_folder(self, path: Path, content: bytes, draw: random.Random) -> str:
        original = path.read_bytes()
        path.write_bytes(content)
        others = {p: p.read_bytes() for p in path.parent.iterdir() if p != path and p.is_file()}
        damaged: dict[Path, str] = {}
        aside: dict[Path, str] = {}
        way, outcome = draw.random(), ""
        try:
            if way < 0.005:
                code, err = command(["report", "out"])
                check(code in (0, 1, 3), f"exit {code}: {err}")
                outcome = f"report ended with {code}"
                check(path.read_bytes() == content, "the report left the damaged file")
            else:
                damaged = self.store.open(self.study).damaged()
                # without a damaged file the frames are always the same
                if not damaged or way < 0.03:
                    frames = read_frames(self.store, self.study)
                    derived_files(frames)
                    to_html(frames, {}, self.store.environment(), actbench.__version__)
                    print_summary(summary_of(frames), self.store.folder, as_json=way < 0.5)
                check(set(damaged) <= {path}, f"{damaged} are damaged")
                aside = self.store.open(self.study).begin()
                check(len(aside) == len(damaged), "damaged files are renamed")
                kept = [*aside, path][0]
                check(kept.read_bytes() == content, "the damaged file is kept")
                outcome = "damaged" if damaged else "read"
        except ActbenchError as error:
            check(len(str(error).splitlines()) == 1, f"one line: {error}")
            outcome = f"{type(error).__name__}"
        if path.parent.name == "trials":
            same = all(other.read_bytes() == before for other, before in others.items())
            check(same, "the other records are as they were")
        if outcome.startswith("report"):
            self.restore()
        for name in aside:
            name.unlink()
        path.write_bytes(original)
        return outcome

    def tuning_case(self, draw: random.Random) -> str:
        path = draw.choice(sorted((self.store.folder / "tuning" / "trials").iterdir()))
        original = path.read_bytes()
        content = changed_record(original, draw)
        path.write_bytes(content)
        store, aside = tuning_store(self.store), {}
        plans = tuning_plans(type(self.plan)(self.asked, self.plan.data_folder, {}))
        check(len(plans) == 2, "two rates are tried")
        try:
            for part in plans:
                stored = store.open(part.study)
                aside.update(stored.archive_damaged())
                stored.pending()
            choice_table(type(self.plan)(self.asked, self.plan.data_folder, {}), self.store)
        except ActbenchError as error:
            check(len(str(error).splitlines()) == 1, f"one line: {error}")
            path.write_bytes(original)
            return type(error).__name__
        kept = [*aside, path][0]
        check(kept.read_bytes() == content, "the damaged file is kept")
        for name in aside:
            name.unlink()
        path.write_bytes(original)
        return "damaged" if aside else "read"

    def checkpoint_case(self, draw: random.Random) -> str:
        named: list[Path] = []
        Path("checkpoints").mkdir()
        checkpoint = Checkpoint(Path("checkpoints"), "trial", named.append)
        history = [EpochRecord(n, 2.0, 2.1, 0.25, {"conv1": 0.5}) for n in (1, 2)]
        checkpoint.save(self.network.state_dict(), self.optimizer.state, history)
        content = changed_checkpoint(checkpoint.path.read_bytes(), draw)
        checkpoint.path.write_bytes(content)
        found = checkpoint.restore(self.network.state_dict(), self.optimizer.state, 3)
        check(len(found) <= 3, "no more epochs than the study has")
        if not found and not named:
            stored = torch.load(io.BytesIO(content), weights_only=True)
            check(stored["environment"] != checkpoint.environment, "another environment's")
        check(not (found and named), "read, or renamed and named")
        kept = [*named, checkpoint.path][0]
        check(kept.read_bytes() == content, "the damaged file is kept")
        shutil.rmtree("checkpoints")
        return "read" if found else "damaged"

    def summary_case(self, draw: random.Random) -> str:
        path = self.store.folder / SUMMARY_FILE
        original = path.read_bytes()
        path.write_bytes(changed_json(original, draw))
        try:
            summary = read_summary(self.store.folder)
            with contextlib.redirect_stdout(io.StringIO()):
                for as_json in (False, True):
                    print_summary(summary, self.store.folder, as_json=as_json)
            outcome = "read"
        except ActbenchError as error:
            check(len(str(error).splitlines()) == 1, f"one line: {error}")
            outcome = type(error).__name__
        path.write_bytes(original)
        return outcome

    def data_case(self, draw: random.Random) -> str:
        (path,) = (cache_folder() / "data").rglob("*.safetensors")
        content = changed_header(path.read_bytes(), draw)
        path.write_bytes(content)
        data = open_images(prepare("digits"))
        check(data.checksum == self.study.data_checksum, "the data is the study's")
        check(len(data.classes) >= 10, "there is a class for each label")
        return "read" if path.read_bytes() == content else "prepared again"

    def images_case(self, draw: random.Random) -> str:
        images = torch.from_numpy(np.arange(2 * 32 * 32 * 3, dtype=np.uint8).reshape(2, 32, 32, 3))
        key = f"fuzz {draw.random()}"
        before = set((cache_folder() / "images").rglob("*.safetensors"))
        cached_images(key, lambda: images)
        (path,) = set((cache_folder() / "images").rglob("*.safetensors")) - before
        path.write_bytes(changed_header(path.read_bytes(), draw))
        again: list[int] = []
        found = cached_images(key, lambda: again.append(1) or images)
        check(torch.equal(found, images), "the images are those that were stored")
        path.unlink()
        return "computed again" if again else "read"


def command(asked: list[str]) -> tuple[int, str]:
    """Return the exit code and stderr of a command, run in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main(asked)
        except SystemExit as end:
            return int(end.code or 0), err.getvalue()
    return 0, err.getvalue()


def no_network(*_: object) -> None:
    raise OSError("the network is not to be used here")


def run(
    times: int, seed: int, kind: str, minutes: float
) -> tuple[dict[str, Counter[str]], list[str]]:
    """Return the outcomes by kind, and every case in which a requirement failed."""
    end = time.monotonic() + 60 * minutes
    fuzz = Fuzz()
    outcomes: dict[str, Counter[str]] = {name: Counter() for name in KINDS}
    broken = []
    kinds = random.Random(seed).choices(list(KINDS), list(KINDS.values()), k=times)
    for number in range(times):
        if time.monotonic() > end:
            break
        if number % 500 == 499:
            sys.stderr.write(f"{number + 1} of {times} cases, {len(broken)} broken\n")
        name = kind or kinds[number]
        draw = random.Random(f"{seed} {number}")
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                outcome = getattr(fuzz, f"{name}_case")(draw)
        except Exception as error:
            lines = traceback.format_exception(error)
            broken.append(f"case {number}, {name}: {''.join(lines[-6:])[-1500:]}")
            outcome = "BROKEN"
            fuzz.restore()
            shutil.rmtree("checkpoints", ignore_errors=True)
        outcomes[name][outcome] += 1
    return outcomes, broken


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--times", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=KINDS, default="", help="only this kind")
    parser.add_argument("--minutes", type=float, default=600, help="stop after this time")
    arguments = parser.parse_args()
    socket.socket.connect = no_network  # type: ignore[method-assign, assignment]
    torch.set_num_threads(1)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as work:
        os.environ["ACTBENCH_CACHE"] = str(Path(work) / "cache")
        os.chdir(work)
        outcomes, broken = run(arguments.times, arguments.seed, arguments.kind, arguments.minutes)
        os.chdir("/")
    for case in broken[:20]:
        sys.stdout.write(f"{case}\n")
    for name, counts in outcomes.items():
        if counts:
            listed = ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())
            sys.stdout.write(f"{name}: {counts.total()} files: {listed}\n")
    seconds = time.monotonic() - begin
    done = sum(counts.total() for counts in outcomes.values())
    sys.stdout.write(
        f"{done} cases, seed {arguments.seed}: {len(broken)} broken ({seconds:.0f} s)\n"
    )
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
