"""One volume as a job: prepared, written, and its outcome told to the ledger, by any worker."""

import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medssm.core.errors import BadDataError, MachineError
from medssm.core.files import read_json, write_json
from medssm.data.reasons import Reason
from medssm.data.volume_files import volume_file, write_volume
from medssm.fields.pretraining.archive_config import PrepareConfig
from medssm.fields.pretraining.image_files import NotAVolumeError
from medssm.fields.pretraining.ledger import Ledger, LedgerRow
from medssm.fields.pretraining.prepare import prepare
from medssm.fields.pretraining.selection import VolumeSpec


@dataclass(frozen=True)
class VolumeJob:
    """One volume to prepare; the sidecar, written last, makes it count as done.

    Args:
        spec: The volume.
        source: The archive's folder.
        store: Where volumes go.
        ledger: The folder of the ledger's parts.
        config: The recipe.
        modality: "CT" or "any".
        attempt: Counted from 1.
    """

    spec: VolumeSpec
    source: Path
    store: Path
    ledger: Path
    config: PrepareConfig
    modality: str
    attempt: int = 1

    @property
    def name(self) -> str:
        """The volume."""
        return self.spec.id

    @property
    def recipe(self) -> str:
        """What decides the content."""
        return self.config.recipe(self.modality)

    def run(self) -> None:
        """Prepare, write, and tell the ledger.

        Raises:
            MachineError: The disk is full, or a package is missing: no fault of the volume.
        """
        start = time.monotonic()
        if self.config.backend == "process":
            _limit_memory(self.config.memory_limit_gb)
        try:
            voxels, record = prepare(self.spec, self.source, self.config, self.modality)
        except NotAVolumeError as error:
            row = self.row("rejected", error.reason, str(error))
        except MemoryError:
            row = self.row("quarantined", Reason.FAILED, "out of memory")
        except BadDataError as error:
            row = self.row("rejected", Reason.UNDECODABLE, _bare(error))
        else:
            self._write(voxels, record)
            row = self.row("stored", "", " ".join(record["flags"]))
        Ledger(self.ledger).append([row], self.attempt, time.monotonic() - start)

    def row(self, status: Any, reason: str, detail: str) -> LedgerRow:
        """A row of this volume."""
        return LedgerRow(self.spec.id, "prepare", self.recipe, status, str(reason), detail)

    def _write(self, voxels: np.ndarray, record: dict[str, Any]) -> None:
        file = volume_file(self.store, self.spec.id)
        sidecar = file.with_suffix(".json")
        # an older record must not vouch for a file that is being replaced
        sidecar.unlink(missing_ok=True)
        try:
            write_volume(file, voxels, self.config.codec)
            record |= {"recipe": self.recipe, "bytes": file.stat().st_size}
            write_json(sidecar, record)
        except (OSError, RuntimeError) as error:
            raise MachineError(
                f"{file}: cannot be written ({type(error).__name__}: {error}). Look at the free "
                "space and the rights of the folder, then run the same command again."
            ) from error


def is_stored(spec: VolumeSpec, store: Path, recipe: str) -> bool:
    """Whether the store holds a volume by this recipe, as long as it was written."""
    file = volume_file(store, spec.id)
    sidecar = file.with_suffix(".json")
    if not sidecar.is_file() or not file.is_file():
        return False
    try:
        record = read_json(sidecar)
        return bool(record["recipe"] == recipe and record["bytes"] == file.stat().st_size)
    except (BadDataError, KeyError, TypeError):
        return False


def _bare(error: BadDataError) -> str:
    """A message without the path at its head, which may hold a name."""
    text = str(error)
    _, colon, rest = text.partition(": ")
    return rest if colon and ("/" in text.partition(": ")[0] or "::" in text) else text


def _limit_memory(gigabytes: float | None) -> None:
    if gigabytes is not None and not sys.platform.startswith("darwin"):
        bound = int(gigabytes * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (bound, resource.RLIM_INFINITY))
