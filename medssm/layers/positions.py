"""Fixed positions: sines and cosines of a cell's place along each axis, for any grid."""

from collections.abc import Sequence

import torch
from torch import Tensor

from medssm.core.errors import BadArgumentError


def check_position_width(channels: int, spatial_dims: int) -> int:
    """Refuse a width that sines and cosines of every axis do not fill.

    Raises:
        BadArgumentError: The width does not divide by twice the rank; the next ones are named.
    """
    by = 2 * spatial_dims
    if channels % by:
        low = channels // by * by
        raise BadArgumentError(
            f"the deepest width must be a multiple of {by} for {spatial_dims} axes, found "
            f"{channels}; take {low or by} or {low + by}"
        )
    return channels


def sine_positions(
    grid: Sequence[int], channels: int, device: torch.device | None = None
) -> Tensor:
    """The table of a grid: sin(h w_k), cos(h w_k), then the next axis, w_k = 10000^(-k / p).

    Args:
        grid: Cells along each axis.
        channels: Width C, a multiple of twice the rank; p = C / (2 rank).
        device: Where to make it.

    Shape:
        result: (*F, C).

    Source:
        Tan et al., "MambaMIM", 2025; made anew for every grid, which the released weights cannot.
    """
    check_position_width(channels, len(grid))
    part = channels // (2 * len(grid))
    rates = 10000.0 ** (-torch.arange(part, device=device, dtype=torch.float32) / part)
    pieces: list[Tensor] = []
    for axis, size in enumerate(grid):
        angles = torch.arange(size, device=device, dtype=torch.float32)[:, None] * rates
        shape = [1] * len(grid) + [part]
        shape[axis] = size
        waves = (angles.sin(), angles.cos())
        pieces += [wave.view(shape).expand(*grid, part) for wave in waves]
    return torch.cat(pieces, dim=-1)
