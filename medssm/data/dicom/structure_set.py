"""RTSTRUCT: the outlines of labels in patient coordinates, a closed polygon a slice."""

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from medssm.core.extras import require
from medssm.core.files import atomic_path
from medssm.data.dicom.codes import coded_term
from medssm.data.dicom.contours import outlines
from medssm.data.dicom.headers import EXTRA, blake
from medssm.data.dicom.segmentation_object import (
    Author,
    colour,
    instances_of,
    require_one_file,
    series_number,
    without_value_checks,
)
from medssm.data.dicom.silence import quiet
from medssm.data.dicom.source_grid import SourcePlanes
from medssm.data.dicom.stacks import Slot

_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
# retired as a class of its own, and what RT objects still name a study by
_STUDY = "1.2.840.10008.3.1.2.3.1"
_COPIED = (
    "SpecificCharacterSet", "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber",
    "ReferringPhysicianName", "StudyDescription", "FrameOfReferenceUID",
)  # fmt: skip


def write_structures(
    path: Path,
    planes: SourcePlanes,
    sources: Sequence[Any],
    segments: Mapping[str, Sequence[int]],
    author: Author,
) -> bool:
    """Write the outlines of labels, whole or not at all.

    Args:
        path: The file.
        planes: Labels at the pixels of the source images.
        sources: Headers of the source images, as `source_headers` gives them.
        segments: Name of every structure to the label values in it.
        author: What made the labels.

    Returns:
        Whether a structure was found; a structure set without any is not allowed, so none is
        written.

    Raises:
        BadDataError: The volume spreads over several files of several frames.
        MachineError: The extra `dicom` is missing.

    Source:
        DICOM PS3.3 A.19, C.8.8.5, C.8.8.6 and C.8.8.8.
    """
    require_one_file(planes, sources)
    contours = _contours(planes, segments)
    if not any(contours.values()):
        return False
    with quiet(), without_value_checks():
        made = _frame(sources[0], [author.model, author.version, *instances_of(sources)], contours)
        made.Manufacturer, made.ManufacturerModelName = "medssm", author.name
        made.SoftwareVersions = author.version
        made.SeriesDescription = f"medssm structures ({author.name})"[:64]
        made.StructureSetDescription = f"{author.name}, medssm {author.version}, not reviewed"[
            :1024
        ]
        made.ReferencedFrameOfReferenceSequence = [_references(sources)]
        _add_structures(made, list(segments), contours, author)
        with atomic_path(path) as partial:
            made.save_as(partial, enforce_file_format=True)
    return True


def _contours(
    planes: SourcePlanes, segments: Mapping[str, Sequence[int]]
) -> dict[str, list[tuple[Slot, np.ndarray]]]:
    """Of every segment slot and corners in patient coordinates (LPS, mm), an outline each."""
    found: dict[str, list[tuple[Slot, np.ndarray]]] = {name: [] for name in segments}
    for slot, labels in zip(planes.slots, planes.labels, strict=True):
        to_patient = _plane_matrix(slot)
        # the box of every value: most labels are a small part of a slice
        boxes = ndimage.find_objects(labels.astype(np.int32))
        for name, values in segments.items():
            box = _around([boxes[v - 1] for v in values if 0 < v <= len(boxes) and boxes[v - 1]])
            if box is None:
                continue
            start = (box[1].start, box[0].start)
            for corners in outlines(np.isin(labels[box], list(values))):
                flat = np.column_stack([corners + start, np.ones(len(corners))])
                found[name].append((slot, flat @ to_patient.T))
    return found


def _around(boxes: Sequence[tuple[slice, ...]]) -> tuple[slice, slice] | None:
    """The box around boxes of rows and columns."""
    if not boxes:
        return None
    rows, columns = (
        slice(min(box[axis].start for box in boxes), max(box[axis].stop for box in boxes))
        for axis in range(2)
    )
    return rows, columns


def _plane_matrix(slot: Slot) -> np.ndarray:
    """(column, row, 1) to patient coordinates, 3x3 (PS3.3 C.7.6.2.1.1)."""
    plane = slot.plane
    assert plane.orientation is not None
    assert plane.spacing_mm is not None
    assert plane.position is not None
    along, down = np.reshape(plane.orientation, (2, 3))
    rows_apart, columns_apart = plane.spacing_mm
    return np.column_stack([along * columns_apart, down * rows_apart, plane.position])


