"""Surfaces of masks as marching-cubes elements (surfels), and exact distances between them."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Mask = NDArray[np.bool_]
Values = NDArray[np.float64]
Cells = NDArray[np.int64]
Polygon = list[NDArray[np.float64]]
Triangle = tuple[int, int, int]


@dataclass(frozen=True)
class SurfaceDistances:
    """Distance of each surface element to the other surface, with the size of the element.

    Units:
        Distances in mm; areas in square mm (3D), or lengths in mm (2D).
    """

    reference_mm: Values
    reference_area: Values
    prediction_mm: Values
    prediction_area: Values


def surface_distances(
    reference: Mask, prediction: Mask, spacing_mm: tuple[float, ...]
) -> SurfaceDistances:
    """Measure the distance from each surface to the other one, exactly.

    A surface element lies at each corner between voxels whose neighbours are neither all inside
    nor all outside; its size is that of the marching-cubes patch there. Voxels beyond the image
    count as outside.

    Shape:
        reference, prediction: (Y, X) or (Z, Y, X), neither empty.

    Source:
        Nikolov et al. (2018), and the authors' package surface-distance; the distances are
        found by a k-d tree over surface elements instead of a distance map over the volume.
    """
    box = _union_box(reference, prediction)
    codes_reference = _neighbour_codes(reference[box])
    codes_prediction = _neighbour_codes(prediction[box])
    sizes = _surfel_sizes(tuple(spacing_mm))
    inside_out = len(sizes) - 1
    border_reference = (codes_reference != 0) & (codes_reference != inside_out)
    border_prediction = (codes_prediction != 0) & (codes_prediction != inside_out)
    return SurfaceDistances(
        _distances(border_reference, border_prediction, spacing_mm),
        sizes[codes_reference[border_reference]],
        _distances(border_prediction, border_reference, spacing_mm),
        sizes[codes_prediction[border_prediction]],
    )


def _union_box(reference: Mask, prediction: Mask) -> tuple[slice, ...]:
    either = reference | prediction
    box = []
    for axis in range(either.ndim):
        others = tuple(other for other in range(either.ndim) if other != axis)
        found = np.flatnonzero(either.any(axis=others))
        box.append(slice(int(found[0]), int(found[-1]) + 1))
    return tuple(box)


def _neighbour_codes(mask: Mask) -> NDArray[np.uint8]:
    """One bit for each voxel that touches a corner point; a point more than voxels per axis."""
    codes: NDArray[np.uint8] = np.pad(mask.astype(np.uint8), 1)
    for place, axis in enumerate(reversed(range(mask.ndim))):
        low = tuple(slice(0, -1) if a == axis else slice(None) for a in range(mask.ndim))
        high = tuple(slice(1, None) if a == axis else slice(None) for a in range(mask.ndim))
        codes = (codes[low] | (codes[high] << (1 << place))).astype(np.uint8)
    return codes


def _distances(source: Mask, target: Mask, spacing_mm: tuple[float, ...]) -> Values:
    """Distance from each point of `source` to the nearest point of `target`, in array order."""
    shared = target[source]
    result = np.zeros(len(shared))
    if shared.all():
        return result
    starts = np.argwhere(source)[~shared]
    ends = np.argwhere(target)
    spacing = np.asarray(spacing_mm)
    tree = cKDTree(ends * spacing, balanced_tree=False, compact_nodes=False)
    nearest = tree.query(starts * spacing)[1]
    # from whole steps on the grid, so that a distance of one voxel is exactly its spacing
    steps = (ends[nearest] - starts) * spacing
    result[~shared] = np.sqrt((steps**2).sum(axis=1))
    return result


@lru_cache(maxsize=64)
def _surfel_sizes(spacing_mm: tuple[float, ...]) -> Values:
    """Area (3D) or length (2D) of the surface patch of each neighbour code."""
    spacing = np.asarray(spacing_mm)
    if len(spacing) == 2:
        return np.array([_contour_length(code, spacing) for code in range(16)])
    return np.array(
        [
            sum(_area([corner * spacing for corner in triangle]) for triangle in patch)
            for patch in _patches()
        ]
    )


def _contour_length(code: int, spacing: Values) -> float:
    """Length of the contour between four pixels: bits are (0,0), (0,1), (1,0), (1,1)."""
    inside = np.array([(code >> bit) & 1 for bit in range(4)]).reshape(2, 2)
    count = int(inside.sum())
    diagonal = float(np.hypot(*spacing)) / 2
    if count in (1, 3):
        return diagonal
    if count != 2:
        return 0.0
    if inside[0, 0] == inside[1, 1]:
        return 2 * diagonal
    return float(spacing[1] if inside[0, 0] == inside[0, 1] else spacing[0])


@lru_cache(maxsize=1)
def _patches() -> tuple[list[Polygon], ...]:
    """Triangles of the surface patch of each of the 256 codes, on the unit cube."""
    found: list[list[Polygon]] = []
    for code in range(256):
        # the rarer side is the one that is kept apart where a face is ambiguous
        rare = code if bin(code).count("1") <= 4 else 255 - code
        found.append([t for polygon in _polygons(rare) for t in _triangles(polygon)])
    return tuple(found)


def _polygons(code: int) -> list[Polygon]:
    """Closed lines on the faces of the unit cube that part the corners inside from the others."""
    neighbours: dict[frozenset[int], list[frozenset[int]]] = {}
    for face in _faces():
        edges = [frozenset((face[k], face[(k + 1) % 4])) for k in range(4)]
        crossed = [k for k in range(4) if _inside(code, face[k]) != _inside(code, face[k - 3])]
        pairs = [(k - 1, k) for k in range(4) if _inside(code, face[k])]
        links = pairs if len(crossed) == 4 else [(crossed[0], crossed[1])] if crossed else []
        for first, second in links:
            neighbours.setdefault(edges[first], []).append(edges[second])
            neighbours.setdefault(edges[second], []).append(edges[first])
    return _loops(neighbours)


def _loops(neighbours: dict[frozenset[int], list[frozenset[int]]]) -> list[Polygon]:
    loops: list[Polygon] = []
    unseen = set(neighbours)
    for start in sorted(neighbours, key=sorted):
        current: frozenset[int] | None = start if start in unseen else None
        loop: Polygon = []
        while current is not None:
            unseen.discard(current)
            loop.append(np.mean([_corner(index) for index in current], axis=0))
            current = next((other for other in neighbours[current] if other in unseen), None)
        if loop:
            loops.append(loop)
    return loops


def _faces() -> list[list[int]]:
    """The corners of each face of the cube, going round."""
    faces = []
    for axis, side in product(range(3), (0, 1)):
        around = [(0, 0), (0, 1), (1, 1), (1, 0)]
        corners = [[*list(pair[:axis]), side, *list(pair[axis:])] for pair in around]
        faces.append([z * 4 + y * 2 + x for z, y, x in corners])
    return faces


def _inside(code: int, corner: int) -> bool:
    return bool((code >> corner) & 1)


def _corner(index: int) -> NDArray[np.float64]:
    return np.array([(index >> 2) & 1, (index >> 1) & 1, index & 1], dtype=float)


def _triangles(polygon: Polygon) -> list[Polygon]:
    """Cut a polygon; of the ways to cut one that is bent, the one of greatest area is meant.

    That choice gives the areas of the surface-distance package for all 256 codes.
    """
    ways = [
        [[polygon[i], polygon[j], polygon[k]] for i, j, k in way]
        for way in _triangulations(0, len(polygon) - 1)
    ]
    return max(ways, key=lambda way: round(sum(map(_area, way)), 9))


def _triangulations(first: int, last: int) -> list[list[Triangle]]:
    if last - first < 2:
        return [[]]
    return [
        [*left, *right, (first, middle, last)]
        for middle in range(first + 1, last)
        for left in _triangulations(first, middle)
        for right in _triangulations(middle, last)
    ]


def _area(triangle: Polygon) -> float:
    a, b, c = triangle
    return float(np.linalg.norm(np.cross(b - a, c - a))) / 2
