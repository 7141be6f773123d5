"""A stack to voxels: stored values masked and rescaled a plane, tilt sheared back, RAS affine."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from medssm.core.errors import BadDataError
from medssm.core.extras import require
from medssm.data.dicom.headers import EXTRA, DicomHeader, Plane, is_dicom
from medssm.data.dicom.silence import quiet
from medssm.data.dicom.stacks import Slot, Stack, normal_of
from medssm.data.reasons import Flag

AIR_HU = -1024.0
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# an unsigned value above this, without an intercept, is a negative one that lost its sign
_LOST_SIGN = 60_000


@dataclass(frozen=True)
class StackVolume:
    """The voxels of a stack.

    Args:
        voxels: Values, HU for CT.
        affine: Voxel index to patient in mm (RAS), 4x4.
        flags: Those of the stack, and what the pixels added.

    Shape:
        voxels: (x, y, z) = (columns, rows, slices), float32.
    """

    voxels: np.ndarray
    affine: np.ndarray
    flags: tuple[Flag, ...]


def read_stack(stack: Stack, content_of: Callable[[str], bytes]) -> StackVolume:
    """Decode and assemble a stack.

    Args:
        stack: The planes in order.
        content_of: The bytes of a file by its place.

    Raises:
        BadDataError: A file cannot be decoded.
        MachineError: pydicom is missing.
    """
    flags = list(stack.flags)
    decoder = _Decoder(content_of)
    with quiet():
        planes = [None if slot is None else _values(slot, decoder, flags) for slot in stack.slots]
    voxels = np.stack(_without_holes(planes), axis=-1)
    affine = _affine(stack)
    if stack.tilted:
        voxels, affine = _sheared(voxels, affine, stack)
    return StackVolume(voxels, LPS_TO_RAS @ affine, tuple(dict.fromkeys(flags)))


class _Decoder:
    """Decodes planes; keeps the one file that it read last, which frames share."""

    def __init__(self, content_of: Callable[[str], bytes]) -> None:
        self._content_of = content_of
        self._place: str | None = None
        self._dataset: Any = None

    def stored(self, slot: Slot) -> np.ndarray:
        """The stored values of a plane, (rows, columns)."""
        pydicom = require("pydicom", EXTRA)
        pixels = require("pydicom.pixels", EXTRA)
        place = slot.header.place
        try:
            if place != self._place:
                self._dataset = _opened(pydicom, self._content_of(place))
                self._place = place
            several = len(slot.header.planes) > 1
            index = slot.plane.frame if several else None
            # the masking below also cures decoders that leave overlay bits in
            found = pixels.pixel_array(self._dataset, raw=True, index=index)
        except BadDataError:
            raise
        except Exception as error:
            raise BadDataError(
                f"{place}: the pixels cannot be decoded ({type(error).__name__}: {error}); "
                f"transfer syntax {slot.header.syntax}. Copy the file again from its source."
            ) from error
        return np.asarray(found)


def _opened(pydicom: Any, content: bytes) -> Any:
    """A data set; one without preamble and meta header gets the syntax that it is written in."""
    dataset = pydicom.dcmread(io.BytesIO(content), force=not is_dicom(content))
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, _ = dataset.original_encoding
        uid = pydicom.uid
        syntax = uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def _values(slot: Slot, decoder: _Decoder, flags: list[Flag]) -> np.ndarray:
    """A plane's values, (columns, rows)."""
    header, plane = slot.header, slot.plane
    stored = _masked(decoder.stored(slot), header.bits)
    if stored.shape != (header.rows, header.columns):
        raise BadDataError(
            f"{header.place}: pixels of shape {stored.shape}. Expected "
            f"{(header.rows, header.columns)}; copy the file again from its source."
        )
    is_ct = header.modality == "CT"
    if is_ct and _lost_its_sign(stored, header, plane):
        stored = np.where(stored >= 2**15, stored - 2**16, stored)
        flags.append(Flag.SIGN_REPAIRED)
    values = stored.astype(np.float32) * np.float32(plane.slope) + np.float32(plane.intercept)
    if header.padding is not None and is_ct:
        low, high = header.padding
        padded = (stored >= low) & (stored <= high)
        if padded.any():
            values[padded] = AIR_HU
            flags.append(Flag.PADDING)
    return values.T


