"""Records: the JSON form gives the same record back, and a damaged file gives none."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from actbench.store.measured import (
    AttackResult,
    CleanResult,
    CorruptionResult,
    GradientResult,
    SeverityResult,
    failed,
)
from actbench.store.record import (
    RECORD_FORMAT,
    EpochRecord,
    OtherFormatError,
    TrialRecord,
    record_from_json,
    record_to_json,
)
from actbench.store.values import MAX_IMAGES, pack_counts, unpack_counts
from actbench.study.measurements import Measurement
from actbench.study.study import Study, Trial

if TYPE_CHECKING:
    from helpers.runs import TinyRun


def bits(*values: int) -> str:
    return pack_counts(np.array(values, np.uint8))


CLEAN = CleanResult(
    accuracy=0.5,
    loss=1.5,
    ece=0.25,
    correct=bits(1, 0),
    class_correct=(1, 0),
    inactive={"act1": 0.125},
    environment="here",
)
NOISE = CorruptionResult(
    corruption="shot_noise",
    source="",
    severities=tuple(SeverityResult(n, 0.5, 1.5, 0.25, (1, 0)) for n in range(1, 6)),
    correct=bits(5, 0),
)
GRADIENTS = GradientResult(
    images=1,
    zero_gradient_share=0.0,
    non_finite_gradient_share=0.0,
    misleading_gradient_share=1.0,
    large_epsilon_accuracy=0.0,
)
ATTACK = AttackResult(
    attack="fgsm",
    epsilon=0.1,
    images=1,
    norm="linf",
    white_box=True,
    accuracy=1.0,
    correct=bits(1),
    black_box_gain=0.0,
    class_correct=(1, 0),
    class_images=(1, 0),
)
TRAINED = TrialRecord(
    trial_id="relu-seed3-abc",
    activation="relu",
    seed=3,
    status="ok",
    activation_check={"at_zero": 0.0, "monotone": True},
    history=(EpochRecord(1, 2.5, 2.25, 0.1 + 0.2, {"conv1": 1e-300, "fc": 1 / 3}),),
    weights=f"sha256:{'0' * 64}",
    image_size=32,
    class_images=(1, 1),
)
RECORD = TRAINED.with_results([ATTACK, GRADIENTS, NOISE, CLEAN])


def deep(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = {"a": value}
    return value


def forged(changes: dict[str, object]) -> str:
    """Return RECORD's JSON with other values and the checksum of these."""
    content = {**json.loads(record_to_json(RECORD)), **changes}
    del content["format"], content["checksum"]
    text = json.dumps(content, sort_keys=True)
    checksum = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    return json.dumps({"format": RECORD_FORMAT, "checksum": checksum, **content})


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


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"seed": 3', '"seed": 4'),
        ('"accuracy": 0.5', '"accuracy": 0.6'),
        ('"status": "ok"', '"status": "OK"'),
        ('"reason": "",', ""),
        ('"checksum": "sha256:', '"checksum": "sha256:0'),
        ('"attack": "fgsm"', '"attack": "pgd"'),
        ('"class_images"', '"classes_images"'),
    ],
)
def test_a_changed_record_is_refused(old: str, new: str) -> None:
    text = record_to_json(RECORD)
    assert old in text
    with pytest.raises(ValueError):
        record_from_json(text.replace(old, new))


def clean(**changes: object) -> dict[str, object]:
    return {"clean": {**asdict(CLEAN), **changes}}


def noise(**changes: object) -> dict[str, object]:
    return {"corruptions": [{**asdict(NOISE), **changes}]}


def severity(position: int, **changes: object) -> dict[str, object]:
    scores = [asdict(score) for score in NOISE.severities]
    return noise(
        severities=[{**s, **changes} if i == position else s for i, s in enumerate(scores)]
    )


def attack(**changes: object) -> dict[str, object]:
    return {"attacks": [{**asdict(ATTACK), **changes}]}


def gradients(**changes: object) -> dict[str, object]:
    return {"gradients": [{**asdict(GRADIENTS), **changes}]}


