"""A damaged or forged record gives none."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace

import pytest

from actbench.store.record import RECORD_FORMAT, OtherFormatError, record_from_json, record_to_json
from helpers.small_record import ATTACK, CLEAN, GRADIENTS, NOISE, RECORD, bits


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
