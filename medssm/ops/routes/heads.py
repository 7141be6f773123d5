"""Routes of several heads over a 2D grid: two orders a head, each both ways."""

from collections.abc import Callable

import torch
from torch import Tensor

from medssm.ops.routes.route import kept


@kept
def heads(height: int, width: int, names: tuple[str, ...]) -> Tensor:
    """Four routes a head: an order, its reverse, the head's other order and its reverse.

    Args:
        height: Rows of the grid.
        width: Columns of the grid.
        names: Of each head: "continuous" (rows, then columns, turning at the border),
            "diagonal" (diagonals from either upper corner, turning), "spiral" (clockwise inwards
            from the upper left, anticlockwise from the lower left) or "raster" (rows, columns).

    Raises:
        ValueError: A name is unknown.

    Source:
        Ji, "MHS-VM", 2024, multi-head scan.
    """
    unknown = [name for name in names if name not in _HEADS]
    if unknown:
        raise ValueError(f"unknown head {unknown[0]!r}; take {', '.join(_HEADS)}.")
    orders = [order for name in names for order in _HEADS[name](height, width)]
    return torch.stack([way for order in orders for way in (order, order.flip(0))])


Pair = tuple[Tensor, Tensor]


def _grid(height: int, width: int) -> Tensor:
    return torch.arange(height * width).view(height, width)


def _raster(height: int, width: int) -> Pair:
    return _grid(height, width).flatten(), _grid(height, width).t().flatten()


def _continuous(height: int, width: int) -> Pair:
    return _turning(_grid(height, width)), _turning(_grid(height, width).t())


def _turning(grid: Tensor) -> Tensor:
    odd = (torch.arange(grid.shape[0]) % 2 == 1)[:, None]
    return torch.where(odd, grid.flip(1), grid).flatten()


def _diagonal(height: int, width: int) -> Pair:
    row, column = torch.arange(height)[:, None], torch.arange(width)
    number = row + column
    key = number * height + torch.where(number % 2 == 1, row, height - 1 - row)
    order = key.flatten().argsort()
    return order, _grid(height, width).flip(1).flatten()[order]


def _spiral(height: int, width: int) -> Pair:
    row, column = torch.arange(height)[:, None], torch.arange(width)
    from_side = torch.minimum(column, width - 1 - column)
    ring = torch.minimum(torch.minimum(row, height - 1 - row), from_side)
    h, w, i, j = height - 2 * ring, width - 2 * ring, row - ring, column - ring
    left = 2 * (w - 1) + 2 * (h - 1) - i
    bottom = torch.where(i == h - 1, 2 * (w - 1) + (h - 1) - j, left)
    along = torch.where(i == 0, j, torch.where(j == w - 1, w - 1 + i, bottom))
    order = (height * width - h * w + along).flatten().argsort()
    return order, _grid(height, width).flip(0).flatten()[order]


_HEADS: dict[str, Callable[[int, int], Pair]] = {
    "continuous": _continuous,
    "diagonal": _diagonal,
    "spiral": _spiral,
    "raster": _raster,
}
