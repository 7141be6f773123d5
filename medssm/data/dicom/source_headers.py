"""Headers of source images, mended so that an object that refers to them can be written."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from medssm.core.errors import BadDataError
from medssm.core.extras import require
from medssm.data.dicom.headers import EXTRA, is_dicom
from medssm.data.dicom.silence import quiet
from medssm.data.dicom.stacks import Slot

# type 2: must be there, may be empty
_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
    "StudyDate", "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
_SEXES = ("", "M", "F", "O")


def source_headers(slots: Sequence[Slot], content_of: Callable[[str], bytes]) -> list[Any]:
    """The data sets of the files of some planes, without pixels, each file once.

    Empty and invalid values of patient and study are made valid, UIDs that de-identification took
    away are made up from those of the instances, and all share the direction of the first plane.

    Args:
        slots: The planes.
        content_of: The bytes of a file by its place.

    Raises:
        BadDataError: An instance has no UID, so that nothing can refer to it.
    """
    pydicom = require("pydicom", EXTRA)
    found: dict[str, Any] = {}
    for slot in slots:
        place = slot.header.place
        if place not in found:
            content = content_of(place)
            with quiet():
                found[place] = pydicom.dcmread(
                    io.BytesIO(content), stop_before_pixels=True, force=not is_dicom(content)
                )
            found[place].SOPInstanceUID = slot.header.sop
            found[place].SOPClassUID = slot.header.sop_class
    headers = list(found.values())
    if any(not each.SOPInstanceUID for each in headers):
        raise BadDataError(
            "an instance has no SOPInstanceUID, so that no DICOM object can refer to it. Export "
            "the series again, or go without objects: dicom=[]"
        )
    _fill_uids(headers)
    for each in headers:
        _mend(each, slots[0], _distance(slots))
    return headers


def _distance(slots: Sequence[Slot]) -> float:
    """Of neighbouring planes, mm; a stand-in for a thickness that is not told."""
    places = np.array([slot.plane.position for slot in slots], dtype=float)
    return float(np.median(np.linalg.norm(np.diff(places, axis=0), axis=1)))


def _fill_uids(headers: Sequence[Any]) -> None:
    generate = require("pydicom.uid", EXTRA).generate_uid
    instances = sorted(str(each.SOPInstanceUID) for each in headers)
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        if not headers[0].get(name):
            made = generate(entropy_srcs=[name, *instances])
            for each in headers:
                setattr(each, name, made)


def _mend(header: Any, first: Slot, distance_mm: float) -> None:
    valuerep = require("pydicom.valuerep", EXTRA)
    with quiet():
        header.decode()
    # holds the names of patients and of labels alike
    header.SpecificCharacterSet = "ISO_IR 192"
    for name in _EMPTY:
        if header.get(name) is None:
            setattr(header, name, "")
    if header.PatientSex not in _SEXES:
        header.PatientSex = ""
    dated = (
        ("PatientBirthDate", valuerep.DA), ("StudyDate", valuerep.DA), ("StudyTime", valuerep.TM),
    )  # fmt: skip
    for name, kind in dated:
        try:
            kind(header.get(name))
        except (ValueError, TypeError):
            setattr(header, name, "")
    orientation = list(first.plane.orientation or ())
    if len(first.header.planes) == 1:
        header.ImageOrientationPatient = orientation
        if header.get("SliceThickness") is None:
            header.SliceThickness = f"{distance_mm:.8g}"
        return
    _share(header, first, orientation, distance_mm)


def _share(header: Any, first: Slot, orientation: list[float], distance_mm: float) -> None:
    """Say for all frames what the frames of the volume have in common."""
    dataset = require("pydicom.dataset", EXTRA).Dataset
    groups = header.get("SharedFunctionalGroupsSequence")
    shared = groups[0] if groups else dataset()
    direction, measures = dataset(), dataset()
    direction.ImageOrientationPatient = orientation
    measures.PixelSpacing = list(first.plane.spacing_mm or ())
    thickness = _thickness(shared, header)
    measures.SliceThickness = f"{thickness or distance_mm:.8g}"
    shared.PlaneOrientationSequence = [direction]
    shared.PixelMeasuresSequence = [measures]
    header.SharedFunctionalGroupsSequence = [shared]


def _thickness(shared: Any, header: Any) -> float | None:
    frames = header.PerFrameFunctionalGroupsSequence
    for owner in (shared, frames[0]):
        if owner.get("PixelMeasuresSequence"):
            value = owner.PixelMeasuresSequence[0].get("SliceThickness")
            return None if value is None else float(value)
    return None
