"""Labels of a volume back on the planes of its files, which a tilt or a missing slice set apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medssm.data.dicom.stacks import Slot, Stack
from medssm.data.dicom.volumes import LPS_TO_RAS


@dataclass(frozen=True)
class SourcePlanes:
    """Labels where the pixels of the files are.

    Args:
        slots: The planes that files hold, in order.
        labels: The label of every pixel.

    Shape:
        labels: (slots, rows, columns).
    """

    slots: Sequence[Slot]
    labels: np.ndarray


def to_source_planes(labels: np.ndarray, affine: np.ndarray, stack: Stack) -> SourcePlanes:
    """Take the labels of a volume at the pixels of the files.

    The axes of both grids are parallel, so a plane is the volume's slice moved within itself: by
    nothing, or for a tilt by what it was sheared. A slice that no file holds is left out.

    Args:
        labels: Of the volume as `read_stack` gives it.
        affine: Its voxel index to patient in mm (RAS), 4x4.
        stack: The planes.

    Shape:
        labels: (x, y, z).
    """
    back = np.linalg.inv(affine)
    header = stack.first.header
    there = [(index, slot) for index, slot in enumerate(stack.slots) if slot is not None]
    out = np.zeros((len(there), header.rows, header.columns), dtype=labels.dtype)
    for turn, (index, slot) in enumerate(there):
        assert slot.plane.position is not None
        place = back @ LPS_TO_RAS @ np.array([*slot.plane.position, 1.0])
        columns = _nearest(place[0], header.columns, labels.shape[0])
        rows = _nearest(place[1], header.rows, labels.shape[1])
        out[turn] = labels[:, :, index][np.ix_(columns, rows)].T
    return SourcePlanes([slot for _, slot in there], out)


def _nearest(start: float, count: int, size: int) -> np.ndarray:
    return np.clip(np.rint(start + np.arange(count)).astype(int), 0, size - 1)