def _frame(source: Any, key: Sequence[str], contours: Mapping[str, Sequence[Any]]) -> Any:
    """The modules of patient, study, series and instance."""
    dataset = require("pydicom.dataset", EXTRA)
    uids = require("pydicom.uid", EXTRA)
    corners = [corners.tobytes() for found in contours.values() for _, corners in found]
    content = blake(b"".join(corners))
    meta = dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = uids.UID(_STRUCTURE_SET)
    meta.MediaStorageSOPInstanceUID = uids.generate_uid(entropy_srcs=["rtstruct", *key, content])
    meta.TransferSyntaxUID = uids.ExplicitVRLittleEndian
    meta.ImplementationClassUID = uids.PYDICOM_IMPLEMENTATION_UID
    made = dataset.FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID = meta.MediaStorageSOPClassUID
    made.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    for name in _COPIED:
        if name in source:
            setattr(made, name, source.get(name))
    made.PositionReferenceIndicator = source.get("PositionReferenceIndicator") or ""
    made.Modality = "RTSTRUCT"
    made.SeriesInstanceUID = uids.generate_uid(entropy_srcs=["rtstruct series", *key])
    made.SeriesNumber, made.InstanceNumber = series_number(source, 1), 1
    made.OperatorsName = ""
    now = datetime.datetime.now(tz=datetime.UTC).astimezone()
    made.StructureSetLabel = "medssm"
    made.StructureSetDate = made.SeriesDate = now.strftime("%Y%m%d")
    made.StructureSetTime = made.SeriesTime = now.strftime("%H%M%S")
    made.ApprovalStatus = "UNAPPROVED"
    return made


def _references(sources: Sequence[Any]) -> Any:
    """Frame of reference, study, series and every image."""
    series = _item(
        SeriesInstanceUID=sources[0].SeriesInstanceUID,
        ContourImageSequence=[_image(each) for each in sources],
    )
    study = _item(
        ReferencedSOPClassUID=_STUDY,
        ReferencedSOPInstanceUID=sources[0].StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    return _item(
        FrameOfReferenceUID=sources[0].FrameOfReferenceUID, RTReferencedStudySequence=[study]
    )


def _image(source: Any) -> Any:
    return _item(
        ReferencedSOPClassUID=source.SOPClassUID, ReferencedSOPInstanceUID=source.SOPInstanceUID
    )


def _add_structures(
    made: Any, names: Sequence[str], contours: Mapping[str, Sequence[Any]], author: Author
) -> None:
    made.StructureSetROISequence, made.ROIContourSequence = [], []
    made.RTROIObservationsSequence = []
    for number, name in enumerate(names, start=1):
        if not contours[name]:
            continue
        made.StructureSetROISequence.append(
            _item(
                ROINumber=number,
                ReferencedFrameOfReferenceUID=made.FrameOfReferenceUID,
                ROIName=name[:64],
                ROIGenerationAlgorithm="AUTOMATIC",
                ROIGenerationDescription=f"{author.name} {author.model[:16]}"[:64],
            )
        )
        made.ROIContourSequence.append(
            _item(
                ROIDisplayColor=list(colour(number - 1)),
                ReferencedROINumber=number,
                ContourSequence=[
                    _contour(turn, *each) for turn, each in enumerate(contours[name], start=1)
                ],
            )
        )
        made.RTROIObservationsSequence.append(_observation(number, name))


def _contour(number: int, slot: Slot, corners: np.ndarray) -> Any:
    several = len(slot.header.planes) > 1
    image = _item(
        ReferencedSOPClassUID=slot.header.sop_class, ReferencedSOPInstanceUID=slot.header.sop
    )
    if several:
        image.ReferencedFrameNumber = slot.plane.frame + 1
    return _item(
        ContourNumber=number,
        ContourImageSequence=[image],
        ContourGeometricType="CLOSED_PLANAR",
        NumberOfContourPoints=len(corners),
        # a tenth of a micrometre, in at most 16 characters
        ContourData=[f"{value:.4f}" for value in corners.ravel()],
    )


def _observation(number: int, name: str) -> Any:
    term = coded_term(name)
    code = _code(term.kind)
    if term.side is not None:
        code.SegmentedPropertyTypeModifierCodeSequence = [_code(term.side)]
    return _item(
        ObservationNumber=number,
        ReferencedROINumber=number,
        ROIObservationLabel=name[:16],
        RTROIIdentificationCodeSequence=[code],
        RTROIInterpretedType="",
        ROIInterpreter="",
    )


def _code(code: Any) -> Any:
    return _item(
        CodeValue=code.value,
        CodingSchemeDesignator=code.scheme_designator,
        CodeMeaning=code.meaning,
    )


def _item(**values: Any) -> Any:
    item = require("pydicom.dataset", EXTRA).Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return item
