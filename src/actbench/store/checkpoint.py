"""A trial under way → a file after an epoch, from which it goes on to the same bits."""

from __future__ import annotations

import io
import time
import zipfile
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from actbench.errors import ResultsFolderError, folder_gone
from actbench.files import atomic_write, folder_identity, set_aside
from actbench.store.record import EpochRecord
from actbench.study.plain import from_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import torch


CHECKPOINT_FORMAT = 1
SHARE = 0.005  # so that, with its record, a trial spends less than a hundredth on the store


@dataclass
class Checkpoint:
    """The state of one trial after its last whole epoch: weights, optimiser and history.

    There is no generator in it: each epoch, and the evaluation, begins by seeding all of them.

    Attributes:
        folder: where checkpoints lie; nothing is written once it is not there any more.
        trial_id: the trial; another one's file is never taken.
        when_damaged: is called with the new name of a damaged file that was set aside.
        environment: the id of what it is computed with (see ``environment``); a file that was
            written in another one is not taken, so that all of a trial is computed in one.
    """

    folder: Path
    trial_id: str
    when_damaged: Callable[[Path], None] = lambda _: None
    environment: str = ""
    _due: float = field(default=0, init=False)
    _identity: tuple[int, int] | None = field(init=False)

    def __post_init__(self) -> None:
        self._identity = folder_identity(self.folder)

    def is_due(self) -> bool:
        """Return whether to write it now: writing takes ``SHARE`` of a trial's time at most.

        That is so after the first epoch, and from then on two hundred times as long after the
        last writing as that took: after every epoch, where epochs are longer than that.
        """
        return time.monotonic() >= self._due

    @property
    def path(self) -> Path:
        """The trial's file, there or not."""
        return self.folder / f"{self.trial_id}.pt"

    def save(
        self,
        weights: Mapping[str, object],
        momenta: Sequence[torch.Tensor],
        history: Sequence[EpochRecord],
    ) -> None:
        """Write the state as it is after the last epoch of ``history``, whole or not at all.

        Args:
            weights: the network's ``state_dict()``, whose tensors are its own.
            momenta: the optimizer's, one for each trained parameter.
            history: a record for each epoch.

        It is not waited for until the disk has it: that would cost more than an epoch is worth,
        and what a loss of power damages is found out by ``restore``. A network of the user's own
        that keeps more than tensors in its state has no checkpoint, as only tensors are read back.

        Raises:
            ResultsFolderError: it cannot be written, or its folder is not the one that was there
                when the trial began.
        """
        import torch

        begin = time.monotonic()
        if not all(isinstance(value, torch.Tensor) for value in weights.values()):
            return
        state = {
            "format": CHECKPOINT_FORMAT,
            "trial_id": self.trial_id,
            "environment": self.environment,
            "history": [asdict(epoch) for epoch in history],
            "network": weights,
            "momenta": list(momenta),
        }
        if self._identity is None or folder_identity(self.folder) != self._identity:
            raise folder_gone(self.folder.parent)
        content = io.BytesIO()  # torch.save into a file turns some errors of writing into others
        torch.save(state, content)
        try:
            with atomic_write(self.path, to_disk=False) as file:
                file.write(content.getbuffer())
        except OSError as error:
            reason = error.strerror or str(error)
            raise ResultsFolderError(f"cannot write {str(self.path)!r}: {reason}") from None
        end = time.monotonic()
        self._due = end + (end - begin) / SHARE

    def restore(
        self, weights: Mapping[str, torch.Tensor], momenta: Sequence[torch.Tensor], epochs: int
    ) -> tuple[EpochRecord, ...]:
        """Copy the stored state into ``weights`` and ``momenta``; return the history up to there.

        A file that is damaged, another trial's or does not fit the network or the number of epochs
        is set aside as ``*.corrupt``: then both stay as they are and the history is empty.

        Raises:
            ResultsFolderError: a damaged file cannot be renamed.
        """
        try:
            state = self._read()
            if state["environment"] != self.environment:
                return ()
            here: dict[Any, torch.Tensor] = {**weights, **dict(enumerate(momenta))}
            stored = {**state["network"], **dict(enumerate(state["momenta"]))}
            history = from_plain(tuple[EpochRecord, ...], state["history"])
            numbers = [epoch.epoch for epoch in history]
            fits = (
                numbers == list(range(1, len(numbers) + 1))
                and 1 <= len(numbers) <= epochs
                and _shapes(stored) == _shapes(here)
            )
        except FileNotFoundError:
            return ()
        except Exception:  # what the reader raises for a damaged file has many types
            fits = False
        if not fits:
            try:
                self.when_damaged(set_aside(self.path))
            except OSError as error:
                reason = error.strerror or str(error)
                raise ResultsFolderError(f"cannot rename {str(self.path)!r}: {reason}") from None
            return ()
        for name, value in stored.items():
            here[name].detach().copy_(value)
        return history

    def _read(self) -> dict[str, Any]:
        import torch

        content = self.path.read_bytes()
        # torch.save writes a zip file with checksums that torch.load does not look at
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if archive.testzip() is not None:
                raise ValueError("damaged")
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if (state["format"], state["trial_id"]) != (CHECKPOINT_FORMAT, self.trial_id):
            raise ValueError("another trial's")
        return dict(state)


def _shapes(tensors: Mapping[Any, torch.Tensor]) -> dict[Any, tuple[object, ...]]:
    return {name: (value.shape, value.dtype) for name, value in tensors.items()}
