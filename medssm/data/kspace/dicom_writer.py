"""A reconstruction as a DICOM series: MR images with geometry, and no patient that is made up."""

from pathlib import Path
from typing import Any

import numpy as np

from medssm import __version__
from medssm.core.errors import BadDataError
from medssm.core.extras import require
from medssm.core.files import atomic_path, digest
from medssm.data.kspace.volume import KspaceVolume

_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
_EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
_LARGEST = 65535
# type 2 attributes: present, and empty since nothing is known
_EMPTY = (
    "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber",
    "ReferringPhysicianName", "PositionReferenceIndicator", "ScanOptions", "MRAcquisitionType",
    "RepetitionTime", "EchoTime", "EchoTrainLength", "AcquisitionNumber",
)  # fmt: skip
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])


def write_dicom(folder: Path, magnitude: np.ndarray, volume: KspaceVolume) -> Path:
    """Write one file a slice; the same images give the same identifiers.

    Args:
        folder: Of the series.
        magnitude: The images.
        volume: Where they come from; its geometry must be known.

    Returns:
        The folder.

    Shape:
        magnitude: (S, h, w).

    Raises:
        BadDataError: Spacing, position or orientation are unknown.
        MachineError: The extra `mri` is not installed.
    """
    check_geometry(volume)
    slope = float(magnitude.max()) / _LARGEST or 1.0
    key = digest([volume.name, magnitude.shape, float(magnitude.sum(dtype=np.float64)), slope])
    for index in range(len(magnitude)):
        dataset = _dataset(magnitude[index], index, volume, slope, key)
        with atomic_path(folder / f"{volume.name}_{index + 1:04d}.dcm") as partial:
            dataset.save_as(partial, enforce_file_format=True)
    return folder


def check_geometry(volume: KspaceVolume) -> None:
    """Refuse a volume that DICOM cannot place.

    Raises:
        BadDataError: Spacing, position or orientation are unknown.
    """
    if volume.affine is None or volume.spacing_mm is None:
        raise BadDataError(
            f"{volume.path}: its position and orientation are unknown ({volume.layout}). Expected "
            "both for DICOM, since viewers would place the slices wrongly; take formats=[h5,nifti]"
            + (", or say spacing_mm and affine in CASE.json beside the file."
               if volume.layout in ("npy", "bart") else ".")
        )  # fmt: skip


def _dataset(image: np.ndarray, index: int, volume: KspaceVolume, slope: float, key: str) -> Any:
    require("pydicom", "mri")
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, UID, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(_MR_IMAGE)
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[key, str(index)])
    meta.TransferSyntaxUID = UID(_EXPLICIT_LITTLE)
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    found = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    found.SOPClassUID = meta.MediaStorageSOPClassUID
    found.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    found.StudyInstanceUID = generate_uid(entropy_srcs=[key, "study"])
    found.SeriesInstanceUID = generate_uid(entropy_srcs=[key, "series"])
    found.FrameOfReferenceUID = generate_uid(entropy_srcs=[key, "frame"])
    known = volume.patient if volume.patient != volume.name else ""
    found.PatientID, found.PatientName = known, ""
    for name in _EMPTY:
        setattr(found, name, "")
    found.Modality = "MR"
    # RM: research mode, since headers of k-space do not name the sequence
    found.ScanningSequence, found.SequenceVariant = "RM", "NONE"
    found.Manufacturer = f"medssm {__version__}"
    found.SeriesDescription = f"medssm reconstruction of {volume.name}"[:64]
    found.SeriesNumber, found.InstanceNumber = 1, index + 1
    found.ImageType = ["DERIVED", "PRIMARY", "M"]
    _place(found, index, volume)
    _pixels(found, image, slope)
    return found


def _place(found: Any, index: int, volume: KspaceVolume) -> None:
    assert volume.affine is not None
    assert volume.spacing_mm is not None
    lps = _RAS_TO_LPS @ volume.affine[:3]
    # DICOM's first direction is along a row, that is, over columns
    along = [lps[:, axis] / np.linalg.norm(lps[:, axis]) for axis in (1, 0)]
    position = lps @ np.array([0.0, 0.0, index, 1.0])
    found.ImageOrientationPatient = [_decimal(each) for each in np.concatenate(along)]
    found.ImagePositionPatient = [_decimal(each) for each in position]
    found.PixelSpacing = [_decimal(np.linalg.norm(lps[:, axis])) for axis in (0, 1)]
    found.SliceThickness = _decimal(volume.spacing_mm[2])
    found.SpacingBetweenSlices = _decimal(np.linalg.norm(lps[:, 2]))


def _decimal(value: Any) -> str:
    """A decimal string of at most 16 characters."""
    return f"{float(value):.8g}"


def _pixels(found: Any, image: np.ndarray, slope: float) -> None:
    stored = np.clip(np.rint(image / slope), 0, _LARGEST).astype("<u2")
    found.Rows, found.Columns = stored.shape
    found.SamplesPerPixel, found.PhotometricInterpretation = 1, "MONOCHROME2"
    found.BitsAllocated = found.BitsStored = 16
    found.HighBit, found.PixelRepresentation = 15, 0
    found.RescaleSlope, found.RescaleIntercept, found.RescaleType = _decimal(slope), "0", "US"
    found.WindowCenter, found.WindowWidth = (
        _decimal(float(image.max()) / 2), _decimal(max(float(image.max()), 1e-12))
    )  # fmt: skip
    found.PixelData = stored.tobytes()
