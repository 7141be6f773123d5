"""DICOM series of any direction, with labels at places in the patient that are known."""

import numpy as np

from tests.support import dicom_files as dicom

ORIGIN = np.array([10.0, -20.0, 30.0])
# between columns, rows and slices
SPACING = (2.0, 1.5, 3.0)
TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def oblique(degrees=(25.0, -35.0, 15.0)):
    """Directions of rows, columns and slices, none along an axis of the patient."""
    out = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        turn = np.eye(3)
        first, second = [each for each in range(3) if each != axis]
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        out = out @ turn
    return out


def write_series(
    folder, hu, name, *, turn=None, step=None, leave_out=(), change=None, origin=ORIGIN, **tags
):
    """Write values (x, y, z) as files of one frame, numbered against their order.

    Args:
        folder: Where the files go, without endings.
        hu: The values.
        name: Of the series, for its UIDs.
        turn: Directions of rows, columns and slices, columns of a matrix.
        step: From slice to slice, mm LPS; None goes straight along the normal.
        leave_out: Slices that are not written.
        change: Is given index and data set, and may change it.
        origin: First pixel of the first slice, mm LPS.
        tags: Of every file.

    Returns:
        Index (x, y, z) to patient, LPS mm, 4x4.
    """
    turn = np.eye(3) if turn is None else turn
    affine = np.eye(4)
    affine[:3, :3] = turn * SPACING
    affine[:3, 3] = origin
    if step is not None:
        affine[:3, 2] = step
    tags = {"PixelSpacing": [SPACING[1], SPACING[0]], "SliceThickness": SPACING[2], **tags}
    stored = dicom.as_stored(hu)
    for index, pixels in enumerate(stored):
        if index in leave_out:
            continue
        dataset = dicom.plane(
            pixels, name, len(stored) - index, affine[:3, 3] + index * affine[:3, 2],
            ImageOrientationPatient=[f"{each:.12f}"[:16] for each in turn[:, :2].T.ravel()], **tags,
        )  # fmt: skip
        if change:
            change(index, dataset)
        dicom.save(dataset, folder / f"{(index * 7) % 97:02d}-{index}")
    return affine


def ball(affine, shape, centre, radius_mm):
    """Where a ball in the patient is, on a grid; centre in mm LPS."""
    places = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    return np.linalg.norm(places - centre, axis=-1) <= radius_mm


def inside(affine, shape, part):
    """A place in the patient, from parts of the grid's edges."""
    return affine[:3, :3] @ (np.array(part) * (np.array(shape) - 1)) + affine[:3, 3]
