"""From scanned files to volumes: each file is part of one, or left out with its reason."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from medssm.core.errors import UsageError
from medssm.data.dicom.headers import blake
from medssm.data.dicom.screening import StackRules
from medssm.data.dicom.stacks import Stack, find_stacks
from medssm.data.file_kinds import FileKind
from medssm.data.pseudonyms import Pseudonyms
from medssm.data.reasons import Reason
from medssm.fields.pretraining.archive_config import ArchiveConfig
from medssm.fields.pretraining.catalogue import FileRow
from medssm.fields.pretraining.image_files import ImageHeader
from medssm.fields.pretraining.places import Place


@dataclass(frozen=True)
class VolumeSpec:
    """One volume to prepare; travels to a worker.

    Args:
        id: A hash of the content of its files.
        patient, study: Pseudonyms.
        modality: As DICOM says it; "" for an image file, which does not.
        sources: BLAKE2b of the files, sorted.
        flags: Oddities known from headers.
        stack: The planes, of DICOM.
        place: The file, of an image.
        kind: Of that file.
        image: Its header.
    """

    id: str
    patient: str
    study: str
    modality: str
    sources: tuple[str, ...]
    flags: tuple[str, ...]
    stack: Stack | None = None
    place: Place | None = None
    kind: FileKind = "none"
    image: ImageHeader | None = None


@dataclass(frozen=True)
class FileOutcome:
    """What became of a file.

    Args:
        place: The file.
        reason: Why it is in no volume, or "".
        detail: Figures.
        volumes: The volumes it is in.
    """

    place: Place
    reason: str
    detail: str
    volumes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Selection:
    """All volumes of an archive, by id, and what became of every file, by place."""

    volumes: tuple[VolumeSpec, ...]
    files: tuple[FileOutcome, ...]


def select(
    rows: Sequence[FileRow], config: ArchiveConfig, modality: str | None, pseudonyms: Pseudonyms
) -> Selection:
    """Sort the files of a catalogue into volumes.

    Args:
        rows: The scan's.
        config: What counts as a volume.
        modality: Only this one of DICOM, or None for any.
        pseudonyms: For patients of image files.

    Raises:
        UsageError: archive.patient is no regular expression, or does not match a path.
    """
    outcomes = {
        row.place.name: FileOutcome(row.place, row.reason, row.detail)
        for row in rows
        if row.reason or row.kind == "zip"
    }
    good = [row for row in rows if not row.reason]
    volumes = _dicom_volumes(good, config, modality, outcomes)
    volumes += _image_volumes(good, config, pseudonyms, outcomes)
    _explain_parts(good, outcomes)
    once: dict[str, VolumeSpec] = {}
    for volume in sorted(volumes, key=lambda each: each.id):
        once.setdefault(volume.id, volume)
    return Selection(tuple(once.values()), tuple(outcomes[name] for name in sorted(outcomes)))


def _dicom_volumes(
    rows: Iterable[FileRow],
    config: ArchiveConfig,
    modality: str | None,
    outcomes: dict[str, FileOutcome],
) -> list[VolumeSpec]:
    files = {row.place.name: row for row in rows if row.kind == "dicom"}
    rules = StackRules(
        modality, config.max_missing, config.min_piece_mm, tilt=config.tilt, lossy=config.lossy
    )
    stacks, rejections = find_stacks((row.dicom for row in files.values()), rules)
    for each in rejections:
        row = files[each.place]
        outcomes[each.place] = FileOutcome(row.place, each.reason, each.detail)
    volumes = [_of_stack(stack) for stack in stacks]
    members: dict[str, list[str]] = {}
    for stack, volume in zip(stacks, volumes, strict=True):
        for place in stack.places:
            members.setdefault(place, []).append(volume.id)
    for place, ids in members.items():
        # some frames of a file may be out, which its row still tells
        before = outcomes.get(place)
        detail = f"some frames: {before.reason} {before.detail}" if before else ""
        outcomes[place] = FileOutcome(files[place].place, "", detail, tuple(sorted(ids)))
    return volumes


def _of_stack(stack: Stack) -> VolumeSpec:
    slots = [slot for slot in stack.slots if slot is not None]
    header = stack.first.header
    sources = sorted({slot.header.file_hash for slot in slots})
    key = sorted(f"{slot.header.file_hash}#{slot.plane.frame}" for slot in slots)
    return VolumeSpec(
        id=blake("\n".join(key).encode())[:24],
        patient=header.patient or header.study or header.series,
        study=header.study,
        modality=header.modality,
        sources=tuple(sources),
        flags=tuple(map(str, stack.flags)),
        stack=stack,
    )


def _image_volumes(
    rows: Iterable[FileRow],
    config: ArchiveConfig,
    pseudonyms: Pseudonyms,
    outcomes: dict[str, FileOutcome],
) -> list[VolumeSpec]:
    volumes: dict[str, VolumeSpec] = {}
    for row in rows:
        if row.kind not in ("nifti", "itk"):
            continue
        name = row.place.name
        volume = blake(f"image {row.file_hash}".encode())[:24]
        if volume in volumes:
            outcomes[name] = FileOutcome(
                row.place, Reason.DUPLICATE_VOLUME, "the same bytes", (volume,)
            )
            continue
        patient = pseudonyms(f"image|{_patient(name, config.patient)}")
        volumes[volume] = VolumeSpec(
            volume, patient, patient, "", (row.file_hash,), row.image.flags,
            place=row.place, kind=row.kind, image=row.image,
        )  # fmt: skip
        outcomes[name] = FileOutcome(row.place, "", "", (volume,))
    return list(volumes.values())


def _patient(name: str, pattern: str | None) -> str:
    if pattern is None:
        return name
    try:
        search = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"archive.patient={pattern!r} is no regular expression: {error}") from None
    match = search.search(name)
    if match is None:
        raise UsageError(f"archive.patient={pattern!r} does not match {name!r}.")
    return str(match[1] if search.groups else match[0])


def _explain_parts(rows: Iterable[FileRow], outcomes: dict[str, FileOutcome]) -> None:
    """Files that hold the voxels of a header beside them are no strays."""
    for row in rows:
        if row.kind not in ("nifti", "itk"):
            continue
        for part in row.image.parts:
            name = (PurePosixPath(row.path).parent / part).as_posix()
            if name in outcomes and outcomes[name].reason == Reason.NOT_AN_IMAGE:
                outcomes[name] = FileOutcome(Place(name), Reason.PART_OF_ANOTHER, "")
