"""Outlines of a mask as closed polygons: through the edges of pixels, holes joined by a keyhole."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import contourpy
import numpy as np
from scipy.spatial import cKDTree

_INSIDE = 0.5


def outlines(mask: np.ndarray) -> Iterator[np.ndarray]:
    """The outlines of a mask.

    A line runs half-way between the centres of pixels inside and outside, so that the pixels whose
    centre lies in a polygon are those of the mask, all of them and no other. A hole is joined to
    its outline by a channel of no width.

    Args:
        mask: Where the structure is.

    Yields:
        Corners as (column, row) of pixel centres, (n, 2); the last is joined to the first.

    Shape:
        mask: (rows, columns).

    Source:
        DICOM PS3.3 C.8.8.6.3, inner contours as keyholes.
    """
    if not mask.any():
        return
    padded = np.pad(mask.astype(np.float32), 1)
    made = contourpy.contour_generator(z=padded, fill_type=contourpy.FillType.OuterOffset)
    filled: Any = made.filled(_INSIDE, 2.0)
    points, offsets = filled
    for corners, ends in zip(points, offsets, strict=True):
        # each ring repeats its first corner at its end; the frame of one pixel goes away again
        rings = [_straightened(corners[low : high - 1] - 1.0) for low, high in pairwise(ends)]
        yield _with_keyholes(rings[0], rings[1:])


def _straightened(ring: np.ndarray) -> np.ndarray:
    """Without corners on straight lines."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    turns = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    return np.asarray(ring[np.abs(turns) > 1e-9])


def _with_keyholes(outer: np.ndarray, holes: list[np.ndarray]) -> np.ndarray:
    """One polygon: the hole that is nearest to what is joined already comes next.

    The shortest way between two of the rings crosses no other ring.
    """
    joined, left = outer, list(holes)
    while left:
        tree = cKDTree(joined)
        ways = [tree.query(hole) for hole in left]
        nearest = min(range(len(left)), key=lambda turn: float(ways[turn][0].min()))
        distance, partner = ways[nearest]
        start = int(distance.argmin())
        at = int(partner[start])
        hole = np.roll(left.pop(nearest), -start, axis=0)
        # out to the hole, around it, and back the same way
        joined = np.concatenate([joined[: at + 1], hole, hole[:1], joined[at:]])
    return joined
