"""What was sampled: the mask and the calibration area of a volume, found from its zeros."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

# a volume with fewer zeros than this is fully sampled: single samples may be zero by chance
_FULL_SHARE = 0.999
# a centre of fewer rows or columns calibrates nothing
_LEAST_ACS = 4


@dataclass(frozen=True)
class Sampling:
    """What was found.

    Args:
        mask: Acquired positions, or None where all are but the padding.
        acs: The fully sampled centre of an undersampled volume.
        padding: Positions that the protocol never acquires.
    """

    mask: np.ndarray | None
    acs: np.ndarray | None
    padding: np.ndarray | None


def find_sampling(
    read: Callable[[int], np.ndarray], slices: int, padding: np.ndarray | None = None
) -> Sampling:
    """Tell a fully sampled volume from an undersampled one, and find mask and centre.

    The middle slice decides whether there are holes; only then all slices are read, one at a time,
    and a position counts as acquired where any slice or coil has a sample.

    Args:
        read: Gives the samples of a slice.
        slices: How many there are.
        padding: What the header says is never acquired.

    Shape:
        a slice: (coils, H, W) complex; masks: (H, W) boolean.
    """
    middle = _acquired(read(slices // 2))
    allowed = np.ones_like(middle) if padding is None else ~padding
    if middle[allowed].mean() >= _FULL_SHARE:
        return Sampling(None, None, padding)
    found = acquired_anywhere(read, range(slices)) & allowed
    if found[allowed].mean() >= _FULL_SHARE:
        return Sampling(None, None, padding)
    edges = _empty_edges(found)
    if edges is not None and (found | edges)[allowed].mean() >= _FULL_SHARE:
        whole = edges if padding is None else edges | padding
        return Sampling(None, None, whole)
    return Sampling(found, find_acs(found), padding)


def acquired_anywhere(read: Callable[[int], np.ndarray], slices: Iterable[int]) -> np.ndarray:
    """Positions with a sample in any slice or coil, (H, W)."""
    found: np.ndarray | None = None
    for index in slices:
        here = _acquired(read(index))
        found = here if found is None else found | here
    if found is None:
        raise ValueError("no slices")
    return found


def _acquired(kspace: np.ndarray) -> np.ndarray:
    # NaN counts as acquired: whoever reads the slice says so
    return np.asarray((kspace != 0).any(axis=0))


def _empty_edges(found: np.ndarray) -> np.ndarray | None:
    """Whole columns at the left and right edge without a sample: padding, not undersampling."""
    columns = np.flatnonzero(found.any(axis=0))
    if not columns.size:
        return None
    empty = np.zeros_like(found)
    empty[:, : columns[0]] = True
    empty[:, columns[-1] + 1 :] = True
    return empty


def find_acs(mask: np.ndarray) -> np.ndarray:
    """The fully sampled area around the centre of a mask.

    Of the run of whole columns, the largest centred rectangle and the largest centred disc, the
    one with most samples is taken; one of fewer than 4 rows or columns counts as none.

    Args:
        mask: Acquired positions.

    Returns:
        The area; all False where the centre is not sampled.

    Shape:
        mask and result: (H, W) boolean.
    """
    candidates = [_columns(mask), _rectangle(mask), _disc(mask)]
    best = max(candidates, key=lambda each: int(each.sum()))
    rows, columns = best.any(axis=1).sum(), best.any(axis=0).sum()
    return best if min(rows, columns) >= min(_LEAST_ACS, *mask.shape) else np.zeros_like(mask)


def acs_size(acs: np.ndarray) -> tuple[int, int]:
    """Rows and columns that a calibration area spans."""
    return int(acs.any(axis=1).sum()), int(acs.any(axis=0).sum())


def _columns(mask: np.ndarray) -> np.ndarray:
    """The run of sampled columns around W // 2; rows that no column has (a cut read-out) apart."""
    rows = mask.any(axis=1)
    whole = np.asarray(mask[rows].all(axis=0)) & bool(rows.any())
    centre = mask.shape[1] // 2
    area = np.zeros_like(mask)
    if not whole[centre]:
        return area
    gaps = np.flatnonzero(~whole)
    left = gaps[gaps < centre].max(initial=-1) + 1
    right = gaps[gaps > centre].min(initial=mask.shape[1])
    area[np.ix_(rows, np.arange(left, right))] = True
    return area


def _rectangle(mask: np.ndarray) -> np.ndarray:
    """Grow a rectangle from the centre, one side after the other, as long as it is full."""
    top, left = (size // 2 for size in mask.shape)
    bottom, right = top + 1, left + 1
    area = np.zeros_like(mask)
    if not mask[top, left]:
        return area
    grown = True
    while grown:
        grown = False
        if top > 0 and mask[top - 1, left:right].all():
            top, grown = top - 1, True
        if bottom < mask.shape[0] and mask[bottom, left:right].all():
            bottom, grown = bottom + 1, True
        if left > 0 and mask[top:bottom, left - 1].all():
            left, grown = left - 1, True
        if right < mask.shape[1] and mask[top:bottom, right].all():
            right, grown = right + 1, True
    area[top:bottom, left:right] = True
    return area


def _disc(mask: np.ndarray) -> np.ndarray:
    """The largest disc around (H // 2, W // 2) without a hole."""
    rows, columns = np.indices(mask.shape)
    distance = np.hypot(rows - mask.shape[0] // 2, columns - mask.shape[1] // 2)
    nearest_hole = distance[~mask].min(initial=np.inf)
    reach = min(size - 1 - size // 2 for size in mask.shape)
    return np.asarray(mask & (distance < nearest_hole) & (distance <= reach))
