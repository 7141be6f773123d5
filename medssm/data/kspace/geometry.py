"""Where slices lie in the patient: from ISMRMRD's LPS directions to an affine in RAS mm."""

from collections.abc import Sequence

import numpy as np

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


def affine_of_slices(
    heads: Sequence[np.void],
    spacing_mm: tuple[float, float, float],
    size: tuple[int, int],
    planes: int | None = None,
) -> np.ndarray | None:
    """The affine of (row, column, slice) indices of cropped images.

    ISMRMRD gives the centre of the field of view, which an image holds at (h // 2, w // 2).

    Args:
        heads: An acquisition of every slice, in order; of a slab only one.
        spacing_mm: Along (rows, columns, slices).
        size: (h, w) of the images.
        planes: For a slab: its planes along the read-out, with rows along the partitions.

    Returns:
        4 × 4, or None where the directions are not set, not orthogonal, or slices are not evenly
        spaced on one line.
    """
    read, phase, through = (
        np.array(heads[0][name], dtype=float) for name in ("read_dir", "phase_dir", "slice_dir")
    )
    axes = np.stack([read, phase, through], axis=1)
    if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-3):
        return None
    positions = np.array([head["position"] for head in heads], dtype=float)
    if planes is None:
        step = through * spacing_mm[2]
        if len(positions) > 1:
            steps = np.diff(positions, axis=0)
            step = steps[0]
            even = np.allclose(steps, step, atol=1e-2)
            if not even or abs(abs(step @ through) - np.linalg.norm(step)) > 1e-2:
                return None
        columns = [read * spacing_mm[0], phase * spacing_mm[1], step]
        origin = positions[0]
    else:
        columns = [through * spacing_mm[0], phase * spacing_mm[1], read * spacing_mm[2]]
        origin = positions[0] - columns[2] * (planes // 2)
    origin = origin - columns[0] * (size[0] // 2) - columns[1] * (size[1] // 2)
    affine = np.eye(4)
    affine[:3, :3] = _LPS_TO_RAS @ np.stack(columns, axis=1)
    affine[:3, 3] = _LPS_TO_RAS @ origin
    return affine if abs(np.linalg.det(affine[:3, :3])) > 1e-9 else None
