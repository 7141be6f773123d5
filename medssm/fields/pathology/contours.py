"""CLAM's contours without tracing them: areas and insides of the lines through border pixels."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

_EIGHT = np.ones((3, 3), dtype=bool)
# CLAM's unit of area, pixels of level 0
_REFERENCE_PX = 512


@dataclass(frozen=True)
class ContourFilter:
    """Which contours count; areas in squares of 512 pixels of level 0.

    Args:
        least_tissue: Area above which a piece counts; CLAM's preset for biopsies takes 1.
        least_hole: Area above which a hole counts.
        most_holes: The largest holes that are looked at.
    """

    least_tissue: float = 100
    least_hole: float = 16
    most_holes: int = 8


@dataclass(frozen=True)
class Region:
    """One piece of tissue.

    Args:
        filled: Its pixels, holes filled.
        holes: Pixels of each hole that counts.
        corner: Column and row where the pixels begin in the mask.

    Shape:
        filled and each of holes: (H, W) of its own box, one pixel of border all round.
    """

    filled: np.ndarray
    holes: tuple[np.ndarray, ...]
    corner: tuple[int, int]

    def box_level0(self, scale: tuple[float, float]) -> tuple[int, int, int, int]:
        """Left, top, width and height in pixels of level 0, corners rounded down as CLAM does."""
        rows, columns = np.nonzero(self.filled)
        first = [int((at.min() + add) * s) for at, add, s in
                 zip((columns, rows), self.corner, scale, strict=True)]  # fmt: skip
        last = [int((at.max() + add) * s) for at, add, s in
                zip((columns, rows), self.corner, scale, strict=True)]  # fmt: skip
        return first[0], first[1], last[0] - first[0] + 1, last[1] - first[1] + 1

    def contains(self, points: np.ndarray) -> np.ndarray:
        """Whether points lie inside the outer line or on it; in pixels of the mask, (N, 2)."""
        return covered(self.filled, points - self.corner)

    def in_hole(self, points: np.ndarray) -> np.ndarray:
        """Whether points lie inside the line of a hole, not on it; in pixels of the mask."""
        found = np.zeros(len(points), dtype=bool)
        for hole in self.holes:
            found |= ~covered(~hole, points - self.corner, outside=True)
        return found


def regions(mask: np.ndarray, scale: tuple[float, float], counts: ContourFilter) -> list[Region]:
    """Pieces of tissue that pass CLAM's filter, the lowest on the slide first.

    Args:
        mask: Where tissue is, (H, W).
        scale: Level-0 pixels a pixel of the mask, along x and y.
        counts: Which contours count.

    Source:
        Lu et al., 2021 (CLAM), its filter of contours and holes.
    """
    square = int(_REFERENCE_PX**2 / (scale[0] * scale[1]))
    labels, _ = ndimage.label(mask, _EIGHT)
    found = []
    for index, box in enumerate(ndimage.find_objects(labels), start=1):
        rows, columns = box
        piece = np.pad(labels[box] == index, 1)
        filled = ndimage.binary_fill_holes(piece)
        holes = _holes(filled & ~piece)
        area = outline_area(filled) - sum(hole_area(hole) for hole in holes)
        if area <= counts.least_tissue * square or area == 0:
            continue
        holes.sort(key=hole_area, reverse=True)
        kept = [
            hole
            for hole in holes[: counts.most_holes]
            if hole_area(hole) > counts.least_hole * square
        ]
        found.append(Region(filled, tuple(kept), (columns.start - 1, rows.start - 1)))
    return found[::-1]


def _holes(pixels: np.ndarray) -> list[np.ndarray]:
    labels, count = ndimage.label(pixels)
    return [labels == index for index in range(1, count + 1)]


def outline_area(mask: np.ndarray) -> float:
    """Area inside the line through the middles of the border pixels, in pixels."""
    corners = _corner_counts(mask)
    return float((corners == 4).sum() + 0.5 * (corners == 3).sum())


def hole_area(hole: np.ndarray) -> float:
    """Area inside the line through the tissue pixels around a hole, in pixels."""
    corners = _corner_counts(np.pad(hole, 1))
    return float((corners >= 2).sum() + 0.5 * (corners == 1).sum())


def _corner_counts(mask: np.ndarray) -> np.ndarray:
    """Of each square between four pixel middles, how many belong to the mask."""
    m = mask.astype(np.int8)
    return np.asarray(m[:-1, :-1] + m[1:, :-1] + m[:-1, 1:] + m[1:, 1:])


def covered(mask: np.ndarray, points: np.ndarray, outside: bool = False) -> np.ndarray:
    """Whether points lie in or on the polygons through the border pixels of a mask.

    A square between four pixel middles belongs to the polygon as far as the triangles do whose
    corners are in the mask; two pixels alone span a line, one is a point.

    Args:
        mask: Pixels, (H, W).
        points: x and y in pixels, whole numbers at the middles, (N, 2).
        outside: What counts beyond the mask.
    """
    cells = np.floor(points).astype(np.int64)
    u, v = (points - cells).T
    grid = np.pad(mask, 1, constant_values=outside)
    x = np.clip(cells[:, 0] + 1, 0, grid.shape[1] - 2)
    y = np.clip(cells[:, 1] + 1, 0, grid.shape[0] - 2)
    a, b, c, d = grid[y, x], grid[y, x + 1], grid[y + 1, x], grid[y + 1, x + 1]
    triangles = (
        (a & b & c & (u + v <= 1))
        | (b & c & d & (u + v >= 1))
        | (a & b & d & (v <= u))
        | (a & c & d & (u <= v))
    )
    lines = (a & b & (v == 0)) | (a & c & (u == 0)) | (a & d & (u == v)) | (b & c & (u + v == 1))
    inside = triangles | lines | (a & (u == 0) & (v == 0))
    far = (cells < -1).any(axis=1) | (cells[:, 0] >= mask.shape[1]) | (cells[:, 1] >= mask.shape[0])
    return np.asarray(np.where(far, outside, inside))
