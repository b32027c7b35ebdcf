"""Checkpoint files: what damaged ones count as, and when and how they are written."""

from __future__ import annotations

import errno
import io
import os
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from actbench.errors import ResultsFolderError
from actbench.models.activations import resolve_activation
from actbench.models.build import build_network
from actbench.store.checkpoint import Checkpoint
from actbench.store.record import EpochRecord
from actbench.training.optimizers import SGD

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HISTORY = [EpochRecord(1, 2.0, 2.1, 0.25, {"conv1": 0.5})]


def optimizer_of(network: nn.Module) -> SGD:
    return SGD(network.parameters(), learning_rate=0.1, momentum=0.9, weight_decay=0)


def network_and_optimizer() -> tuple[nn.Module, SGD]:
    network, _ = build_network("cnn", resolve_activation("prelu"), 10, 0)
    optimizer = optimizer_of(network)
    network(torch.ones(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    return network, optimizer


def fresh_state() -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
    network, optimizer = network_and_optimizer()
    return network.state_dict(), optimizer.state


def bits(network: nn.Module, optimizer: SGD) -> list[bytes]:
    tensors = [*network.state_dict().values(), *optimizer.state]
    return [tensor.numpy().tobytes() for tensor in tensors]


# damaged files

DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "cut": lambda content, draw: content[: draw.randrange(len(content))],
    "one bit": lambda content, draw: (
        content[: (at := draw.randrange(len(content)))]
        + bytes([content[at] ^ 1 << draw.randrange(8)])
        + content[at + 1 :]
    ),
    "one bit at the end": lambda content, draw: (
        content[: (at := len(content) - draw.randrange(1, 2000))]
        + bytes([content[at] ^ 1 << draw.randrange(8)])
        + content[at + 1 :]
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_counts_as_none_or_gives_the_state_that_was_stored(
    damage: str, tmp_path: Path
) -> None:
    checkpoint, draw = Checkpoint(tmp_path, "trial"), random.Random(0)
    network, optimizer = network_and_optimizer()
    stored = bits(network, optimizer)
    checkpoint.save(network.state_dict(), optimizer.state, HISTORY)
    content = checkpoint.path.read_bytes()
    with torch.no_grad():
        network.get_parameter("fc2.bias").fill_(7.0)
    untouched, ignored = bits(network, optimizer), 0
    for _ in range(60):
        checkpoint.path.write_bytes(DAMAGES[damage](content, draw))
        if checkpoint.restore(network.state_dict(), optimizer.state, 3) == ():
            assert bits(network, optimizer) == untouched
            ignored += 1
        else:  # the damage is in unused bytes, such as a time or padding
            assert bits(network, optimizer) == stored
            with torch.no_grad():
                network.get_parameter("fc2.bias").fill_(7.0)
    assert ignored > 0


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x05\x06" + bytes(18)])
def test_other_files_count_as_no_checkpoint(content: bytes, tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path, "trial")
    checkpoint.path.write_bytes(content)
    assert checkpoint.restore(*fresh_state(), 3) == ()


HISTORIES: dict[str, list[object]] = {
    "none": [],
    "more epochs than the study": [replace(HISTORY[0], epoch=n) for n in (1, 2, 3, 4)],
    "a gap": [replace(HISTORY[0], epoch=n) for n in (1, 3)],
    "text for a number": [replace(HISTORY[0], train_loss="2")],  # type: ignore[arg-type]
    "an accuracy above 1": [replace(HISTORY[0], test_accuracy=25.0)],
}


@pytest.mark.parametrize("history", HISTORIES)
def test_a_checkpoint_of_another_history_is_renamed_and_named(history: str, tmp_path: Path) -> None:
    named: list[Path] = []
    checkpoint = Checkpoint(tmp_path, "trial", named.append)
    network, optimizer = network_and_optimizer()
    checkpoint.save(network.state_dict(), optimizer.state, HISTORIES[history])  # type: ignore[arg-type]
    content = checkpoint.path.read_bytes()
    assert checkpoint.restore(network.state_dict(), optimizer.state, 3) == ()
    assert named == [tmp_path / "trial.pt.corrupt"]
    assert named[0].read_bytes() == content
    assert not checkpoint.path.exists()


def test_another_trials_checkpoint_counts_as_none(tmp_path: Path) -> None:
    other = Checkpoint(tmp_path, "other")
    other.save(*fresh_state(), HISTORY)
    other.path.rename(Checkpoint(tmp_path, "trial").path)
    assert Checkpoint(tmp_path, "trial").restore(*fresh_state(), 3) == ()


def test_a_checkpoint_that_does_not_fit_the_network_counts_as_none(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path, "trial")
    checkpoint.save(*fresh_state(), HISTORY)
    network, _ = build_network("cnn", resolve_activation("relu"), 10, 0)
    assert checkpoint.restore(network.state_dict(), optimizer_of(network).state, 3) == ()


# writing


def test_writing_takes_a_two_hundredth_of_the_time_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 1.0, 1.5, 101.4, 101.6, 101.6, 101.7, 121.6, 121.8])
    monkeypatch.setattr("actbench.store.pace.time.monotonic", lambda: next(clock))
    checkpoint = Checkpoint(tmp_path, "trial")
    assert checkpoint.is_due()
    checkpoint.save(*fresh_state(), HISTORY)  # takes half a second
    assert not checkpoint.is_due()
    assert checkpoint.is_due()
    checkpoint.save(*fresh_state(), HISTORY)  # takes a tenth
    assert not checkpoint.is_due()
    assert checkpoint.is_due()


@pytest.mark.parametrize("step", ["open", "write", "replace"])
def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one_and_names_the_file(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = Checkpoint(tmp_path, "trial")
    checkpoint.save(*fresh_state(), HISTORY)
    before = checkpoint.path.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class Full(io.BytesIO):
        write = fail

    with monkeypatch.context() as patch:
        if step == "write":
            patch.setattr(type(tmp_path), "open", lambda *_: Full())
        else:
            patch.setattr(os, step, fail)
        with pytest.raises(ResultsFolderError, match=r"trial\.pt': No space left on device"):
            checkpoint.save(*fresh_state(), HISTORY)
    assert checkpoint.path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [checkpoint.path]


def test_a_network_whose_state_holds_more_than_tensors_trains_without_a_checkpoint(
    tmp_path: Path,
) -> None:
    class Odd(nn.Linear):
        def get_extra_state(self) -> object:
            return object()

    network, checkpoint = Odd(2, 2), Checkpoint(tmp_path, "trial")
    checkpoint.save(network.state_dict(), optimizer_of(network).state, HISTORY)
    assert not checkpoint.path.exists()
