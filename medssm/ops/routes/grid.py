"""Routes over a grid stored row by row: cross-scans in 2D, axis orders in 3D. Built once each."""

import functools
import itertools

import torch

from medssm.ops.routes.route import Routes

ALL_ORDERS = tuple(itertools.permutations(range(3)))
AXES_FASTEST = ((0, 1, 2), (0, 2, 1), (1, 2, 0))  # the last, the middle, the first axis runs


@functools.lru_cache(maxsize=64)
def cross2d(height: int, width: int) -> Routes:
    """Four routes: by rows, by columns, and both backwards.

    Source:
        Liu et al., "VMamba", 2024, SS2D.
    """
    grid = torch.arange(height * width).view(height, width)
    rows, columns = grid.flatten(), grid.t().flatten()
    return Routes(torch.stack((rows, columns, rows.flip(0), columns.flip(0))))


@functools.lru_cache(maxsize=64)
def axes3d(
    depth: int,
    height: int,
    width: int,
    orders: tuple[tuple[int, ...], ...] = AXES_FASTEST,
    both_ways: bool = True,
) -> Routes:
    """Routes that run through a volume with another axis fastest each.

    Args:
        depth: Size of axis 0.
        height: Size of axis 1.
        width: Size of axis 2.
        orders: Axis orders, the slowest axis first.
        both_ways: Whether the reverse of each route follows all routes.

    Raises:
        ValueError: An order is no permutation of the three axes.
    """
    for order in orders:
        if tuple(order) not in ALL_ORDERS:
            raise ValueError(f"axis order {order} is no permutation of (0, 1, 2).")
    grid = torch.arange(depth * height * width).view(depth, height, width)
    table = torch.stack([grid.permute(order).flatten() for order in orders])
    return Routes(torch.cat((table, table.flip(1))) if both_ways else table)
