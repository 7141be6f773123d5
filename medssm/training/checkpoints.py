"""Checkpoints that are data, whole or absent, with the one before kept as a fall-back."""

import hashlib
import io
import os
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from medssm.core.errors import BadDataError, MachineError
from medssm.core.files import atomic_path, sync_folder, write_bytes
from medssm.core.log import warn

LATEST, PREVIOUS = "checkpoint_latest.pt", "checkpoint_previous.pt"
BEST, FINAL = "checkpoint_best.pt", "checkpoint_final.pt"
WEIGHTS, WEIGHTS_BEST = "weights.safetensors", "weights_best.safetensors"


class CheckpointFiles(CheckpointIO):
    """Writes and reads the checkpoints of one folder for Lightning.

    A write goes to a temporary name, is synced, read back and compared, and only then takes the
    place of the latest, which becomes the previous.

    Args:
        folder: Where the checkpoints lie.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self._read: dict[str, Any] | None = None

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a checkpoint whole, keeping the one before.

        Raises:
            MachineError: The disk refused it, or gave back other bytes than were written.
        """
        del storage_options
        path = Path(path)
        buffer = io.BytesIO()
        torch.save(_plain(checkpoint), buffer)
        content = buffer.getbuffer()
        try:
            with atomic_path(path) as partial:
                partial.write_bytes(content)
                _check_written(partial, hashlib.sha256(content).hexdigest())
                if path.name == LATEST and path.exists():
                    link(path, path.with_name(PREVIOUS))
        except OSError as error:
            raise MachineError(
                f"{path}: the checkpoint of {len(content) / 1e6:.0f} MB could not be written "
                f"({error}). The one before still stands; free space and run the command again."
            ) from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Hand Lightning the checkpoint that `last` has read."""
        del map_location, weights_only
        if self._read is None:
            return read_checkpoint(Path(path))
        checkpoint, self._read = self._read, None
        return checkpoint

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint."""
        Path(path).unlink(missing_ok=True)

    def last(self) -> dict[str, Any] | None:
        """Read the newest checkpoint that is whole.

        Returns:
            The checkpoint, or None when the run has none yet.

        Raises:
            BadDataError: There are checkpoints, but none can be read.
        """
        present = [path for name in (LATEST, PREVIOUS) if (path := self.folder / name).exists()]
        for path in present:
            try:
                self._read = read_checkpoint(path)
            except BadDataError as error:
                warn("%s Trying the one before.", error)
            else:
                return self._read
        if present:
            raise BadDataError(
                f"{self.folder}: no checkpoint can be read ({', '.join(p.name for p in present)}). "
                "Start over with trainer.resume=false, or give another run name with run=NAME."
            )
        return None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint after its checksums, tensors and plain data only.

    Raises:
        BadDataError: It is missing, cut, changed, or holds more than data.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise BadDataError(f"{path}: damaged, the checksum of {damaged} does not fit.")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except BadDataError:
        raise
    except Exception as error:
        # zipfile and torch answer damage with a dozen kinds of error
        raise BadDataError(f"{path}: not a whole checkpoint ({error}).") from error
    if not isinstance(content, dict):
        raise BadDataError(f"{path}: expected a checkpoint, found {type(content).__name__}.")
    return content


def link(source: Path, target: Path) -> None:
    """Give a finished file a second name at once; checkpoints are replaced, never changed."""
    partial = target.with_name(f".medssm-partial-{os.getpid():08x}-{target.name}")
    with suppress(FileNotFoundError):
        partial.unlink()
    try:
        os.link(source, partial)
    except OSError:
        # file systems without hard links
        partial.write_bytes(source.read_bytes())
    partial.replace(target)
    sync_folder(target.parent)


def write_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write a state dict as safetensors in float32, whole or not at all."""
    plain = {
        name: (tensor.float() if tensor.is_floating_point() else tensor).cpu().contiguous()
        for name, tensor in weights.items()
    }
    write_bytes(path, safetensors_bytes(plain))


def _check_written(path: Path, expected: str) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != expected:
        raise MachineError(
            f"{path.parent}: the disk gave back other bytes than were written. "
            "Check the disk; the checkpoint before this one still stands."
        )


def _plain(value: Any) -> Any:
    """Reduce to tensors, numbers, text, lists and dicts, which weights_only=True reads."""
    if isinstance(value, Mapping):
        return {_plain(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, (Tensor, bool, int, float, str)):
        return value.detach().cpu() if isinstance(value, Tensor) else value
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} is no plain data; a checkpoint cannot hold it")
