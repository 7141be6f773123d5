"""What a DICOM file says of itself: read without pixels, identifiers through a pseudonym."""

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from medssm.core.errors import BadDataError
from medssm.core.extras import require
from medssm.data.dicom.inflated import refuse_inflated
from medssm.data.dicom.silence import quiet

EXTRA = "dicom"
Triple = tuple[float, float, float]
Pseudonym = Callable[[str], str]
_TAGS = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID",
    "FrameOfReferenceUID", "PatientID", "IssuerOfPatientID", "Modality", "ImageType", "Rows",
    "Columns", "NumberOfFrames", "ImagePositionPatient", "ImageOrientationPatient",
    "PixelSpacing", "SliceThickness", "ConvolutionKernel", "KVP", "ContrastBolusAgent",
    "BodyPartExamined", "Manufacturer", "RescaleSlope", "RescaleIntercept", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "PhotometricInterpretation",
    "SamplesPerPixel", "PixelPaddingValue", "PixelPaddingRangeLimit", "BurnedInAnnotation",
    "AcquisitionNumber", "TemporalPositionIdentifier", "EchoNumbers", "InstanceNumber",
    "LossyImageCompression", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
# free words that people type in: asked for only where a series is chosen by them
_SPOKEN = {
    "description": "SeriesDescription", "protocol": "ProtocolName", "number": "SeriesNumber",
}  # fmt: skip
_MAX_FRAMES = 100_000
# JPEG baseline, extended, JPEG-LS near-lossless, JPEG 2000 and HTJ2K that may be lossy
_LOSSY = (
    "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203",
)  # fmt: skip


@dataclass(frozen=True)
class Plane:
    """One image plane: a file, or a frame of a multi-frame file.

    Args:
        frame: Its number in the file.
        position: Of its first pixel in the patient, mm (LPS); None where the file does not say.
        orientation: Direction of a row, then of a column (LPS); None where the file is silent.
        spacing_mm: Distance of rows, then of columns; None where the file is silent.
        slope: Stored values times it ...
        intercept: ... plus this are the values, HU for CT.
        order: What tells planes at one position apart, e.g. the instance or a dimension index.
        group: What keeps planes of one series apart, e.g. kernel, image type, echo.
    """

    frame: int
    position: Triple | None
    orientation: tuple[float, ...] | None
    spacing_mm: tuple[float, float] | None
    slope: float
    intercept: float
    order: tuple[int, ...]
    group: tuple[str, ...]


@dataclass(frozen=True)
class DicomHeader:
    """One DICOM file.

    Args:
        place: The file, as the caller calls it.
        sop, study, series, reference, patient: Identifiers as the pseudonym gives them.
        sop_class: SOP class UID.
        syntax: Transfer syntax UID.
        modality: Such as CT.
        image_type: All values of ImageType.
        rows, columns, samples: Size of a plane, values a pixel.
        bits: Allocated, stored, high bit, and whether the stored values are signed.
        padding: Stored values from and to which a pixel stands for nothing, or None.
        acquisition: Acquisition number, "" where there is none.
        thickness_mm: Slice thickness, which is not the distance of slices.
        burned_in: Whether the file says that identity is in the pixels.
        lossy: Whether the pixels were compressed with loss.
        pixel_hash: BLAKE2b of the pixel data element.
        file_hash: BLAKE2b of the whole file.
        notes: Kernel, kVp, contrast, body part and manufacturer, for selections; where asked for,
            also description, protocol and number of the series.
        planes: The planes.
    """

    place: str
    sop: str
    study: str
    series: str
    reference: str
    patient: str
    sop_class: str
    syntax: str
    modality: str
    image_type: tuple[str, ...]
    rows: int
    columns: int
    samples: int
    bits: tuple[int, int, int, bool]
    padding: tuple[int, int] | None
    acquisition: str
    thickness_mm: float
    burned_in: bool
    lossy: bool
    pixel_hash: str
    file_hash: str
    notes: Mapping[str, str]
    planes: tuple[Plane, ...]