FORGERIES: dict[str, tuple[dict[str, object], str]] = {
    "text for a seed": ({"seed": "3"}, "seed is '3'"),
    "true for a seed": ({"seed": True}, "seed is True"),
    "a negative seed": ({"seed": -1}, "seed is -1"),
    "an accuracy that is not that of the images": (
        clean(accuracy=1.0),
        "the test images: correct has a mean of 0.5 and accuracy a sum of 1",
    ),
    "an accuracy that is not that of the classes": (
        clean(class_correct=[1, 1]),
        "the test images: class_correct has a mean of 1 and accuracy a sum of 0.5",
    ),
    "an accuracy under corruption that is not that of the images": (
        severity(0, accuracy=1.0),
        "shot_noise: correct has a mean of 2.5 and the accuracies a sum of 3",
    ),
    "classes under corruption that are not those of the test images": (
        severity(2, class_correct=[1, 0, 0]),
        "shot_noise: class_correct is not a number of images for each class",
    ),
    "measurements of a crashed trial": (
        {"status": "crashed"},
        "it has measurements, and its status is crashed",
    ),
    "an accuracy in percent": (clean(accuracy=71.5), "clean accuracy is 71.5; it must be a"),
    "no accuracy": (clean(accuracy=None), "accuracy is empty"),
    "a list of losses": (clean(loss=[1.0]), "clean loss is list"),
    "an activation in two lines": ({"activation": "re\nlu"}, "activation is"),
    "no history": ({"history": []}, "history is empty"),
    "a history of text": ({"history": "12"}, "history is '12'; it must be a list"),
    "an epoch without a loss": ({"history": [{"epoch": 1}]}, "fields of EpochRecord"),
    "the second epoch first": (
        {"history": [asdict(replace(RECORD.history[0], epoch=2))]},
        "epochs of its history",
    ),
    "no classes": ({"class_images": []}, "class_images or image_size is empty"),
    "no size": ({"image_size": 0}, "class_images or image_size is empty"),
    "weights without a checksum": ({"weights": "abc"}, "weights is 'abc'"),
    "a severity of 6": (
        severity(4, severity=6),
        "shot_noise: its severities are [1, 2, 3, 4, 6]; they must be [1, 2, 3, 4, 5]",
    ),
    "a severity of 0": (severity(0, severity=0), "severity is 0"),
    "four severities": (noise(severities=[]), "its severities are []"),
    "a corruption twice": ({"corruptions": [asdict(NOISE)] * 2}, "one is there twice"),
    "attacks in another order": (
        {"attacks": [asdict(ATTACK), asdict(replace(ATTACK, epsilon=0.05))]},
        "not in their order",
    ),
    "an inactive share of text": (clean(inactive={"act1": "0"}), "inactive is '0'"),
    "a list for a table": (clean(inactive=[1]), "inactive is list"),
    "scores that are not packed": (clean(correct="AAAA"), "not packed counts"),
    "scores that are not base64": (clean(correct="é"), ""),
    "no scores": (clean(correct=""), "correct is empty"),
    "scores above 1": (clean(correct=bits(2, 0)), "0 or 1 for each of 2 test images"),
    "scores of other images": (noise(correct=bits(5)), "a count up to 5 for each of 2 test images"),
    "more scores than severities": (noise(correct=bits(9, 9)), "a count up to 5"),
    "values of a failed measurement": (
        clean(failure="ValueError"),
        "accuracy has a value, and the measurement failed",
    ),
    "an attack on more images than there are": (attack(images=3), "there are 2 test images"),
    "an attack without a norm": (attack(norm=""), "norm is empty"),
    "an attack on other classes": (attack(class_images=[1, 1]), "a sum of 2, and images is 1"),
    "an attack with ε = 0": (attack(epsilon=0.0), "epsilon is 0"),
    "checks of no images": (gradients(images=0), "images is 0"),
    "checks without a share": (gradients(zero_gradient_share=None), "share is empty"),
    "text that has no UTF-8": ({"reason": "\ud800"}, "surrogates not allowed"),
    "levels without end": ({"activation_check": deep(300)}, "nested too deep"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_value_with_the_right_checksum_is_refused(forgery: str) -> None:
    changes, fault = FORGERIES[forgery]
    with pytest.raises(ValueError) as error:
        record_from_json(forged(changes))
    assert fault in str(error.value)


def test_a_gradient_norm_that_was_not_finite_is_read_as_nan() -> None:
    epoch = replace(RECORD.history[0], grad_norms={"conv1": math.inf})
    text = record_to_json(replace(RECORD, history=(epoch,)))
    stored = record_from_json(text)
    assert math.isnan(stored.history[0].grad_norms["conv1"])
    assert record_to_json(stored) == text


NO_RECORDS = ["", "{", "[]", "null", "3", "{}", '{"format": null}', "[" * 99_999]


@pytest.mark.parametrize("text", NO_RECORDS, ids=[text[:10] for text in NO_RECORDS])
def test_other_texts_are_not_records(text: str) -> None:
    with pytest.raises(ValueError):
        record_from_json(text)


@pytest.mark.parametrize("length", [2, 100, 1000])
def test_a_truncated_record_is_refused(length: int) -> None:
    with pytest.raises(ValueError):
        record_from_json(record_to_json(RECORD)[:-length])


def test_a_record_truncated_at_any_byte_is_refused() -> None:
    content = record_to_json(RECORD).encode().rstrip()
    for length in range(len(content)):
        with pytest.raises(ValueError):
            record_from_json(content[:length].decode())


@pytest.mark.parametrize("bit", range(8))
def test_a_bit_flipped_in_any_byte_gives_no_other_record(bit: int) -> None:
    content = record_to_json(RECORD).encode()
    refused = 0
    for at in range(len(content)):
        flipped = content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]
        try:
            assert record_from_json(flipped.decode()) == RECORD
        except OtherFormatError:
            pytest.fail(f"byte {at}: a damaged record is taken for one of another format")
        except ValueError:
            refused += 1
    assert refused > len(content) / 2


def test_a_record_of_another_format_is_refused_by_its_number() -> None:
    text = record_to_json(RECORD).replace('"format": 2', '"format": 3,\n "new": 0')
    with pytest.raises(OtherFormatError, match="format 3; this actbench reads 2"):
        record_from_json(text)


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
