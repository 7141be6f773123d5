"""Series for people: every volume and every file left out as a line of series, found, action."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medssm.core.log import detail
from medssm.data.dicom.headers import DicomHeader, blake
from medssm.data.dicom.scan import Scan
from medssm.data.dicom.screening import Rejection, StackRules
from medssm.data.dicom.stacks import Stack, find_stacks
from medssm.data.reasons import Flag, Reason

Namer = Callable[[str], str]
_WORD = re.compile(r"[^a-z0-9]+")
# these say that something was to be an image of a patient and is not usable
_FAULTS = (
    Reason.UNREADABLE, Reason.EMPTY_FILE, Reason.UNSAFE_UID, Reason.SOP_CONFLICT,
    Reason.UNEVEN_REPEATS, Reason.INCONSISTENT_POSITIONS, Reason.PIECE_TOO_SHORT, Reason.TILTED,
    Reason.LOSSY, Reason.CHANNELS_MISSING,
)  # fmt: skip
_VOLUMES = ("CT", "MR", "PT")
_DONE = {
    Flag.GANTRY_TILT: "gantry tilt sheared back",
    Flag.SPLIT_AT_GAP: "split at a gap",
    Flag.SPLIT_BY_REPEAT: "one of several volumes at the same positions",
    Flag.THICKNESS_DIFFERS: "spacing by positions, not by slice thickness",
    Flag.RESCALE_VARIES: "rescaled slice by slice",
    Flag.LOSSY: "pixels compressed with loss",
}


@dataclass(frozen=True)
class SeriesVolume:
    """A volume with its name.

    Args:
        name: By the naming of the caller; tells volumes of one series apart.
        stack: Its planes.
    """

    name: str
    stack: Stack

    @property
    def header(self) -> DicomHeader:
        """Of its first plane."""
        return self.stack.first.header


@dataclass(frozen=True)
class SeriesNote:
    """What became of a volume, or of files of one series with one reason.

    Args:
        series: Name of the volume or series; "-" for files of no series.
        found: What it is.
        action: What was done with it.
        reason: Why it was left out, or "".
        fault: Whether something is missing that was to be there.
    """

    series: str
    found: str
    action: str
    reason: str = ""
    fault: bool = False


def sort_series(
    scan: Scan, rules: StackRules, namer: Namer
) -> tuple[list[SeriesVolume], list[SeriesNote]]:
    """Volumes of a scan with their names, and a note for everything left out.

    Args:
        scan: The files.
        rules: What a volume must be.
        namer: The name of a series from its identifier; must be fit for a file.
    """
    stacks, out = find_stacks(scan.headers, rules)
    by_series: dict[str, list[Stack]] = {}
    for stack in stacks:
        by_series.setdefault(stack.first.header.series, []).append(stack)
    names = _names(scan.headers, namer)
    volumes: list[SeriesVolume] = []
    for series, found in by_series.items():
        found.sort(key=_rank)
        ends = [f"-{turn + 1}" for turn in range(len(found))] if len(found) > 1 else [""]
        volumes += [
            SeriesVolume(names[series] + end, stack) for end, stack in zip(ends, found, strict=True)
        ]
    headers = {header.place: header for header in scan.headers}
    return sorted(volumes, key=lambda each: each.name), _left_out([*scan.out, *out], headers, names)


def describe(volume: SeriesVolume, action: str) -> SeriesNote:
    """The note of a volume that is used."""
    stack, header = volume.stack, volume.header
    shape = f"{header.columns}x{header.rows}x{len(stack.slots)}"
    spacing = stack.first.plane.spacing_mm or (0.0, 0.0)
    apart = float(np.linalg.norm(stack.step))
    found = f"{header.modality or '?'} {shape}, {spacing[1]:.3g}x{spacing[0]:.3g}x{apart:.3g} mm"
    number = header.notes.get("number")
    found += f", series {number}" if number else ""
    missing = sum(slot is None for slot in stack.slots)
    told = [f"{missing} missing slice(s) interpolated"] if missing else []
    told += [text for flag, text in _DONE.items() if flag in stack.flags]
    return SeriesNote(volume.name, found, "; ".join([action, *told]))


def _names(headers: Iterable[DicomHeader], namer: Namer) -> dict[str, str]:
    members: dict[str, list[DicomHeader]] = {}
    for header in headers:
        members.setdefault(header.series, []).append(header)
    names: dict[str, str] = {}
    for series, found in members.items():
        known = series
        if not series.replace(".", "").isdigit():
            # no UID: the instances name the series, wherever it lies
            instances = {each.sop or each.pixel_hash for each in found}
            known = blake("\n".join(sorted(instances)).encode())
        kind = _WORD.sub("", found[0].modality.lower()) or "series"
        names[series] = f"{kind}-{namer(known)}"
    return names


def _rank(stack: Stack) -> tuple[object, ...]:
    """The order of volumes of one series, by what the files say and not by their names."""
    slot = stack.first
    numbers = [each.plane.order for each in stack.slots if each is not None]
    return slot.header.acquisition, slot.plane.group, min(numbers), slot.header.sop, stack.step


def _left_out(
    rejections: Sequence[Rejection], headers: Mapping[str, DicomHeader], names: Mapping[str, str]
) -> list[SeriesNote]:
    counts: Counter[tuple[str, str, Reason, str]] = Counter()
    for each in rejections:
        detail("%s: %s %s", each.place, each.reason, each.detail)
        header = headers.get(each.place)
        name = "-" if header is None else names[header.series]
        modality = "" if header is None else header.modality
        counts[(name, modality, each.reason, each.detail)] += 1
    return [
        SeriesNote(
            name,
            f"{count} file(s)" + (f" of {modality}" if modality else ""),
            f"left out: {reason}" + (f" ({figures})" if figures else ""),
            str(reason),
            is_fault(reason, modality),
        )
        for (name, modality, reason, figures), count in sorted(counts.items())
    ]


def is_fault(reason: Reason, modality: str) -> bool:
    """Whether leaving it out means that something is missing."""
    return reason in _FAULTS or (reason == Reason.NO_GEOMETRY and modality in _VOLUMES)
