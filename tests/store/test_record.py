"""Records: the JSON form gives the same record back, and results are added in any order."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from actbench.store.measured import failed
from actbench.store.record import RECORD_FORMAT, record_from_json, record_to_json
from actbench.store.values import MAX_IMAGES, pack_counts, unpack_counts
from actbench.study.measurements import Measurement
from actbench.study.study import Study, Trial
from helpers.small_record import ATTACK, CLEAN, GRADIENTS, NOISE, RECORD, TRAINED

if TYPE_CHECKING:
    from helpers.runs import TinyRun


def test_json_gives_the_same_record_to_the_last_bit() -> None:
    assert record_from_json(record_to_json(RECORD)) == RECORD


def test_json_gives_the_same_real_records(tiny_run: TinyRun) -> None:
    for record in tiny_run.records:
        assert record_from_json(record_to_json(record)) == record


def test_a_record_has_its_format_and_no_time() -> None:
    content = json.loads(record_to_json(RECORD))
    assert content["format"] == RECORD_FORMAT
    assert not [key for key in content if "time" in key or "second" in key or "date" in key]


def test_a_number_that_is_not_finite_is_stored_as_none() -> None:
    record = RECORD.with_results([replace(CLEAN, loss=math.inf, ece=math.nan)])
    text = record_to_json(record)
    assert "Infinity" not in text
    assert "NaN" not in text
    stored = record_from_json(text).clean
    assert stored is not None
    assert stored.loss is None
    assert stored.ece is None


def test_a_records_trial_is_its_activation_and_seed() -> None:
    assert RECORD.trial == Trial("relu", 3)


def test_a_gradient_norm_that_was_not_finite_is_read_as_nan() -> None:
    epoch = replace(RECORD.history[0], grad_norms={"conv1": math.inf})
    text = record_to_json(replace(RECORD, history=(epoch,)))
    stored = record_from_json(text)
    assert math.isnan(stored.history[0].grad_norms["conv1"])
    assert record_to_json(stored) == text


def test_unpacked_counts_are_the_packed_ones() -> None:
    counts = np.random.default_rng(0).integers(0, 21, 10_000, dtype=np.uint8)
    assert np.array_equal(unpack_counts(pack_counts(counts)), counts)
    assert len(pack_counts(np.ones(10_000, np.uint8))) < 100


def test_counts_of_more_images_than_any_data_set_has_are_not_unpacked() -> None:
    packed = pack_counts(np.zeros(MAX_IMAGES + 1, np.uint8))  # 13 kB
    with pytest.raises(ValueError, match="of more than 10,000,000 images"):
        unpack_counts(packed)


# results that are added later


def test_the_bytes_do_not_depend_on_when_results_were_added() -> None:
    other = replace(NOISE, corruption="fog")
    stronger = replace(ATTACK, epsilon=0.2)
    results = [CLEAN, NOISE, other, GRADIENTS, ATTACK, stronger]
    expected = record_to_json(TRAINED.with_results(results))
    record = TRAINED
    for result in reversed(results):
        record = record_from_json(record_to_json(record.with_results([result])))
    assert record_to_json(record) == expected


def test_a_record_lacks_what_its_study_measures_and_it_has_not() -> None:
    study = Study(corruptions=("fog", "shot_noise"), attacks=("fgsm",), epsilons=(0.2, 0.1))
    two = Measurement("gradients", images=2)  # there are no more test images
    attacks = [Measurement("attack", "fgsm", images=2, epsilon=epsilon) for epsilon in (0.2, 0.1)]
    assert RECORD.missing(study) == [Measurement("corruption", "fog"), two, *attacks]
    one = replace(study, attack_images=1, corruptions=("shot_noise",), epsilons=(0.1,))
    assert RECORD.missing(one) == []
    published = replace(one, cifar10c_checksums=(("shot_noise", "sha256:1"),))
    assert RECORD.missing(published) == [Measurement("corruption", "shot_noise", "sha256:1")]
    diverged = replace(TRAINED, status="diverged")
    assert diverged.missing(study) == []


def test_a_failed_measurement_is_stored_without_values_and_not_missing() -> None:
    study = Study(corruptions=("shot_noise",))
    measurement = Measurement("corruption", "shot_noise")
    record = RECORD.with_results([failed(measurement, "ValueError: no", "Traceback", "here")])
    assert record_from_json(record_to_json(record)) == record
    assert record.missing(study) == []
    assert [result.failure for result in record.failures(study)] == ["ValueError: no"]
    assert record.without([measurement]).missing(study) == [measurement]


def test_a_trial_that_is_given_up_keeps_its_training_and_its_results() -> None:
    study = Study(corruptions=("shot_noise", "fog"), attacks=("fgsm",), epsilons=(0.1,))
    given_up = RECORD.given_up(study, "it took too long")
    assert given_up.missing(study) == []
    assert {result.measurement.spec for result in given_up.failures(study)} == {"fog", "", "fgsm"}
    assert given_up.without(r.measurement for r in given_up.failures(study)) == RECORD
    assert record_from_json(record_to_json(given_up)) == given_up
