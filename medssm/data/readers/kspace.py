"""Open k-space of any layout we read: fastMRI, Calgary-Campinas, raw ISMRMRD, BART, NumPy."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from medssm.core.errors import BadDataError
from medssm.core.files import is_temporary
from medssm.data.kspace.array import open_array
from medssm.data.kspace.calgary_campinas import open_calgary_campinas
from medssm.data.kspace.cfl import open_cfl
from medssm.data.kspace.fastmri import open_fastmri
from medssm.data.kspace.h5_file import open_h5
from medssm.data.kspace.raw_ismrmrd import open_raw, raw_group
from medssm.data.kspace.volume import KspaceVolume
from medssm.data.readers.size import check_memory

_H5 = (".h5", ".hdf5", ".mrd")
KSPACE_ENDINGS = (*_H5, ".npy", ".cfl")
_LAYOUTS = (
    "kspace (slices, coils, H, W) complex as fastMRI, kspace (slices, H, W, 2 coils) real as "
    "Calgary-Campinas, or a group with xml and data as ISMRMRD"
)


def kspace_files(place: Path) -> list[Path]:
    """The k-space files of a folder and its sub-folders, sorted; unfinished writes are left out.

    Args:
        place: A folder, or one file.

    Raises:
        BadDataError: There is none.
    """
    place = Path(place)
    if place.is_file() or not place.is_dir():
        if place.suffix.lower() not in KSPACE_ENDINGS or not place.is_file():
            raise BadDataError(
                f"{place}: no k-space file. Expected one that ends with {_endings()}."
            )
        return [place]
    found = sorted(
        path
        for path in place.rglob("*")
        if path.suffix.lower() in KSPACE_ENDINGS
        and not is_temporary(path)
        and not path.name.startswith(".")
        and path.is_file()
    )
    if not found:
        raise BadDataError(f"{place}: no k-space files. Expected some that end with {_endings()}.")
    return found


def _endings() -> str:
    return ", ".join(KSPACE_ENDINGS)


def open_kspace(path: Path) -> KspaceVolume:
    """Understand a file; its samples are read later, slice by slice.

    Of a file with holes all slices are looked through once, to find what was sampled.

    Raises:
        BadDataError: Unknown layout, damaged, contradictory, or several coils without a
            calibration area; the message names the file and the remedy.
        MachineError: The extra `mri` is not installed.
    """
    path = Path(path).absolute()
    if not path.is_file():
        raise BadDataError(f"{path}: the file does not exist.")
    facts = path.stat()
    return _open(path, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=32)
def _open(path: Path, changed: int, size: int) -> KspaceVolume:  # noqa: ARG001 - of the key
    ending = path.suffix.lower()
    if ending == ".npy":
        volume = open_array(path)
    elif ending == ".cfl":
        volume = open_cfl(path)
    elif ending in _H5:
        with open_h5(path) as file:
            volume = _open_h5(path, file)
    else:
        raise BadDataError(f"{path}: no k-space file. Expected one that ends with {_endings()}.")
    _check_shape(volume)
    return volume


def _open_h5(path: Path, file: Any) -> KspaceVolume:
    group = raw_group(file)
    if group is not None:
        return open_raw(path, file, group)
    if "kspace" not in file:
        raise BadDataError(f"{path}: holds {', '.join(file) or 'nothing'}. Expected {_LAYOUTS}.")
    kspace = file["kspace"]
    if not hasattr(kspace, "dtype"):
        raise BadDataError(f"{path}: kspace is a group. Expected a dataset, {_LAYOUTS}.")
    # slices are read one by one
    check_memory(path, kspace.shape[1:], kspace.dtype.itemsize)
    if np.issubdtype(kspace.dtype, np.complexfloating) and kspace.ndim in (3, 4):
        return open_fastmri(path, file)
    if np.issubdtype(kspace.dtype, np.floating) and kspace.ndim == 4:
        return open_calgary_campinas(path, file)
    raise BadDataError(
        f"{path}: kspace is {kspace.dtype} of shape {kspace.shape}. Expected {_LAYOUTS}."
    )


def _check_shape(volume: KspaceVolume) -> None:
    if min(volume.shape) < 1 or min(volume.shape[2:]) < 8:
        raise BadDataError(
            f"{volume.path}: (slices, coils, H, W) = {volume.shape}. Expected at least one slice, "
            "one coil and 8 × 8 samples."
        )
    if volume.mask is not None and not volume.mask.any():
        raise BadDataError(
            f"{volume.path}: all samples are zero. Expected measured k-space; export the raw data "
            "again, or leave the file out with --skip-bad."
        )
    if volume.acs is not None and not volume.acs.any() and volume.shape[1] > 1:
        centre = f"({volume.shape[2] // 2}, {volume.shape[3] // 2})"
        raise BadDataError(
            f"{volume.path}: undersampled {volume.acceleration:.1f}-fold, and its centre {centre} "
            "is not fully sampled over 4 rows and columns, so coil sensitivities cannot be "
            "estimated. Expected a calibration area; acquire one, or give the position of the "
            "centre in the header's encodingLimits."
        )


__all__ = ["KSPACE_ENDINGS", "KspaceVolume", "kspace_files", "open_kspace"]
