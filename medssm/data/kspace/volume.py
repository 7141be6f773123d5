"""A k-space volume: its facts at once, its samples slice by slice."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from medssm.core.errors import BadDataError, UsageError


class SliceSource(Protocol):
    """Where the samples of a volume come from; every call opens the file anew, so it may travel."""

    def read(self, index: int) -> np.ndarray:
        """The samples of one slice, (coils, H, W) complex."""
        ...

    def reference(self, index: int) -> np.ndarray | None:
        """The stored reconstruction of one slice, (h, w), or None."""
        ...


@dataclass(frozen=True)
class KspaceVolume:
    """One file of multi-coil k-space.

    H counts read-out rows and W phase-encode columns, the axis that is undersampled. The centre of
    k-space is at (H // 2, W // 2).

    Args:
        path: The file.
        name: The case: the file's name without its ending.
        layout: Such as "fastmri"; how the file was understood.
        shape: (slices, coils, H, W).
        centred: Whether images come by the centred transform; False as in Calgary-Campinas.
        source: Where samples come from.
        mask: Where samples were acquired, (H, W); None where that is everywhere but in `padding`.
        acs: The fully sampled centre of an undersampled volume, (H, W).
        padding: Never acquired by the protocol: kept zero and out of every mask, (H, W).
        recon_size: Final centre crop (h, w) of images; None keeps them whole.
        spacing_mm: Of the image along (H, W, slices), where the header tells.
        affine: Index (row, column, slice) of the cropped image to RAS mm, where the header tells.
        patient: Who was scanned; the case where the file does not say.
        header: Further facts of the header.
        notes: What a user should know about how the file was understood.
    """

    path: Path
    name: str
    layout: str
    shape: tuple[int, int, int, int]
    centred: bool
    source: SliceSource = field(repr=False, compare=False)
    mask: np.ndarray | None = field(default=None, repr=False, compare=False)
    acs: np.ndarray | None = field(default=None, repr=False, compare=False)
    padding: np.ndarray | None = field(default=None, repr=False, compare=False)
    recon_size: tuple[int, int] | None = None
    spacing_mm: tuple[float, float, float] | None = None
    affine: np.ndarray | None = field(default=None, repr=False, compare=False)
    patient: str = ""
    header: Mapping[str, str | float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def slices(self) -> int:
        """How many slices there are."""
        return self.shape[0]

    @property
    def acceleration(self) -> float:
        """Positions that the protocol could have acquired over positions acquired."""
        return 1.0 if self.mask is None else self.acceleration_of(self.mask)

    def acceleration_of(self, mask: np.ndarray) -> float:
        """The acceleration of a mask on this volume; padding counts as never wanted.

        Shape:
            mask: (H, W) boolean.
        """
        open_positions = mask.size if self.padding is None else (~self.padding).sum()
        return float(open_positions / max(1, mask.sum()))

    @property
    def image_size(self) -> tuple[int, int]:
        """(h, w) of the images that are handed out."""
        return self.recon_size or self.shape[2:]

    def read(self, index: int) -> np.ndarray:
        """The samples of one slice, complex64 (coils, H, W); padding is zero.

        Raises:
            UsageError: There is no such slice.
            BadDataError: Samples are not finite, or cannot be read.
        """
        self._check_index(index)
        kspace = np.ascontiguousarray(self.source.read(index), dtype=np.complex64)
        if kspace.shape != self.shape[1:]:
            raise BadDataError(
                f"{self.path}: slice {index} has the shape {kspace.shape}. Expected (coils, H, W) "
                f"= {self.shape[1:]} as the header says; export the file again."
            )
        finite = np.isfinite(kspace.view(np.float32))
        if not finite.all():
            count = int((~finite).sum())
            raise BadDataError(
                f"{self.path}: slice {index}: {count:,} of {finite.size:,} values are NaN or "
                "infinite. Expected finite samples; export the raw data again, or leave the file "
                "out with --skip-bad."
            )
        if self.padding is not None:
            kspace[:, self.padding] = 0
        return kspace

    def reference(self, index: int) -> np.ndarray | None:
        """The stored reconstruction of one slice, float32 (h, w), or None where there is none.

        Raises:
            UsageError: There is no such slice.
            BadDataError: It is not finite, or cannot be read.
        """
        self._check_index(index)
        image = self.source.reference(index)
        if image is None:
            return None
        image = np.asarray(image, dtype=np.float32)
        if not np.isfinite(image).all():
            raise BadDataError(
                f"{self.path}: the stored reconstruction of slice {index} holds NaN. Expected "
                "finite pixels; delete that dataset from the file or export it again."
            )
        return image

    def _check_index(self, index: int) -> None:
        if not 0 <= index < self.shape[0]:
            raise UsageError(f"{self.path}: no slice {index}; it has 0 to {self.shape[0] - 1}.")
