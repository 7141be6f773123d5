"""The loss of masked image modelling: hidden cells, each normalised by itself."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

EPS = 1e-6
CONSTANT = 1e-6
"""A cell whose variance lies below this has nothing to learn from."""


class CellTargets(NamedTuple):
    """The cells of an image, normalised.

    Shape:
        values: (B, L, V) with V = C times the voxels of a cell; mean, deviation: (B, L, 1);
        varies: (B, L) bool.
    """

    values: Tensor
    mean: Tensor
    deviation: Tensor
    varies: Tensor


class CellLoss(NamedTuple):
    """What a batch cost, each a scalar.

    Args:
        loss: Mean squared error over hidden cells that vary.
        baseline: The same for predicting each cell's mean.
        skipped: Share of hidden cells that are constant and left out.
        per_sample: (B,), NaN where every hidden cell is constant.
    """

    loss: Tensor
    baseline: Tensor
    skipped: Tensor
    per_sample: Tensor


def to_cells(x: Tensor, grid: Sequence[int]) -> Tensor:
    """Cut an image into its cells, voxels of a cell in row-major order, channels last.

    Shape:
        x: (B, C, *S), result (B, L, V) with the cells in row-major order.
    """
    rank = len(grid)
    edges = [size // cells for size, cells in zip(x.shape[2:], grid, strict=True)]
    both = [each for pair in zip(grid, edges, strict=True) for each in pair]
    y = x.reshape(*x.shape[:2], *both)
    cells = [2 + 2 * axis for axis in range(rank)]
    voxels = [3 + 2 * axis for axis in range(rank)]
    return y.permute(0, *cells, *voxels, 1).reshape(x.shape[0], math.prod(grid), -1)


def from_cells(cells: Tensor, grid: Sequence[int], size: Sequence[int]) -> Tensor:
    """Put cells together again; the inverse of `to_cells`.

    Shape:
        cells: (B, L, V), result (B, C, *size).
    """
    rank = len(grid)
    edges = [each // count for each, count in zip(size, grid, strict=True)]
    y = cells.reshape(cells.shape[0], *grid, *edges, -1)
    order = [each for axis in range(rank) for each in (1 + axis, 1 + rank + axis)]
    return y.permute(0, y.ndim - 1, *order).reshape(cells.shape[0], -1, *size)


def cell_targets(image: Tensor, grid: Sequence[int]) -> CellTargets:
    """Normalise each cell by its own mean and deviation: sqrt(unbiased variance + 1e-6)."""
    cells = to_cells(image.float(), grid)
    variance, mean = torch.var_mean(cells, dim=-1, keepdim=True)
    deviation = (variance + EPS).sqrt()
    return CellTargets((cells - mean) / deviation, mean, deviation, variance[..., 0] > CONSTANT)


def masked_cell_loss(
    predicted: Tensor, image: Tensor, seen: Tensor, skip_constant: bool = True
) -> CellLoss:
    """Mean squared error of hidden cells in normalised values.

    A constant cell (air clipped at the end of a window) has the target zero and costs nothing
    once the network knows it; averaged in, crops of air would look like progress.

    Args:
        predicted: Normalised cells laid out as the image.
        image: What was to be seen.
        seen: True where a cell was seen; those do not count.
        skip_constant: Leave constant cells out. The published code counts them.

    Shape:
        predicted, image: (B, C, *S), seen: (B, *F) bool.

    Source:
        Tan et al., "MambaMIM", 2025; He et al., "Masked autoencoders", 2022.
    """
    grid = seen.shape[1:]
    target = cell_targets(image, grid)
    hidden = seen.flatten(1).logical_not()
    counted = hidden & target.varies if skip_constant else hidden
    guess = to_cells(predicted.float(), grid)
    error = (guess - target.values).square().mean(dim=-1)
    plain = target.values.square().mean(dim=-1)
    total = counted.sum().clamp_min(1)
    skipped = 1 - (hidden & target.varies).sum() / hidden.sum()
    # an error of an uncounted cell must not become NaN times zero
    chosen = torch.where(counted, error, 0.0)
    return CellLoss(
        chosen.sum() / total,
        torch.where(counted, plain, 0.0).sum() / total,
        skipped,
        chosen.sum(dim=1) / counted.sum(dim=1),
    )


def restored(predicted: Tensor, image: Tensor, seen: Tensor) -> Tensor:
    """The image with hidden cells as predicted, given back the mean and deviation they had.

    Shape:
        predicted, image: (B, C, *S), seen: (B, *F) bool, result as the image.
    """
    grid = seen.shape[1:]
    target = cell_targets(image, grid)
    guess = to_cells(predicted.float(), grid) * target.deviation + target.mean
    plain = to_cells(image.float(), grid)
    cells = torch.where(seen.flatten(1).unsqueeze(-1), plain, guess)
    return from_cells(cells, grid, image.shape[2:])
