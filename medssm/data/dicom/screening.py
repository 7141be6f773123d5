"""Which DICOM files can be planes of a volume at all, and which of them are doubles."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from medssm.data.dicom.headers import DicomHeader
from medssm.data.reasons import Reason

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
# reports, presentation states, encapsulated documents, waveforms, plans, segmentations' siblings
_NO_PIXELS = (
    "1.2.840.10008.5.1.4.1.1.88", "1.2.840.10008.5.1.4.1.1.11", "1.2.840.10008.5.1.4.1.1.104",
    "1.2.840.10008.5.1.4.1.1.9", "1.2.840.10008.5.1.4.1.1.481", "1.2.840.10008.5.1.4.1.1.66",
    "1.2.840.10008.5.1.4.38", "1.2.840.10008.5.1.4.39",
)  # fmt: skip
_STANDARD = "1.2.840.10008."
_DICOMDIR = "1.2.840.10008.1.3.10"


@dataclass(frozen=True)
class StackRules:
    """What a stack of planes must be.

    Args:
        modality: Only this modality, e.g. "CT"; None takes every one with a geometry.
        max_missing: Slices in a row that may be missing and are interpolated.
        min_piece_mm: A series with larger gaps is split; shorter pieces are left out.
        min_slices: Fewer planes are no volume.
        tilt: What to do with a tilted gantry.
        lossy: What to do with pixels compressed with loss.
    """

    modality: str | None = "CT"
    max_missing: int = 1
    min_piece_mm: float = 64.0
    min_slices: int = 4
    tilt: Literal["shear", "reject"] = "shear"
    lossy: Literal["flag", "reject"] = "flag"


@dataclass(frozen=True)
class Rejection:
    """A file, or some of its frames, that became no part of a volume.

    Args:
        place: The file.
        reason: Why.
        detail: Figures, without identifiers.
    """

    place: str
    reason: Reason
    detail: str = ""


def screen(
    headers: Iterable[DicomHeader], rules: StackRules
) -> tuple[list[DicomHeader], list[Rejection]]:
    """Leave out what cannot be part of a volume, and doubles by SOP instance.

    Args:
        headers: Of all files.
        rules: What is wanted.

    Returns:
        The headers that go on, by place; and what was left out.
    """
    kept: list[DicomHeader] = []
    out: list[Rejection] = []
    for header in sorted(headers, key=lambda each: each.place):
        found = _objection(header, rules)
        if found is None:
            kept.append(header)
        else:
            out.append(Rejection(header.place, *found))
    kept, doubles = _without_doubles(kept)
    return kept, out + doubles


def _objection(header: DicomHeader, rules: StackRules) -> tuple[Reason, str] | None:
    kinds = {each.upper() for each in header.image_type}
    tests: Sequence[tuple[bool, Reason, str]] = (
        (header.sop_class == _DICOMDIR, Reason.DICOMDIR, ""),
        (_holds_no_pixels(header), Reason.NO_PIXELS_OBJECT, header.modality),
        (not header.rows or not header.columns, Reason.UNREADABLE, "no rows and columns"),
        (_is_capture(header), Reason.SECONDARY_CAPTURE, ""),
        ("LOCALIZER" in kinds or "SCOUT" in kinds, Reason.LOCALIZER, ""),
        (header.burned_in, Reason.IDENTITY_IN_PIXELS, "BurnedInAnnotation is YES"),
        (_other_modality(header, rules), Reason.WRONG_MODALITY, header.modality or "none"),
        (header.samples != 1, Reason.COLOUR, f"{header.samples} samples a pixel"),
        (
            {"DERIVED", "SECONDARY"} <= kinds and _places_no_plane(header),
            Reason.DERIVED_NO_ORIENTATION,
            "",
        ),
        (_places_no_plane(header), Reason.NO_GEOMETRY, f"no {_absent(header)}"),
        (header.lossy and rules.lossy == "reject", Reason.LOSSY, header.syntax),
    )
    return next(((reason, detail) for fails, reason, detail in tests if fails), None)


def _holds_no_pixels(header: DicomHeader) -> bool:
    # vendors have objects of their own, e.g. Siemens' protocols in every export
    private = bool(header.sop_class) and not header.sop_class.startswith(_STANDARD)
    return header.sop_class.startswith(_NO_PIXELS) or (private and not header.rows)


def _is_capture(header: DicomHeader) -> bool:
    # the multi-frame captures are .7.1 to .7.4
    return f"{header.sop_class}.".startswith(f"{_SECONDARY_CAPTURE}.")


def _other_modality(header: DicomHeader, rules: StackRules) -> bool:
    return rules.modality is not None and header.modality != rules.modality


def _places_no_plane(header: DicomHeader) -> bool:
    return bool(_absent(header))


def _absent(header: DicomHeader) -> str:
    """What a plane of a file lacks to lie somewhere, or ""."""
    tests = (
        ("position", lambda plane: plane.position is None),
        ("orientation", lambda plane: plane.orientation is None),
        ("pixel spacing", lambda plane: plane.spacing_mm is None or min(plane.spacing_mm) <= 0),
    )
    return ", no ".join(name for name, lacks in tests if any(map(lacks, header.planes)))


def _without_doubles(
    headers: Sequence[DicomHeader],
) -> tuple[list[DicomHeader], list[Rejection]]:
    """One file a SOP instance; the same instance with other pixels is nobody's truth."""
    instances: dict[str, list[DicomHeader]] = {}
    for header in headers:
        instances.setdefault(header.sop or header.place, []).append(header)
    kept: list[DicomHeader] = []
    out: list[Rejection] = []
    for group in instances.values():
        if len({each.pixel_hash for each in group}) > 1:
            out += [Rejection(each.place, Reason.SOP_CONFLICT) for each in group]
            continue
        kept.append(group[0])
        out += [
            Rejection(each.place, Reason.DUPLICATE_INSTANCE, "same SOP instance")
            for each in group[1:]
        ]
    return kept, out
