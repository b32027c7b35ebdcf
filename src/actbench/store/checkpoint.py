"""The state of a running trial, saved after an epoch; a resumed trial gives the same bits."""

from __future__ import annotations

import io
import zipfile
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from actbench.errors import ResultsFolderError, folder_gone, reason_of
from actbench.files.atomic import atomic_write, folder_identity, rename_corrupt
from actbench.store.pace import Pace
from actbench.store.record import EpochRecord
from actbench.study.plain import from_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import torch


CHECKPOINT_FORMAT = 2
SHARE = 0.005  # of a trial's time; with its record, storing takes less than 1 %


@dataclass
class Checkpoint:
    """The state of one trial after its last complete epoch.

    That is its weights, its history, and what else changes, such as the optimizer's state.

    It has no generator state, because each epoch and each evaluation seeds all generators.

    Attributes:
        folder: the folder of checkpoints; nothing is written after it was removed.
        trial_id: the trial; files of other trials are not read.
        when_damaged: called with the new name of a damaged file that was renamed.
        environment: the id of the current environment (see ``environment``); a file from another
            one is not used, so that a trial is computed in one environment.
    """

    folder: Path
    trial_id: str
    when_damaged: Callable[[Path], None] = lambda _: None
    environment: str = ""
    _pace: Pace = field(default_factory=lambda: Pace(SHARE), init=False)
    _identity: tuple[int, int] | None = field(init=False)

    def __post_init__(self) -> None:
        self._identity = folder_identity(self.folder)

    def is_due(self) -> bool:
        """Return whether to write now, so that writing takes ``SHARE`` of the time at most.

        True after the first epoch; then see ``Pace``.
        """
        return self._pace.is_due()

    @property
    def path(self) -> Path:
        """The trial's file, whether or not it exists."""
        return self.folder / f"{self.trial_id}.pt"

    def save(
        self,
        weights: Mapping[str, object],
        state: Sequence[torch.Tensor],
        history: Sequence[EpochRecord],
    ) -> None:
        """Write the state after the last epoch of ``history``, atomically.

        Args:
            weights: the network's ``state_dict()``.
            state: what else changes during training: the optimizer's state, selected weights.
            history: a record for each epoch.

        The file is not flushed to disk, which may cost more than an epoch; ``restore`` detects what
        a loss of power damages. A user's network with other values than tensors in its state gets
        no checkpoint, since only tensors are read back.

        Raises:
            ResultsFolderError: it cannot be written, or its folder was replaced since the trial
                began.
        """
        import torch

        if not all(isinstance(value, torch.Tensor) for value in weights.values()):
            return
        content = {
            "format": CHECKPOINT_FORMAT,
            "trial_id": self.trial_id,
            "environment": self.environment,
            "history": [asdict(epoch) for epoch in history],
            "network": weights,
            "state": list(state),
        }
        if self._identity is None or folder_identity(self.folder) != self._identity:
            raise folder_gone(self.folder.parent)
        with self._pace.writing():
            buffer = io.BytesIO()  # torch.save changes the type of some errors of a file
            torch.save(content, buffer)
            try:
                with atomic_write(self.path, to_disk=False) as file:
                    file.write(buffer.getbuffer())
            except OSError as error:
                raise ResultsFolderError(
                    f"cannot write {str(self.path)!r}: {reason_of(error)}"
                ) from None

    def restore(
        self, weights: Mapping[str, torch.Tensor], state: Sequence[torch.Tensor], epochs: int
    ) -> tuple[EpochRecord, ...]:
        """Copy the stored state into ``weights`` and ``state``; return the history so far.

        A file that is damaged, of another trial, or of another network or number of epochs is
        renamed to ``*.corrupt``; then ``weights`` and ``state`` do not change and the history is
        empty.

        Raises:
            ResultsFolderError: a damaged file cannot be renamed.
        """
        try:
            content = self._read()
            if content["environment"] != self.environment:
                return ()
            here: dict[Any, torch.Tensor] = {**weights, **dict(enumerate(state))}
            stored = {**content["network"], **dict(enumerate(content["state"]))}
            history = from_plain(tuple[EpochRecord, ...], content["history"])
            numbers = [epoch.epoch for epoch in history]
            fits = (
                numbers == list(range(1, len(numbers) + 1))
                and 1 <= len(numbers) <= epochs
                and _shapes(stored) == _shapes(here)
            )
        except FileNotFoundError:
            return ()
        except Exception:  # damaged files raise many types
            fits = False
        if not fits:
            try:
                self.when_damaged(rename_corrupt(self.path))
            except OSError as error:
                raise ResultsFolderError(
                    f"cannot rename {str(self.path)!r}: {reason_of(error)}"
                ) from None
            return ()
        for name, value in stored.items():
            here[name].detach().copy_(value)
        return history

    def _read(self) -> dict[str, Any]:
        import torch

        content = self.path.read_bytes()
        # torch.save writes a zip file with checksums, which torch.load ignores
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if archive.testzip() is not None:
                raise ValueError("damaged")
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if (state["format"], state["trial_id"]) != (CHECKPOINT_FORMAT, self.trial_id):
            raise ValueError("of another trial")
        return dict(state)


def _shapes(tensors: Mapping[Any, torch.Tensor]) -> dict[Any, tuple[object, ...]]:
    return {name: (value.shape, value.dtype) for name, value in tensors.items()}