def blake(content: bytes) -> str:
    """BLAKE2b of 16 bytes, in hexadecimal."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def is_dicom(head: bytes) -> bool:
    """Whether the first 132 bytes are those of a DICOM file; the name does not count."""
    return len(head) >= 132 and head[128:132] == b"DICM"


def read_header(
    content: bytes, place: str, pseudonym: Pseudonym = str, *, spoken: bool = False
) -> DicomHeader:
    """Read the header of a DICOM file; pixels are hashed and not decoded.

    Args:
        content: The whole file.
        place: How to call the file.
        pseudonym: Applied to every identifier.
        spoken: Also note what people call the series, which may hold anything.

    Raises:
        BadDataError: It is no DICOM file, its header is damaged, or it inflates beyond memory.
        MachineError: pydicom is missing.
    """
    pydicom = require("pydicom", EXTRA)
    refuse_inflated(content, place)
    stream = io.BytesIO(content)
    tags = [*_TAGS, *(_SPOKEN.values() if spoken else ())]
    try:
        with quiet():
            dataset = pydicom.dcmread(
                stream, force=not is_dicom(content), stop_before_pixels=True, specific_tags=tags
            )
            at = stream.tell()
            found = _header(dataset, place, pseudonym, blake(content[at:]), blake(content))
            text = _texts(dataset)
            more = {name: text(word) for name, word in _SPOKEN.items()} if spoken else {}
            return replace(found, notes={**found.notes, **more})
    except BadDataError as error:
        raise BadDataError(f"{place}: {error}") from None
    except Exception as error:
        raise BadDataError(
            f"{place}: the DICOM header cannot be read ({type(error).__name__}: {error}). Copy the "
            "file again from its source."
        ) from error


def _header(
    dataset: Any, place: str, pseudonym: Pseudonym, pixel_hash: str, file_hash: str
) -> DicomHeader:
    text = _texts(dataset)
    syntax = str(getattr(dataset.file_meta, "TransferSyntaxUID", ""))
    issuer, patient = text("IssuerOfPatientID"), text("PatientID")
    # de-identification may empty the data set's own and leave those of the file
    sop_class = text("SOPClassUID") or str(dataset.file_meta.get("MediaStorageSOPClassUID", ""))
    sop = text("SOPInstanceUID") or str(dataset.file_meta.get("MediaStorageSOPInstanceUID", ""))
    stored = int(text("BitsStored") or 0)
    return DicomHeader(
        place=place,
        sop=pseudonym(sop),
        study=pseudonym(text("StudyInstanceUID")),
        series=pseudonym(text("SeriesInstanceUID")),
        reference=pseudonym(text("FrameOfReferenceUID")),
        patient=pseudonym(f"{issuer}|{patient}") if patient else "",
        sop_class=sop_class,
        syntax=syntax,
        modality=text("Modality"),
        image_type=_words(dataset.get("ImageType")),
        rows=int(text("Rows") or 0),
        columns=int(text("Columns") or 0),
        samples=int(text("SamplesPerPixel") or 1),
        bits=(
            int(text("BitsAllocated") or 0),
            stored,
            int(text("HighBit") or max(0, stored - 1)),
            text("PixelRepresentation") == "1",
        ),
        padding=_padding(dataset),
        acquisition=text("AcquisitionNumber"),
        thickness_mm=_number(dataset.get("SliceThickness")) or 0.0,
        burned_in=text("BurnedInAnnotation").upper() == "YES",
        lossy=syntax in _LOSSY or text("LossyImageCompression") == "01",
        pixel_hash=pixel_hash,
        file_hash=file_hash,
        notes={
            "kernel": "/".join(_words(dataset.get("ConvolutionKernel"))),
            "kvp": text("KVP"),
            "contrast": text("ContrastBolusAgent"),
            "body_part": text("BodyPartExamined"),
            "manufacturer": text("Manufacturer"),
        },
        planes=_planes(dataset),
    )


def _texts(dataset: Any) -> Callable[[str], str]:
    def text(name: str) -> str:
        value = dataset.get(name)
        return "" if value is None else str(value).strip()

    return text


def _planes(dataset: Any) -> tuple[Plane, ...]:
    frames = int(dataset.get("NumberOfFrames") or 1)
    if "PerFrameFunctionalGroupsSequence" in dataset:
        from medssm.data.dicom.frames import enhanced_planes

        return enhanced_planes(dataset)
    if frames > _MAX_FRAMES:
        raise BadDataError(f"the header claims {frames:,} frames, more than {_MAX_FRAMES:,}.")
    if frames > 1:
        # several frames without a word on where they lie
        return tuple(_silent(frame) for frame in range(frames))
    instance = dataset.get("InstanceNumber")
    slope, intercept = rescale(dataset)
    return (
        Plane(
            frame=0,
            position=cast("Triple | None", numbers(dataset.get("ImagePositionPatient"), 3)),
            orientation=numbers(dataset.get("ImageOrientationPatient"), 6),
            spacing_mm=cast("tuple[float, float] | None", numbers(dataset.get("PixelSpacing"), 2)),
            slope=slope,
            intercept=intercept,
            order=(int(instance) if instance is not None else 0,),
            group=(
                "/".join(_words(dataset.get("ConvolutionKernel"))),
                "/".join(_words(dataset.get("ImageType"))[2:]),
                str(dataset.get("TemporalPositionIdentifier") or ""),
                str(dataset.get("EchoNumbers") or ""),
            ),
        ),
    )


def _silent(frame: int) -> Plane:
    return Plane(frame, None, None, None, 1.0, 0.0, (frame,), ())


def rescale(dataset: Any) -> tuple[float, float]:
    """Slope and intercept of a data set or a functional group; 1 and 0 where it is silent."""
    slope, intercept = (
        _number(dataset.get("RescaleSlope")),
        _number(dataset.get("RescaleIntercept")),
    )
    return (1.0 if slope is None or slope == 0 else slope, intercept or 0.0)


def numbers(value: Any, count: int) -> tuple[float, ...] | None:
    """So many finite numbers, or None."""
    if value is None or isinstance(value, str) or not isinstance(value, Sequence):
        return None
    found = [_number(each) for each in value]
    if len(found) != count or any(each is None for each in found):
        return None
    return tuple(float(each) for each in found if each is not None)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if abs(number) < 1e12 else None


def _words(value: Any) -> tuple[str, ...]:
    if value is None or value == "":
        return ()
    return tuple(map(str, value)) if not isinstance(value, str) else (str(value),)


def _padding(dataset: Any) -> tuple[int, int] | None:
    value, limit = dataset.get("PixelPaddingValue"), dataset.get("PixelPaddingRangeLimit")
    if value is None or isinstance(value, bytes):
        return None
    other = int(value) if limit is None or isinstance(limit, bytes) else int(limit)
    return min(int(value), other), max(int(value), other)
