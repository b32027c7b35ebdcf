"""A study of 1,000 stored trials: writing and reading records, and the tables made from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from actbench.analysis.frames import Frames
from actbench.analysis.trial_results import result_of
from actbench.corruptions.specs import SUITES
from actbench.models.activations import resolve_activation
from actbench.models.build import build_network
from actbench.report.write import derived_files
from actbench.store.checkpoint import Checkpoint
from actbench.store.measured import CleanResult, CorruptionResult, SeverityResult
from actbench.store.record import EpochRecord, TrialRecord
from actbench.store.store import Store
from actbench.store.values import pack_counts
from actbench.store.weights import Weights, checksum_of, weights_content
from actbench.study.levels import SEVERITIES
from actbench.study.study import Study, trial_id
from actbench.training.optimizers import SGD
from cifar_shaped import SEEDS, TEST_IMAGES

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

    from actbench.study.study import Trial

STUDY = Study(
    activations=("relu", *(f"leaky_relu:0.{slope}" for slope in range(1, 10))),
    seeds=SEEDS,
    corruptions=SUITES["noise"],
)
LAYERS = ("conv1", "conv2", "fc1", "fc2")
CLASSES = 10


def synthetic_record(trial: Trial) -> TrialRecord:
    """Return a record with the size of a real one and random content."""
    draw = np.random.default_rng([trial.seed, STUDY.activations.index(trial.activation)])

    def correct_images() -> np.ndarray:
        return draw.integers(0, 2, TEST_IMAGES)

    def by_class(correct: np.ndarray) -> tuple[int, ...]:
        return tuple(int(correct[label::CLASSES].sum()) for label in range(CLASSES))

    def corrupted(name: str) -> CorruptionResult:
        versions = [correct_images() for _ in SEVERITIES]
        return CorruptionResult(
            corruption=name,
            source="",
            severities=tuple(
                SeverityResult(severity, version.mean(), *draw.random(2), by_class(version))
                for severity, version in zip(SEVERITIES, versions, strict=True)
            ),
            correct=pack_counts(sum(versions)),
        )

    correct = correct_images()
    trained = TrialRecord(
        trial_id=trial_id(STUDY, trial),
        activation=trial.activation,
        seed=trial.seed,
        status="ok",
        history=tuple(
            EpochRecord(epoch, *draw.random(3), dict(zip(LAYERS, draw.random(4), strict=True)))
            for epoch in range(1, STUDY.epochs + 1)
        ),
        weights=f"sha256:{'0' * 64}",
        image_size=32,
        class_images=by_class(np.ones(TEST_IMAGES, dtype=int)),
    )
    clean = CleanResult(
        accuracy=correct.mean(),
        loss=draw.random(),
        ece=draw.random(),
        correct=pack_counts(correct),
        class_correct=by_class(correct),
        logit_margin=draw.random(),
        input_gradient_norm=draw.random(),
        inactive=dict(zip(("act1", "act2", "act3"), draw.random(3), strict=True)),
        inactive_fraction=draw.random(),
    )
    return trained.with_results([clean, *map(corrupted, STUDY.corruptions)])


def frames_of(records: dict[str, TrialRecord]) -> Frames:
    """Return the frames of the study."""
    results = {name: result_of(record, STUDY) for name, record in records.items()}
    return Frames(STUDY, {name: result for name, result in results.items() if result})


@pytest.fixture(scope="module")
def records() -> dict[str, TrialRecord]:
    """Return the study's 1,000 records by trial id."""
    made = [synthetic_record(trial) for trial in STUDY.trials()]
    return {record.trial_id: record for record in made}


def write_all(folder: Path, records: dict[str, TrialRecord]) -> Store:
    """Return the store with every record in it."""
    stored = Store(folder).open(STUDY)
    stored.begin()
    for record in records.values():
        stored.write(record)
    return stored.store


def test_write_records(
    benchmark: BenchmarkFixture, tmp_path: Path, records: dict[str, TrialRecord]
) -> None:
    """Each record is complete and on disk before the next."""
    benchmark.pedantic(write_all, (tmp_path, records), rounds=3)


def test_checkpoint(
    benchmark: BenchmarkFixture, tmp_path: Path, records: dict[str, TrialRecord]
) -> None:
    """The default network's state after an epoch."""
    network, _ = build_network("cnn", resolve_activation("relu"), 10, 0)
    optimizer = SGD(network.parameters(), learning_rate=0.01, momentum=0.9, weight_decay=0)
    history = next(iter(records.values())).history
    checkpoint = Checkpoint(tmp_path, "trial")
    benchmark.pedantic(checkpoint.save, (network.state_dict(), optimizer.state, history), rounds=50)


def test_weights(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """The default network's trained weights, with their checksum."""
    network, _ = build_network("cnn", resolve_activation("relu"), 10, 0)
    weights = Weights(tmp_path, "trial")

    def save() -> str:
        content = weights_content(network.state_dict())
        assert content is not None
        weights.save(content)
        return checksum_of(content)

    benchmark.pedantic(save, rounds=50)


def test_read_records(
    benchmark: BenchmarkFixture, tmp_path: Path, records: dict[str, TrialRecord]
) -> None:
    """The first step of a resumed run."""
    write_all(tmp_path, records)
    benchmark.pedantic(lambda: Store(tmp_path).open(STUDY).records(), rounds=3)


def test_frames(benchmark: BenchmarkFixture, records: dict[str, TrialRecord]) -> None:
    """Records to data frames, with every comparison."""
    benchmark.pedantic(lambda: frames_of(records).comparisons, rounds=3)


def test_tables(benchmark: BenchmarkFixture, records: dict[str, TrialRecord]) -> None:
    """Data frames to CSV and Markdown."""
    benchmark.pedantic(lambda: derived_files(frames_of(records)), rounds=3)
