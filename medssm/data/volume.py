"""A volume and its header: voxels with a place in the patient, in millimetres."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Header:
    """What a file says of itself before any voxel is read.

    Args:
        shape: Voxels along (x, y, z) as stored; for a picture (x, y).
        spacing_mm: Distance of voxels along the same axes.
        affine: Voxel index to patient coordinates in mm, 4x4 (RAS); None for pictures.
        dtype: Type of a voxel, e.g. "int16".
        samples: Values a voxel (colours, vector components).
        warnings: Oddities that do not forbid the file.
    """

    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    affine: np.ndarray | None
    dtype: str
    samples: int = 1
    warnings: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        """Channels that the file holds: the colours of a picture, one of anything else."""
        return self.samples if self.affine is None else 1


class Reader(Protocol):
    """A file format."""

    def header(self, path: Path) -> Header:
        """Read the header only.

        Raises:
            BadDataError: It is damaged or claims what cannot be.
        """

    def array(self, path: Path) -> np.ndarray:
        """Read all voxels, having made sure that the file is complete.

        Returns:
            Voxels in stored order (x, y, z), scaled as the header says.

        Raises:
            BadDataError: The file is cut off or damaged.
        """
