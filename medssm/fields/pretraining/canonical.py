"""One frame for all volumes: RAS axes, one spacing, the body and a margin."""

from dataclasses import dataclass, replace

import nibabel
import numpy as np
from scipy import ndimage

_BODY_HU = -500
# the body is found on a grid about this coarse, which opening then clears of table and tubes
_COARSE_MM = 4.0
# within this share of the target a spacing is left alone
_CLOSE = 0.05


@dataclass(frozen=True)
class Frame:
    """Voxels with their place.

    Args:
        voxels: (x, y, z).
        affine: Voxel index to patient in mm, 4x4 (RAS).
    """

    voxels: np.ndarray
    affine: np.ndarray

    @property
    def spacing_mm(self) -> np.ndarray:
        """Distance of voxels along each axis."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))


def to_canonical(frame: Frame) -> Frame:
    """Flip and swap axes so that they run to the right, the front and the head as near as can be.

    No value is interpolated; an oblique volume stays oblique.
    """
    orientation = nibabel.orientations.io_orientation(frame.affine)
    voxels = nibabel.orientations.apply_orientation(frame.voxels, orientation)
    inverse = nibabel.orientations.inv_ornt_aff(orientation, frame.voxels.shape)
    return Frame(np.ascontiguousarray(voxels), np.asarray(frame.affine @ inverse))


def body_mask(frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Where the body is, on a coarse grid.

    Above -500 HU, opened, the largest component, holes filled: lungs are in, the table is out.

    Returns:
        The mask, and how many voxels of the frame one of its cells is along each axis.
    """
    stride = np.maximum(1, np.floor(_COARSE_MM / frame.spacing_mm)).astype(int)
    coarse = frame.voxels[:: stride[0], :: stride[1], :: stride[2]] > _BODY_HU
    opened = ndimage.binary_opening(coarse, ndimage.generate_binary_structure(3, 1))
    labels, count = ndimage.label(opened if opened.any() else coarse)
    if count == 0:
        return np.zeros_like(coarse), stride
    largest = int(np.bincount(labels.ravel())[1:].argmax()) + 1
    body = labels == largest
    for level in range(body.shape[2]):
        body[:, :, level] = ndimage.binary_fill_holes(body[:, :, level])
    return body, stride


def body_box(
    frame: Frame, mask: np.ndarray, stride: np.ndarray, margin_mm: float
) -> tuple[tuple[int, int], ...]:
    """The box around the body with a margin, in voxels of the frame; all of it without a body."""
    if not mask.any():
        return tuple((0, size) for size in frame.voxels.shape)
    box = []
    for axis in range(3):
        others = tuple(each for each in range(3) if each != axis)
        there = np.flatnonzero(mask.any(axis=others))
        margin = int(np.ceil(margin_mm / frame.spacing_mm[axis]))
        first = int(there[0]) * int(stride[axis]) - margin
        last = (int(there[-1]) + 1) * int(stride[axis]) + margin
        box.append((max(0, first), min(frame.voxels.shape[axis], last)))
    return tuple(box)


def crop(frame: Frame, box: tuple[tuple[int, int], ...]) -> Frame:
    """Cut a box out; the affine follows."""
    affine = frame.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [first for first, _ in box]
    ranges = tuple(slice(first, last) for first, last in box)
    return Frame(np.ascontiguousarray(frame.voxels[ranges]), affine)


def resample(frame: Frame, spacing_mm: float) -> Frame:
    """Bring every axis to a spacing, linearly, axis by axis; low-pass before an axis gets coarser.

    Thick slices are so interpolated apart from the plane, without a rule of their own. An axis
    within 5 % of the target is left alone.
    """
    for axis in range(3):
        old = float(frame.spacing_mm[axis])
        if abs(old / spacing_mm - 1) > _CLOSE:
            frame = _resample_axis(frame, axis, spacing_mm / old)
    return frame


def _resample_axis(frame: Frame, axis: int, factor: float) -> Frame:
    size = frame.voxels.shape[axis]
    count = max(1, round(size / factor))
    # voxels are cells: both grids cover the same millimetres
    scale = size / count
    voxels = frame.voxels.astype(np.float32, copy=False)
    if scale > 1:
        # the width at which an average over the new cell and the old one agree
        voxels = ndimage.gaussian_filter1d(voxels, (scale - 1) / 2, axis=axis, mode="nearest")
    at = np.clip((np.arange(count) + 0.5) * scale - 0.5, 0, size - 1)
    below = np.minimum(at.astype(int), max(0, size - 2))
    shape = [1, 1, 1]
    shape[axis] = count
    share = (at - below).astype(np.float32).reshape(shape)
    lower = np.take(voxels, below, axis=axis)
    upper = np.take(voxels, np.minimum(below + 1, size - 1), axis=axis)
    lower += (upper - lower) * share
    affine = frame.affine.copy()
    affine[:3, 3] += affine[:3, axis] * (0.5 * scale - 0.5)
    affine[:3, axis] *= scale
    return replace(frame, voxels=lower, affine=affine)