def _masked(stored: np.ndarray, bits: tuple[int, int, int, bool]) -> np.ndarray:
    """The bits that hold the value, sign restored; the others may be overlays."""
    allocated, used, high, signed = bits
    if stored.dtype.kind == "f":
        return stored
    whole = stored.astype(np.int64)
    if used <= 0 or used >= allocated:
        return whole
    value = (whole >> max(0, high + 1 - used)) & ((1 << used) - 1)
    return np.where(value >= 1 << (used - 1), value - (1 << used), value) if signed else value


def _lost_its_sign(stored: np.ndarray, header: DicomHeader, plane: Plane) -> bool:
    allocated, used, _, signed = header.bits
    unsigned = not signed and allocated == used == 16
    return unsigned and plane.intercept == 0 and bool((stored >= _LOST_SIGN).any())


def _without_holes(planes: list[np.ndarray | None]) -> list[np.ndarray]:
    """Missing slices between their neighbours, by distance."""
    there = [index for index, plane in enumerate(planes) if plane is not None]
    filled: list[np.ndarray] = []
    for index, plane in enumerate(planes):
        if plane is not None:
            filled.append(plane)
            continue
        below = max(each for each in there if each < index)
        above = min(each for each in there if each > index)
        share = np.float32((index - below) / (above - below))
        lower, upper = planes[below], planes[above]
        assert lower is not None
        assert upper is not None
        filled.append(lower * (1 - share) + upper * share)
    return filled


def stack_affine(stack: Stack) -> np.ndarray:
    """Voxel index (x, y, z) to patient in mm (RAS); a tilt is still in it."""
    return np.asarray(LPS_TO_RAS @ _affine(stack))


def _affine(stack: Stack) -> np.ndarray:
    """(column, row, slice) index to patient (LPS), shear of a tilt included."""
    plane = stack.first.plane
    assert plane.orientation is not None
    assert plane.spacing_mm is not None
    row, column = np.reshape(plane.orientation, (2, 3))
    rows_apart, columns_apart = plane.spacing_mm
    affine = np.eye(4)
    affine[:3, 0] = row * columns_apart
    affine[:3, 1] = column * rows_apart
    affine[:3, 2] = stack.step
    affine[:3, 3] = plane.position
    return affine


def _sheared(voxels: np.ndarray, affine: np.ndarray, stack: Stack) -> tuple[np.ndarray, np.ndarray]:
    """Undo a tilt: each plane is moved sidewards, on a grid wide enough for all."""
    normal = normal_of(stack.first.plane)
    step = affine[:3, 2]
    straight = normal * float(np.dot(normal, step))
    slide = np.linalg.lstsq(affine[:3, :2], step - straight, rcond=None)[0]  # voxels a slice
    depth = voxels.shape[2]
    total = slide * (depth - 1)
    before = np.ceil(np.maximum(-total, 0) - 1e-6).astype(int)
    after = np.ceil(np.maximum(total, 0) - 1e-6).astype(int)
    air = AIR_HU if stack.first.header.modality == "CT" else float(voxels.min())
    shape = (voxels.shape[0] + before[0] + after[0], voxels.shape[1] + before[1] + after[1])
    out = np.full((*shape, depth), air, dtype=np.float32)
    for index in range(depth):
        wide = np.full(shape, air, dtype=np.float32)
        wide[before[0] : before[0] + voxels.shape[0], before[1] : before[1] + voxels.shape[1]] = (
            voxels[:, :, index]
        )
        out[:, :, index] = ndimage.shift(wide, slide * index, order=1, mode="constant", cval=air)
    upright = affine.copy()
    upright[:3, 2] = straight
    upright[:3, 3] = affine[:3, 3] - affine[:3, :2] @ before
    return out, upright
