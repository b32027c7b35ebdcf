"""Records: the JSON form gives the same record back, and a damaged file gives none."""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from actbench.store.record import (
    RECORD_FORMAT,
    CorruptionScore,
    EpochRecord,
    MaskingChecks,
    OtherFormatError,
    TrialRecord,
    pack_counts,
    record_from_json,
    record_to_json,
    unpack_counts,
)
from actbench.store.record_files import TRIALS_ARCHIVE
from actbench.store.store import Store
from actbench.study.study import Trial, trial_id

if TYPE_CHECKING:
    from helpers.runs import TinyRun

RECORD = TrialRecord(
    trial_id="relu-seed3-abc",
    activation="relu",
    seed=3,
    status="ok",
    activation_check={"at_zero": 0.0, "monotone": True},
    history=(EpochRecord(1, 2.5, 2.25, 0.1 + 0.2, {"conv1": 1e-300, "fc": 1 / 3}),),
    clean_accuracy=0.5,
    corruptions=(CorruptionScore("shot_noise", 5, 0.5, 1.5, 0.25),),
    inactive={"act1": 0.125},
    clean_correct=pack_counts(np.array([1, 0], np.uint8)),
    corrupted_correct=pack_counts(np.array([1, 0], np.uint8)),
)


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
    record = replace(RECORD, clean_loss=math.inf, clean_ece=math.nan)
    text = record_to_json(record)
    assert "Infinity" not in text
    assert "NaN" not in text
    stored = record_from_json(text)
    assert stored.clean_loss is None
    assert stored.clean_ece is None


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
        ('"clean_accuracy"', '"clean_accuracies"'),
    ],
)
def test_a_changed_record_is_refused(old: str, new: str) -> None:
    text = record_to_json(RECORD)
    assert old in text
    with pytest.raises(ValueError):
        record_from_json(text.replace(old, new))


FORGERIES: dict[str, tuple[dict[str, object], str]] = {
    "text for a seed": ({"seed": "3"}, "seed is '3'"),
    "true for a seed": ({"seed": True}, "seed is True"),
    "a negative seed": ({"seed": -1}, "seed is -1"),
    "an accuracy that is not that of the images": (
        {"clean_accuracy": 0.75},
        "clean_correct has a mean of 0.5 and clean_accuracy a sum of 0.75",
    ),
    "an accuracy under corruption that is not that of the images": (
        {"corruptions": [asdict(replace(RECORD.corruptions[0], accuracy=1.0))]},
        "corrupted_correct has a mean of 0.5 and the accuracies under corruptions a sum of 1",
    ),
    "measurements of a crashed trial": (
        {"status": "crashed"},
        "clean_accuracy has a value, and its status is crashed",
    ),
    "predictions of a diverged trial": (
        {"status": "diverged", "clean_accuracy": None},
        "clean_correct has a value, and its status is diverged",
    ),
    "an accuracy in percent": ({"clean_accuracy": 71.5}, "clean_accuracy is 71.5; it must be a"),
    "no accuracy": ({"clean_accuracy": None}, "clean_accuracy is empty"),
    "a list of losses": ({"clean_loss": [1.0]}, "clean_loss is list"),
    "an activation in two lines": ({"activation": "re\nlu"}, "activation is"),
    "no history": ({"history": []}, "history is empty"),
    "a history of text": ({"history": "12"}, "history is '12'; it must be a list"),
    "an epoch without a loss": ({"history": [{"epoch": 1}]}, "fields of EpochRecord"),
    "the second epoch first": (
        {"history": [asdict(replace(RECORD.history[0], epoch=2))]},
        "epochs of its history",
    ),
    "a severity of 6": (
        {"corruptions": [asdict(replace(RECORD.corruptions[0], severity=6))]},
        "corruptions severity is 6",
    ),
    "an inactive share of text": ({"inactive": {"act1": "0"}}, "inactive is '0'"),
    "a list for a table": ({"inactive": [1]}, "inactive is list"),
    "scores that are not packed": ({"clean_correct": "AAAA"}, "not packed counts"),
    "scores that are not base64": ({"clean_correct": "é"}, ""),
    "no scores": ({"clean_correct": ""}, "clean_correct is empty"),
    "scores above 1": ({"clean_correct": pack_counts(np.array([2], np.uint8))}, "0 or 1"),
    "scores of other images": (
        {"corrupted_correct": pack_counts(np.array([1], np.uint8))},
        "a count up to 1 for each of 2 test images",
    ),
    "more scores than corruptions": (
        {"corrupted_correct": pack_counts(np.array([9, 9], np.uint8))},
        "a count up to 1",
    ),
    "a masking guard of no classes": (
        {"masking": {**asdict(MaskingChecks(5, 10, 0.0, 0.0, (), 0.0)), "classes": 0}},
        "masking classes is 0",
    ),
    "an excess of three numbers": (
        {"masking": asdict(MaskingChecks(5, 10, 0.0, 0.0, ((0.1, 0.1, 0.1),), 0.0))},  # type: ignore[arg-type]
        "masking white_box_excess is",
    ),
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
    text = record_to_json(RECORD).replace('"format": 1', '"format": 2,\n "new": 0')
    with pytest.raises(OtherFormatError, match="format 2; this actbench reads 1"):
        record_from_json(text)


def test_unpacked_counts_are_the_packed_ones() -> None:
    counts = np.random.default_rng(0).integers(0, 21, 10_000, dtype=np.uint8)
    assert np.array_equal(unpack_counts(pack_counts(counts)), counts)
    assert len(pack_counts(np.ones(10_000, np.uint8))) < 100


PUBLISHED = Path(__file__).parents[2] / "results" / "published"


@pytest.mark.parametrize("folder", sorted(PUBLISHED.glob("*")), ids=lambda folder: folder.name)
def test_published_records_keep_their_names_and_their_bytes(folder: Path) -> None:
    study = Store(folder).study()
    with zipfile.ZipFile(folder / TRIALS_ARCHIVE) as archive:
        for trial in study.trials()[::6]:
            text = archive.read(f"{trial_id(study, trial)}.json").decode()
            assert record_to_json(record_from_json(text)) == text
