"""Crops that cover a volume."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

Slices = tuple[slice, ...]


def crop_starts(shape: Sequence[int], crop: Sequence[int]) -> list[tuple[int, ...]]:
    """Where crops begin that cover a volume; where it is smaller, one crop around it."""
    axes = []
    for size, edge in zip(shape, crop, strict=True):
        count = max(1, -(-size // edge))
        room = size - edge
        first = [round(room * i / max(1, count - 1)) for i in range(count)]
        axes.append(first if room > 0 else [room // 2])
    return list(itertools.product(*axes))


def crops_of(
    voxels: np.ndarray, size: Sequence[int]
) -> Iterator[tuple[tuple[Slices, Slices], np.ndarray]]:
    """Crops with the place of their inner part in the volume and in themselves."""
    for start in crop_starts(voxels.shape, size):
        at = tuple(
            slice(max(0, first), min(full, first + edge))
            for first, edge, full in zip(start, size, voxels.shape, strict=True)
        )
        part = tuple(
            slice(each.start - first, each.stop - first)
            for each, first in zip(at, start, strict=True)
        )
        cut = np.zeros(tuple(size), dtype=np.float32)
        cut[part] = voxels[at]
        yield (at, part), cut
