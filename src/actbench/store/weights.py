"""The trained weights of a trial, in a file of the safetensors format."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from actbench.errors import ResultsFolderError, folder_gone, reason_of
from actbench.files.atomic import atomic_write, folder_identity, rename_corrupt

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

WEIGHTS_FOLDER = "weights"


class UnusableWeightsError(Exception):
    """There are no weights, or others than those that were stored; the message says which."""


class DamagedWeightsError(UnusableWeightsError):
    """The file of the weights is not the one that was stored."""


@dataclass
class Weights:
    """The file of one trial's trained weights.

    ``safetensors.torch.load_file`` reads it: a tensor for each entry of the network's state, under
    the same name.

    Attributes:
        folder: the folder of weights; nothing is written after it was removed.
        trial_id: the trial.
    """

    folder: Path
    trial_id: str
    _identity: tuple[int, int] | None = field(init=False)

    def __post_init__(self) -> None:
        self._identity = folder_identity(self.folder)

    @property
    def path(self) -> Path:
        """The trial's file, whether or not it exists."""
        return self.folder / f"{self.trial_id}.safetensors"

    def save(self, content: bytes) -> None:
        """Write the file, atomically; ``content`` is what ``weights_content`` returned.

        It is not flushed to disk; ``load`` detects what a loss of power damages.

        Raises:
            ResultsFolderError: it cannot be written, or its folder was replaced.
        """
        if self._identity is None or folder_identity(self.folder) != self._identity:
            raise folder_gone(self.folder.parent)
        try:
            with atomic_write(self.path, to_disk=False) as file:
                file.write(content)
        except OSError as error:
            raise ResultsFolderError(
                f"cannot write {str(self.path)!r}: {reason_of(error)}"
            ) from None

    def load(self, checksum: str) -> dict[str, torch.Tensor]:
        """Return the stored tensors by name, on the CPU.

        Args:
            checksum: that of the file's content (``checksum_of``), as it was stored.

        Raises:
            DamagedWeightsError: the file has another checksum.
            UnusableWeightsError: there is no such file, or no weights are stored.
            ResultsFolderError: the file cannot be read.
        """
        from safetensors.torch import load

        if not checksum:
            raise UnusableWeightsError("its weights could not be stored")
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            raise UnusableWeightsError(f"its weights {str(self.path)!r} are missing") from None
        except OSError as error:
            raise ResultsFolderError(
                f"cannot read {str(self.path)!r}: {reason_of(error)}"
            ) from None
        if checksum_of(content) != checksum:
            raise DamagedWeightsError(
                f"its weights {str(self.path)!r} are damaged or of another network"
            )
        return load(content)

    def mark_corrupt(self) -> Path:
        """Rename the file to ``*.corrupt`` and return the new name.

        Raises:
            ResultsFolderError: it cannot be renamed.
        """
        try:
            return rename_corrupt(self.path)
        except OSError as error:
            raise ResultsFolderError(
                f"cannot rename {str(self.path)!r}: {reason_of(error)}"
            ) from None


def weights_content(state: Mapping[str, object]) -> bytes | None:
    """Return a network's ``state_dict`` as the content of a safetensors file.

    Tensors that share memory, such as tied weights, are written each, and all are contiguous.

    Returns:
        None if a value is no tensor, or a tensor of a kind that the format has not, such as a
        sparse one.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save

    tensors = {}
    for name, value in state.items():
        if not isinstance(value, torch.Tensor) or value.layout != torch.strided:
            return None
        plain = value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        tensors[name] = plain
    try:
        return save(tensors)
    except (SafetensorError, KeyError, ValueError):  # a type that the format has not
        return None


def checksum_of(content: bytes) -> str:
    """Return ``sha256:`` and the SHA-256 of a file's content."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
