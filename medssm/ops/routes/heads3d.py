"""Routes of several heads over a 3D grid: three orders a head, each both ways. 3D is ours."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from medssm.ops.routes.heads import heads
from medssm.ops.routes.route import kept

SLICES = ((0, 1, 2), (1, 0, 2), (2, 0, 1))
"""Which axis the planes follow each other along, then the two axes of a plane."""


@kept
def heads3d(depth: int, height: int, width: int, names: tuple[str, ...]) -> Tensor:
    """Six routes a head: an order and its reverse for each of three orders.

    "continuous" and "spiral" run through plane after plane, every second one backwards, so that
    each step goes to a neighbour; "raster" through rows of planes; each once with the planes
    along every axis. "diagonal" goes from corner to corner through the layers i + j + k,
    turning at each, from three corners.

    Args:
        depth: Size of axis 0.
        height: Size of axis 1.
        width: Size of axis 2.
        names: Of each head: "continuous", "diagonal", "spiral" or "raster".

    Raises:
        ValueError: A name is unknown.
    """
    unknown = [name for name in names if name not in _HEADS]
    if unknown:
        raise ValueError(f"unknown head {unknown[0]!r}; take {', '.join(_HEADS)}.")
    grid = torch.arange(depth * height * width).view(depth, height, width)
    orders = [order for name in names for order in _HEADS[name](grid)]
    return torch.stack([way for order in orders for way in (order, order.flip(0))])


def _raster(grid: Tensor) -> list[Tensor]:
    return [grid.permute(axes).flatten() for axes in ((0, 1, 2), (0, 2, 1), (1, 2, 0))]


def _plane_by_plane(name: str) -> Callable[[Tensor], list[Tensor]]:
    def orders(grid: Tensor) -> list[Tensor]:
        return [_through(grid.permute(axes), name) for axes in SLICES]

    return orders


def _through(grid: Tensor, name: str) -> Tensor:
    """The 2D order of a head in every plane of axis 0, every second plane backwards."""
    _, height, width = grid.shape
    order = heads(height, width, (name,)).table[0].long()
    planes = grid.flatten(1)[:, order]
    odd = (torch.arange(grid.shape[0]) % 2 == 1)[:, None]
    return torch.where(odd, planes.flip(1), planes).flatten()


def _diagonal(grid: Tensor) -> list[Tensor]:
    return [_layers(grid, mirrored) for mirrored in ((), (2,), (1,))]


def _layers(grid: Tensor, mirrored: Sequence[int]) -> Tensor:
    """Layers of equal i + j + k, in memory's order in odd ones and backwards in even ones."""
    axes = [torch.arange(size) for size in grid.shape]
    number = axes[0][:, None, None] + axes[1][:, None] + axes[2]
    place = torch.arange(grid.numel()).view(grid.shape)
    turned = torch.where(number % 2 == 1, place, grid.numel() - 1 - place)
    key = number * grid.numel() + turned
    return grid.flip(tuple(mirrored)).flatten()[key.flatten().argsort()]


_HEADS: dict[str, Callable[[Tensor], list[Tensor]]] = {
    "continuous": _plane_by_plane("continuous"),
    "diagonal": _diagonal,
    "spiral": _plane_by_plane("spiral"),
    "raster": _raster,
}
