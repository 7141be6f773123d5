"""One volume is one geometric stack: planes of a series sorted, split and checked by position."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from medssm.data.dicom.headers import DicomHeader, Plane
from medssm.data.dicom.screening import Rejection, StackRules, screen
from medssm.data.reasons import Flag, Reason

_TILT_DEGREES = 0.5
# planes nearer than this lie at one position
_SAME_MM = 0.01
_SAME_DIRECTION = 0.005
_SAME_SPACING_MM = 0.001
# a plane may lie so far beside the straight line through all, in parts of the slice distance
_CROOKED = 0.1


@dataclass(frozen=True)
class Slot:
    """One plane of a stack, with the file that holds it."""

    header: DicomHeader
    plane: Plane


@dataclass(frozen=True)
class Stack:
    """Planes of one geometry at even distances.

    Args:
        slots: In order along the normal; None where a slice is missing.
        step: From one plane to the next, mm (LPS).
        flags: What was odd and dealt with.
    """

    slots: tuple[Slot | None, ...]
    step: tuple[float, float, float]
    flags: tuple[Flag, ...]

    @property
    def first(self) -> Slot:
        """The first plane; it is never missing."""
        slot = self.slots[0]
        assert slot is not None
        return slot

    @property
    def places(self) -> tuple[str, ...]:
        """The files, each once."""
        return tuple(dict.fromkeys(slot.header.place for slot in self.slots if slot is not None))

    @property
    def tilted(self) -> bool:
        """Whether the planes are displaced sidewards."""
        return Flag.GANTRY_TILT in self.flags


@dataclass(frozen=True)
class _Row:
    """A slot with its height over the origin along the normal."""

    slot: Slot
    height: float


def find_stacks(
    headers: Iterable[DicomHeader], rules: StackRules | None = None
) -> tuple[list[Stack], list[Rejection]]:
    """Sort DICOM files into volumes.

    Args:
        headers: Of all files, of any number of patients and series.
        rules: What a stack must be.

    Returns:
        The stacks, and every file or frame that is in none, with the reason.
    """
    rules = rules or StackRules()
    kept, out = screen(headers, rules)
    stacks: list[Stack] = []
    for slots in _groups(kept):
        found, rejected = _stacks_of(slots, rules)
        stacks += found
        out += rejected
    return stacks, out


def _groups(headers: Sequence[DicomHeader]) -> list[list[Slot]]:
    """Slots that may belong together: one series, geometry, kernel, image type, phase, echo."""
    geometries: dict[tuple[object, ...], list[np.ndarray]] = {}
    groups: dict[tuple[object, ...], list[Slot]] = {}
    for header in headers:
        for plane in header.planes:
            slot = Slot(header, plane)
            key = _key(slot)
            number = _like(plane, geometries.setdefault(key, []))
            groups.setdefault((*key, number, header.acquisition), []).append(slot)
    # scanners that step count an acquisition a plane: then its number tells nothing
    merged: dict[tuple[object, ...], list[list[Slot]]] = {}
    for key, slots in groups.items():
        merged.setdefault(key[:-1], []).append(slots)
    found: list[list[Slot]] = []
    for parts in merged.values():
        if all(len(part) == 1 for part in parts):
            found.append([part[0] for part in parts])
        else:
            found += parts
    return found


def _key(slot: Slot) -> tuple[object, ...]:
    header, plane = slot.header, slot.plane
    return (
        header.study,
        header.series,
        header.reference,
        header.rows,
        header.columns,
        plane.group,
        header.image_type[2:] if len(header.planes) == 1 else (),
    )


def _like(plane: Plane, known: list[np.ndarray]) -> int:
    """Which of the known directions and spacings a plane has; a new one is added.

    Rounding would tear a series apart whose numbers waver about a border.
    """
    assert plane.orientation is not None
    assert plane.spacing_mm is not None
    own = np.array([*plane.orientation, *plane.spacing_mm])
    bounds = np.array([_SAME_DIRECTION] * 6 + [_SAME_SPACING_MM] * 2)
    for number, each in enumerate(known):
        if (np.abs(each - own) <= bounds).all():
            return number
    known.append(own)
    return len(known) - 1


def normal_of(plane: Plane) -> np.ndarray:
    """The unit vector on a plane, cross product of row and column directions (LPS)."""
    assert plane.orientation is not None
    row, column = np.reshape(plane.orientation, (2, 3))
    normal = np.cross(row, column)
    return np.asarray(normal / np.linalg.norm(normal))


def _stacks_of(slots: Sequence[Slot], rules: StackRules) -> tuple[list[Stack], list[Rejection]]:
    normal = normal_of(slots[0].plane)
    rows = sorted(
        (_Row(slot, float(np.dot(normal, slot.plane.position))) for slot in slots),  # type: ignore[arg-type]
        key=lambda row: (row.height, row.slot.plane.order, row.slot.header.place),
    )
    rows, out = _without_copies(rows)
    levels = _levels(rows)
    repeats = {len(level) for level in levels}
    if len(repeats) > 1:
        told = f"{min(repeats)} to {max(repeats)} images a position"
        return [], out + _reject(rows, Reason.UNEVEN_REPEATS, told)
    stacks: list[Stack] = []
    for turn in range(repeats.pop()):
        flags = (Flag.SPLIT_BY_REPEAT,) if len(levels[0]) > 1 else ()
        found, rejected = _split([level[turn] for level in levels], flags, rules)
        stacks += found
        out += rejected
    return stacks, out


def _without_copies(rows: Sequence[_Row]) -> tuple[list[_Row], list[Rejection]]:
    """The same pixels at the same place under another SOP instance count once."""
    seen: set[tuple[object, ...]] = set()
    kept: list[_Row] = []
    out: list[Rejection] = []
    for row in rows:
        header, plane = row.slot.header, row.slot.plane
        key = (header.pixel_hash, plane.frame, plane.position)
        if key in seen:
            out.append(
                Rejection(header.place, Reason.DUPLICATE_INSTANCE, "same pixels and position")
            )
        else:
            seen.add(key)
            kept.append(row)
    return kept, out


def _levels(rows: Sequence[_Row]) -> list[list[_Row]]:
    levels: list[list[_Row]] = []
    for row in rows:
        if levels and row.height - levels[-1][0].height < _SAME_MM:
            levels[-1].append(row)
        else:
            levels.append([row])
    return [sorted(level, key=lambda row: row.slot.plane.order) for level in levels]


def _split(
    rows: Sequence[_Row], flags: tuple[Flag, ...], rules: StackRules
) -> tuple[list[Stack], list[Rejection]]:
    """Cut a column of planes at its gaps; what is long enough becomes a stack."""
    if len(rows) < rules.min_slices:
        return [], _reject(rows, Reason.TOO_FEW_SLICES, f"{len(rows)} slices")
    distance = float(np.median(np.diff([row.height for row in rows])))
    pieces = list(_pieces(rows, distance, rules))
    stacks: list[Stack] = []
    out: list[Rejection] = []
    if len(pieces) > 1:
        flags = (*flags, Flag.SPLIT_AT_GAP)
    for piece in pieces:
        length = distance * len(piece)
        present = [row for row in piece if row is not None]
        if len(pieces) > 1 and length < rules.min_piece_mm:
            out += _reject(present, Reason.PIECE_TOO_SHORT, f"{length:.0f} mm")
        elif len(present) < rules.min_slices:
            out += _reject(present, Reason.TOO_FEW_SLICES, f"{len(present)} slices")
        else:
            found = _stack(piece, distance, flags, rules)
            if isinstance(found, Stack):
                stacks.append(found)
            else:
                out += _reject(present, *found)
    return stacks, out


def _pieces(
    rows: Sequence[_Row], distance: float, rules: StackRules
) -> Iterator[list[_Row | None]]:
    tolerance = max(0.05, 0.01 * distance)
    piece: list[_Row | None] = [rows[0]]
    for below, row in pairwise(rows):
        gap = row.height - below.height
        missing = round(gap / distance) - 1
        even = abs(gap - (missing + 1) * distance) <= tolerance
        if even and 0 <= missing <= rules.max_missing:
            piece += [None] * missing
        else:
            yield piece
            piece = []
        piece.append(row)
    yield piece


def _stack(
    piece: Sequence[_Row | None], distance: float, flags: tuple[Flag, ...], rules: StackRules
) -> Stack | tuple[Reason, str]:
    places = [(index, row) for index, row in enumerate(piece) if row is not None]
    positions = np.array([row.slot.plane.position for _, row in places])
    steps = np.array([index for index, _ in places], dtype=float)
    step = (positions[-1] - positions[0]) / (steps[-1] - steps[0])
    astray = np.abs(positions - positions[0] - steps[:, None] * step).max()
    if astray > max(0.05, _CROOKED * distance):
        return Reason.INCONSISTENT_POSITIONS, f"{astray:.2f} mm off the line"
    first = places[0][1].slot
    angle = _degrees(step, normal_of(first.plane))
    if angle > _TILT_DEGREES:
        if rules.tilt == "reject":
            return Reason.TILTED, f"{angle:.1f} degrees"
        flags = (*flags, Flag.GANTRY_TILT)
    if len(places) < len(piece):
        flags = (*flags, Flag.MISSING_SLICES)
    thickness = first.header.thickness_mm
    if thickness and abs(thickness - distance) > max(0.05, 0.01 * distance):
        flags = (*flags, Flag.THICKNESS_DIFFERS)
    if len({(row.slot.plane.slope, row.slot.plane.intercept) for _, row in places}) > 1:
        flags = (*flags, Flag.RESCALE_VARIES)
    if any(row.slot.header.lossy for _, row in places):
        flags = (*flags, Flag.LOSSY)
    stack = Stack(tuple(row.slot if row else None for row in piece), (0.0, 0.0, 0.0), flags)
    return replace(stack, step=(float(step[0]), float(step[1]), float(step[2])))


def _degrees(step: np.ndarray, normal: np.ndarray) -> float:
    cosine = abs(float(np.dot(step, normal))) / float(np.linalg.norm(step))
    return float(np.degrees(np.arccos(min(1.0, cosine))))


def _reject(rows: Iterable[_Row], reason: Reason, detail: str) -> list[Rejection]:
    places = dict.fromkeys(row.slot.header.place for row in rows)
    return [Rejection(place, reason, detail) for place in places]
