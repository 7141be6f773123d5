"""Routes along the axes of a grid of any rank: all of them, or one."""

from collections.abc import Callable

from torch import Tensor

from medssm.ops.routes import Routes, axes3d, cross2d, there_and_back
from medssm.ops.routes.route import kept


@kept
def axis_routes(*size: int) -> Tensor:
    """Along every axis in turn, the last axis of the grid first; then all of them backwards.

    Two routes over a sequence, four over an image, six over a volume.

    Args:
        size: One to three sizes.
    """
    makers: dict[int, Callable[..., Routes]] = {1: there_and_back, 2: cross2d, 3: axes3d}
    return makers[len(size)](*size).table


@kept
def axis_route(index: int, *size: int) -> Tensor:
    """One of `axis_routes`: 0 forwards along the last axis, 1 backwards, 2 along the next, ...

    Args:
        index: Which; it starts again after the last.
        size: One to three sizes.
    """
    axis, backwards = divmod(index % (2 * len(size)), 2)
    row = axis + backwards * len(size)
    return axis_routes(*size).table[row : row + 1]
