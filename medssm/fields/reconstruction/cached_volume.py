"""A volume whose slices come from the copy that the preprocessing made of a slow file."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medssm.data.kspace.array import map_array
from medssm.data.kspace.volume import KspaceVolume
from medssm.data.readers.kspace import open_kspace


@dataclass(frozen=True)
class CachedSource:
    """Slices of the copy; references stay where they were.

    Args:
        path: The copy, (S, C, H, W).
        original: What it is a copy of.
    """

    path: Path
    original: KspaceVolume

    def read(self, index: int) -> np.ndarray:
        """Samples of a slice."""
        return np.array(map_array(self.path)[index])

    def reference(self, index: int) -> np.ndarray | None:
        """The stored reconstruction of a slice."""
        return self.original.source.reference(index)


def open_volume(path: Path, copy: Path | None) -> KspaceVolume:
    """Open a file of k-space, its samples from a copy where there is one.

    Raises:
        BadDataError: As `open_kspace`.
    """
    volume = open_kspace(path)
    return volume if copy is None else replace(volume, source=CachedSource(copy, volume))
