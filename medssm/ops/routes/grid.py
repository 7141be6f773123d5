"""Routes over a grid stored row by row: cross-scans in 2D, axis orders in 3D, windows."""

import itertools

import torch
from torch import Tensor

from medssm.ops.routes.route import kept

ALL_ORDERS = tuple(itertools.permutations(range(3)))
AXES_FASTEST = ((0, 1, 2), (0, 2, 1), (1, 2, 0))  # the last, the middle, the first axis runs


@kept
def cross2d(height: int, width: int) -> Tensor:
    """Four routes: by rows, by columns, and both backwards.

    Source:
        Liu et al., "VMamba", 2024, SS2D.
    """
    grid = torch.arange(height * width).view(height, width)
    rows, columns = grid.flatten(), grid.t().flatten()
    return torch.stack((rows, columns, rows.flip(0), columns.flip(0)))


@kept
def axes3d(
    depth: int,
    height: int,
    width: int,
    orders: tuple[tuple[int, ...], ...] = AXES_FASTEST,
    both_ways: bool = True,
) -> Tensor:
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
    return torch.cat((table, table.flip(1))) if both_ways else table


@kept
def windows(sizes: tuple[int, ...], window: tuple[int, ...]) -> Tensor:
    """One route from window to window, row by row among the windows and within each.

    Windows at the end of an axis are smaller where its size is no multiple.

    Args:
        sizes: Sizes of the grid.
        window: Sizes of a window.

    Raises:
        ValueError: The ranks differ, or a window has no cells.

    Source:
        Huang et al., "LocalMamba", 2024, local scan.
    """
    if len(sizes) != len(window) or min(window) < 1:
        raise ValueError(f"window {window} does not fit a grid of sizes {sizes}.")
    number = torch.zeros(sizes, dtype=torch.long)
    for axis, (size, cells) in enumerate(zip(sizes, window, strict=True)):
        across = [1] * len(sizes)
        across[axis] = size
        number = number * -(-size // cells) + (torch.arange(size) // cells).view(across)
    return number.flatten().argsort(stable=True)[None]
