"""Damaged and forged content of stored files: other bytes, or other values; for ``fuzz.py``."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tomllib
from typing import TYPE_CHECKING, Any

import tomli_w
import torch

from actbench.study.study import Study
from actbench.study.toml import study_to_toml

if TYPE_CHECKING:
    import random

HOSTILE: tuple[Any, ...] = (
    *("", " ", "../../etc/passwd", "/dev/null", "a\0b", "x" * 300, "π" * 99, "=HYPERLINK(1)"),
    *("\n", "{{7*7}}", "<script>", "relu", "leaky_relu:nan", "leaky_relu:1e999", "prelu:", ":"),
    *("a:b", "os:nothing", "relu,relu", "noise", "none", "cnn", "deep_cnn:depth=99999999999"),
    *(0, 1, -1, 2, 6, 2**31, 2**63, 2**64, 10**400, -(10**400), 0.0, -0.5, 1.5, 1e308),
    *(float("inf"), float("nan"), True, False),
    *([], [[]], [0], [0, 0], [-1], ["relu"], ["relu", 3], {}, {"a": 1}, [{}]),
)
ONLY_JSON: tuple[Any, ...] = (None, "\ud800", {"\udfff": 1.0}, [None], {"": None})


def changed_bytes(content: bytes, draw: random.Random) -> bytes:
    """Return the content with some bytes changed, truncated, or nested very deeply."""
    way = draw.randrange(6)
    if way == 0:
        return content[: draw.randrange(len(content) + 1)]
    if way == 1:
        return draw.choice([b"[", b'{"a":', b"{"]) * draw.choice([100, 2_000, 200_000])
    if way == 2:
        at = draw.randrange(len(content))
        return content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :]
    changed = bytearray(content)
    for _ in range(draw.choice([1, 2, 20])):
        at = draw.randrange(len(changed) + 1)
        changed[at : at + draw.randint(0, 3)] = draw.randbytes(draw.randint(0, 3))
    return bytes(changed)


def change_value(value: Any, draw: random.Random) -> Any:
    """Return a plain value, one value somewhere in it replaced, removed or repeated."""
    if not isinstance(value, (dict, list)) or not value or draw.random() < 0.15:
        nested = draw.random() < 0.05
        return levels(draw.choice([5, 50, 300])) if nested else draw.choice(HOSTILE + ONLY_JSON)
    changed = dict(value) if isinstance(value, dict) else list(value)
    key = draw.choice(list(value)) if isinstance(value, dict) else draw.randrange(len(value))
    way = draw.randrange(12)
    if way == 0:
        del changed[key]
    elif way == 1 and isinstance(changed, dict):
        changed[draw.choice(["", "é", "x" * 200, "\ud800", "__class__"])] = changed.pop(key)
    elif way == 1:
        changed.append(changed[key])
    else:
        changed[key] = change_value(changed[key], draw)
    return changed


def levels(count: int) -> Any:
    value: Any = 1
    for _ in range(count):
        value = [value]
    return value


def changed_record(content: bytes, draw: random.Random) -> bytes:
    """Return a record with other values and their checksum, or with other bytes."""
    if draw.random() < 0.2:
        return changed_bytes(content, draw)
    values = json.loads(content)
    head = {"format": values.pop("format"), "checksum": values.pop("checksum")}
    for _ in range(draw.choice([1, 1, 2])):
        values = change_value(values, draw)
        if not isinstance(values, dict):
            values = {"activation": values}
    with contextlib.suppress(ValueError):  # not finite: such a value has no checksum
        text = json.dumps(values, sort_keys=True, allow_nan=False)
        head["checksum"] = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    return json.dumps({**head, **values}, indent=1).encode()


def changed_json(content: bytes, draw: random.Random) -> bytes:
    if draw.random() < 0.3:
        return changed_bytes(content, draw)
    return json.dumps(change_value(json.loads(content), draw)).encode()


def changed_study(draw: random.Random) -> bytes:
    """Return a changed study.toml, which may still be valid."""
    text = study_to_toml(Study(activations=("relu",), seeds=(0,), epochs=1, corruptions=()))
    values = tomllib.loads(text)
    for _ in range(draw.randint(1, 3)):
        key = draw.choice([*values, "learning_rat", "seed", "__class__", "format", "x" * 200, "é"])
        values[key] = draw.choice(HOSTILE)
    content = tomli_w.dumps(values).encode()
    way = draw.random()
    if way < 0.02:
        content += b"x" + b".a" * draw.choice([400, 3000]) + b" = 1\n"
    elif way < 0.04:
        content = b"epochs = " + b"[" * draw.choice([100, 1000, 200_000]) + content
    return changed_bytes(content, draw) if draw.random() < 0.4 else content


def changed_checkpoint(content: bytes, draw: random.Random) -> bytes:
    """Return a checkpoint with another history or another state, or with other bytes."""
    if draw.random() < 0.3:
        return changed_bytes(content, draw)
    state = torch.load(io.BytesIO(content), weights_only=True)
    way = draw.randrange(4)
    if way == 0:
        state["history"] = [{**h, "epoch": n} for n, h in enumerate(state["history"] * 3, 1)]
    elif way == 1:
        name = draw.choice(list(state["network"]))
        odd = (torch.zeros(3), torch.zeros(0), 5, None, "text")
        state["network"][name] = draw.choice(odd)
    elif way == 2:
        state["history"] = change_value(state["history"], draw)
    else:
        state = change_value(state, draw)
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def changed_header(content: bytes, draw: random.Random) -> bytes:
    """Return a file with its first 512 bytes changed; its content is checked elsewhere."""
    return changed_bytes(content[:512], draw) + content[512:]
