"""The order of the tiles of a slide: a recurrent network reads them one after another."""

from typing import Literal, get_args

import numpy as np

from medssm.core.errors import BadArgumentError

Order = Literal["file", "row", "column", "hilbert"]
ORDERS: tuple[str, ...] = get_args(Order)


def order_of(coords: np.ndarray, order: str) -> np.ndarray:
    """The permutation that brings tiles into an order.

    Args:
        coords: Corners x, y of the tiles, level-0 pixels.
        order: "file" leaves them, "row" goes along x first (TRIDENT), "column" along y first
            (CLAM inside a contour), "hilbert" along Hilbert's curve.

    Returns:
        Indices: element i of the result is the tile that comes i-th.

    Raises:
        BadArgumentError: No such order.

    Shape:
        coords: (N, 2); result: (N,).
    """
    coords = np.asarray(coords)
    if order == "file":
        return np.arange(len(coords))
    if order == "row":
        return np.lexsort((coords[:, 0], coords[:, 1]))
    if order == "column":
        return np.lexsort((coords[:, 1], coords[:, 0]))
    if order == "hilbert":
        return np.argsort(_along_hilbert(_cells(coords)), kind="stable")
    raise BadArgumentError(f"order={order!r}; expected one of {', '.join(ORDERS)}.")


def _cells(coords: np.ndarray) -> np.ndarray:
    """Tiles as cells of a grid: distance from the first, in steps of the closest two."""
    if not len(coords):
        return np.zeros((0, 2), dtype=np.int64)
    moved = coords.astype(np.int64) - coords.min(axis=0)
    gaps = [np.diff(np.unique(moved[:, axis])) for axis in (0, 1)]
    step = min((int(gap.min()) for gap in gaps if len(gap)), default=1)
    return moved // max(step, 1)


def _along_hilbert(cells: np.ndarray) -> np.ndarray:
    """Distance of cells along the curve over the smallest square of side 2**k that holds them.

    Source:
        Hilbert (1891): each quarter is the curve again, turned so that the ends meet.
    """
    x, y = cells[:, 0].copy(), cells[:, 1].copy()
    distance = np.zeros(len(cells), dtype=np.int64)
    side = 1 << max(int(cells.max(initial=0)).bit_length() - 1, 0)
    while side:
        right, upper = (x & side) > 0, (y & side) > 0
        distance += side * side * ((3 * right) ^ upper)
        # the lower quarters are mirrored, the right one of them turned as well
        turned = ~upper & right
        x[turned], y[turned] = side - 1 - (x[turned] % side), side - 1 - (y[turned] % side)
        x[~upper], y[~upper] = y[~upper].copy(), x[~upper].copy()
        x, y = x % side, y % side
        side >>= 1
    return distance
