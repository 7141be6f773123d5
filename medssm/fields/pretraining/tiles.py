"""A whole volume through a masked network, crop by crop: embedding, reconstruction, cost."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from medssm.fields.pretraining.crops import crops_of
from medssm.fields.pretraining.samples import grid_of
from medssm.layers.masking import random_visible
from medssm.losses.masked_cells import masked_cell_loss, restored


@dataclass(frozen=True)
class Tiling:
    """How a volume is cut and masked.

    Args:
        crop: Voxels of a crop; two numbers take planes along the third axis.
        mask_ratio: Hidden share of the cells.
        skip_constant: Whether constant cells count.
        seed: Of the masks; crop i of every volume has the same mask.
    """

    crop: tuple[int, ...]
    mask_ratio: float
    skip_constant: bool
    seed: int


@dataclass(frozen=True)
class TiledResult:
    """What came of a volume.

    Args:
        embedding: Mean over its crops, nothing hidden, (C,).
        reconstruction: Hidden cells as predicted, with the mean and deviation they had.
        seen: Which voxels the network saw.
        loss: Masked loss, mean over crops.
        baseline: The same for predicting each cell's mean.
        skipped: Share of hidden cells that are constant.
        crops: How many.
    """

    embedding: np.ndarray
    reconstruction: np.ndarray
    seen: np.ndarray
    loss: float
    baseline: float
    skipped: float
    crops: int


@torch.no_grad()
def through(network: nn.Module, voxels: np.ndarray, tiling: Tiling) -> TiledResult:
    """Run every crop of a volume, dense for the embedding and masked for the rest.

    Args:
        network: A `MambaMIM` in evaluation mode.
        voxels: In 0..1.
        tiling: Crop and mask.

    Shape:
        voxels: (X, Y, Z).
    """
    device = next(network.parameters()).device
    grid = grid_of(tiling.crop, network.divisors)  # type: ignore[arg-type]
    size = (*tiling.crop, 1)[:3]
    made, seen = voxels.copy(), np.zeros(voxels.shape, dtype=bool)
    vectors, costs = [], []
    for index, (inside, cut) in enumerate(crops_of(voxels, size)):
        generator = torch.Generator().manual_seed(tiling.seed * 100_003 + index)
        visible = random_visible(1, grid, tiling.mask_ratio, generator).to(device)
        x = torch.from_numpy(cut.reshape(1, 1, *tiling.crop)).to(device)
        guess = network(x, visible)
        costs.append(masked_cell_loss(guess, x, visible.cells, tiling.skip_constant))
        vectors.append(network.embeddings(x)[0].float().cpu().numpy())  # type: ignore[operator]
        at, part = inside
        made[at] = restored(guess, x, visible.cells).cpu().numpy().reshape(size)[part]
        seen[at] = visible.at(tiling.crop)[0, ..., 0].cpu().numpy().reshape(size)[part]
    told = [cost for cost in costs if float(cost.baseline) > 0]
    return TiledResult(
        np.mean(vectors, axis=0),
        np.clip(made, 0, 1),
        seen,
        _mean([float(cost.loss) for cost in told]),
        _mean([float(cost.baseline) for cost in told]),
        _mean([float(cost.skipped) for cost in costs]),
        len(costs),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
