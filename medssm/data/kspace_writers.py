"""Write reconstructed volumes: HDF5 as fastMRI's tools expect, NIfTI, DICOM where it is honest."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np

from medssm.core.errors import BadArgumentError, BadDataError
from medssm.core.extras import require
from medssm.core.files import atomic_path
from medssm.core.log import warn
from medssm.data.kspace.dicom_writer import check_geometry, write_dicom
from medssm.data.kspace.fastmri_writer import write_fastmri
from medssm.data.kspace.h5_file import open_h5
from medssm.data.kspace.volume import KspaceVolume

Format = Literal["h5", "nifti", "dicom"]
FORMATS: tuple[Format, ...] = ("h5", "nifti", "dicom")
_ARRAYS = ("reconstruction", "reconstruction_complex", "uncertainty")


def write_reconstruction(
    path: Path,
    magnitude: np.ndarray,
    volume: KspaceVolume,
    *,
    complex_image: np.ndarray | None = None,
    uncertainty: np.ndarray | None = None,
    formats: Sequence[str] = ("h5",),
    attributes: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write one volume in every format that is asked for; each file is whole or absent.

    Args:
        path: FOLDER/CASE without an ending.
        magnitude: The images, cropped as the header says.
        volume: Where they come from: geometry and patient.
        complex_image: The same with phase: an array in the HDF5 file, a phase image beside NIfTI.
        uncertainty: Standard deviation a pixel.
        formats: Of "h5", "nifti", "dicom".
        attributes: Facts to keep as attributes of the HDF5 file.

    Returns:
        What was written; for DICOM the folder of the series.

    Shape:
        all images: (S, h, w).

    Raises:
        BadArgumentError: An unknown format, or arrays of different shapes.
        BadDataError: DICOM is asked for and the geometry is unknown.
    """
    images = {
        name: image
        for name, image in zip(_ARRAYS, (magnitude, complex_image, uncertainty), strict=True)
        if image is not None
    }
    check_formats(volume, formats)
    _check(images)
    written: list[Path] = []
    if "h5" in formats:
        written.append(_write_h5(_named(path, ".h5"), images, attributes or {}))
    if "nifti" in formats:
        written += _write_nifti(path, images, volume)
    if "dicom" in formats:
        written.append(write_dicom(_named(path, "_dicom"), magnitude, volume))
    return written


def check_formats(volume: KspaceVolume, formats: Sequence[str]) -> None:
    """Refuse what cannot be written, before anything is computed.

    Raises:
        BadArgumentError: An unknown format.
        BadDataError: DICOM is asked for and the geometry is unknown.
    """
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown or not formats:
        raise BadArgumentError(f"formats {list(formats)}: expected some of {', '.join(FORMATS)}.")
    if "dicom" in formats:
        check_geometry(volume)


def read_reconstruction(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a reconstruction's HDF5 file by name; "reconstruction" is always there.

    Raises:
        BadDataError: The file cannot be read, or is no reconstruction.
    """
    with open_h5(path) as file:
        if "reconstruction" not in file:
            raise BadDataError(
                f"{path}: holds {', '.join(file) or 'nothing'}. Expected a dataset "
                "`reconstruction` (slices, h, w); name a folder that `medssm predict` wrote."
            )
        return {name: np.asarray(file[name]) for name in _ARRAYS if name in file}


def _named(path: Path, ending: str) -> Path:
    # a case may have dots in its name, so with_suffix would cut it
    return path.with_name(path.name + ending)


def _check(images: Mapping[str, np.ndarray]) -> None:
    shapes = {name: image.shape for name, image in images.items()}
    if len(set(shapes.values())) > 1 or images["reconstruction"].ndim != 3:
        raise BadArgumentError(f"shapes {shapes}: expected (slices, h, w) for all of them.")


def _write_h5(path: Path, images: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> Path:
    h5py = require("h5py", "mri")
    types = {"reconstruction_complex": np.complex64}
    with atomic_path(path) as partial, h5py.File(partial, "w") as file:
        for name, image in images.items():
            file.create_dataset(name, data=np.asarray(image, dtype=types.get(name, np.float32)))
        for key, value in attributes.items():
            file.attrs[key] = value if isinstance(value, (int, float, str)) else str(value)
    return path


def _write_nifti(path: Path, images: Mapping[str, np.ndarray], volume: KspaceVolume) -> list[Path]:
    pictures = {"": images["reconstruction"]}
    if "reconstruction_complex" in images:
        pictures["_phase"] = np.angle(images["reconstruction_complex"])
    if "uncertainty" in images:
        pictures["_uncertainty"] = images["uncertainty"]
    if volume.affine is None:
        warn(
            "%s: its position and orientation are unknown; the NIfTI file carries no affine%s.",
            volume.path,
            "" if volume.spacing_mm else " and no voxel size",
        )
    written = []
    for ending, picture in pictures.items():
        voxels = np.ascontiguousarray(np.moveaxis(picture, 0, -1), dtype=np.float32)
        image = nibabel.Nifti1Image(voxels, volume.affine)
        if volume.affine is None and volume.spacing_mm is not None:
            image.header.set_zooms(volume.spacing_mm)
        image.header.set_xyzt_units("mm")
        file = _named(path, f"{ending}.nii.gz")
        with atomic_path(file) as partial:
            nibabel.save(image, partial)
        written.append(file)
    return written


__all__ = [
    "FORMATS",
    "Format",
    "check_formats",
    "read_reconstruction",
    "write_fastmri",
    "write_reconstruction",
]
