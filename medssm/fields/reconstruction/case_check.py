"""One file of a data set, checked: its facts for the plan, or what is wrong with it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medssm.core.errors import BadDataError, MedssmError
from medssm.data.findings import Finding
from medssm.data.kspace.sampling import acs_size
from medssm.data.kspace.volume import KspaceVolume
from medssm.data.readers.kspace import open_kspace

Scan = Literal["all", "probe"]


@dataclass(frozen=True)
class CasePlan:
    """What the plan knows of one case.

    Args:
        path: Its file.
        layout: How the file was understood.
        shape: (slices, coils, H, W).
        sampling: Whether all that the protocol allows was acquired.
        acceleration: Positions that could be acquired over positions acquired.
        acs: Rows and columns of the fully sampled centre of an undersampled case.
        padding: Columns at the left and right edge that are never acquired.
        recon_size: Final centre crop of images.
        centred: Whether images come by the centred transform.
        patient: Who was scanned.
        scale: 99th percentile of the zero-filled root-sum-of-squares image of the middle slice.
        reference: Whether the file holds a reconstruction.
        spacing_mm: Of images along (H, W, slices), where known.
        geometry: Whether the position in the patient is known.
        notes: What a user should know about how the file was understood.
    """

    path: str
    layout: str
    shape: tuple[int, int, int, int]
    sampling: Literal["full", "undersampled"]
    acceleration: float
    acs: tuple[int, int] | None
    padding: tuple[int, int]
    recon_size: tuple[int, int] | None
    centred: bool
    patient: str
    scale: float
    reference: bool
    spacing_mm: tuple[float, float, float] | None
    geometry: bool
    notes: tuple[str, ...]


def check_case(name: str, path: Path, scan: Scan) -> CasePlan | Finding:
    """Open a file, read slices of it, and say what it is or what is wrong.

    Args:
        name: The case.
        path: Its file.
        scan: All slices, or the first, middle and last.
    """
    try:
        volume = open_kspace(path)
        check_slices(volume, scan)
        return _facts(volume)
    except MedssmError as error:
        # the machine is at fault for all files alike
        if not isinstance(error, BadDataError):
            raise
        text = str(error).removeprefix(f"{path}: ")
        found, _, rest = text.partition(" Expected ")
        expected, _, remedy = rest.partition("; ")
        return Finding(
            name, str(path), "unusable", "error", found.rstrip("."), expected or "a whole file",
            remedy or "mend the file, or leave it out with --skip-bad",
        )  # fmt: skip


def check_slices(volume: KspaceVolume, scan: Scan) -> None:
    """Read slices, so that what cannot be used is known before anything is begun.

    Raises:
        BadDataError: Samples are not finite or cannot be read, or all are zero.
    """
    last = volume.slices - 1
    chosen = range(volume.slices) if scan == "all" else sorted({0, volume.slices // 2, last})
    anything = False
    for index in chosen:
        anything |= bool(volume.read(index).any())
        volume.reference(index)
    if not anything:
        raise BadDataError(
            f"{volume.path}: all samples are zero. Expected measured k-space; export the raw data "
            "again, or leave the file out with --skip-bad."
        )


def _facts(volume: KspaceVolume) -> CasePlan:
    acs = None if volume.acs is None else acs_size(volume.acs)
    return CasePlan(
        path=str(volume.path),
        layout=volume.layout,
        shape=volume.shape,
        sampling="full" if volume.mask is None else "undersampled",
        acceleration=round(volume.acceleration, 4),
        acs=acs,
        padding=_edges(volume.padding),
        recon_size=volume.recon_size,
        centred=volume.centred,
        patient=volume.patient or volume.name,
        scale=_scale(volume),
        reference=volume.reference(volume.slices // 2) is not None,
        spacing_mm=volume.spacing_mm,
        geometry=volume.affine is not None,
        notes=volume.notes,
    )


def _edges(padding: np.ndarray | None) -> tuple[int, int]:
    """How many columns at each edge are padding."""
    if padding is None:
        return 0, 0
    inside = np.flatnonzero(~padding.all(axis=0))
    if not inside.size:
        return padding.shape[1], 0
    return int(inside[0]), int(padding.shape[1] - 1 - inside[-1])


def _scale(volume: KspaceVolume) -> float:
    # shifts move pixels and phases, which a percentile of magnitudes does not see
    images = np.fft.ifft2(volume.read(volume.slices // 2), norm="ortho")
    rss = np.sqrt((np.abs(images) ** 2).sum(axis=0))
    return float(np.percentile(rss, 99))


def case_of(content: dict[str, Any]) -> CasePlan:
    """A case as JSON keeps it."""
    tuples = ("shape", "acs", "padding", "recon_size", "spacing_mm", "notes")
    values: dict[str, Any] = {
        key: tuple(value) if key in tuples and value is not None else value
        for key, value in content.items()
    }
    return CasePlan(**values)
