"""How far a reconstruction may be off: the spread over masks, or over added noise."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

UncertaintyName = Literal["none", "masks", "replicas"]


def thinned(mask: Tensor, acs: Tensor, share: float, generator: np.random.Generator) -> Tensor:
    """A mask without a share of its samples outside the centre; columns stay whole.

    Shape:
        mask, acs, result: (H, W).
    """
    columns = bool((mask == mask[:1]).all())
    size = (mask.shape[1],) if columns else tuple(mask.shape)
    dropped = torch.from_numpy(generator.random(size) < share)
    return mask & (acs | ~dropped)


def noise_spread(kspace: Tensor, mask: Tensor) -> float:
    """Standard deviation of the real and of the imaginary part of noise, from the rim of k-space.

    The outermost tenth of the samples, by distance from the middle, holds little but noise; the
    median of its magnitudes is sqrt(2 ln 2) standard deviations.

    Shape:
        kspace: (coil, H, W, 2), mask: (H, W).
    """
    height, width = mask.shape
    rows = (torch.arange(height) - height // 2) / height
    columns = (torch.arange(width) - width // 2) / width
    away = (rows[:, None] ** 2 + columns[None, :] ** 2).masked_fill(~mask, -1.0)
    count = max(1, int(mask.sum()) // 10)
    places = away.flatten().topk(count).indices
    lengths = kspace.square().sum(-1).sqrt().flatten(1)[:, places]
    return float(lengths.median() / np.sqrt(2 * np.log(2)))


def with_noise(
    kspace: Tensor, mask: Tensor, spread: float, generator: np.random.Generator
) -> Tensor:
    """Samples with as much noise again: a replica of the measurement.

    Shape:
        kspace: (coil, H, W, 2), mask: (H, W).
    """
    noise = generator.standard_normal(tuple(kspace.shape), dtype=np.float32)
    return kspace + spread * torch.from_numpy(noise) * mask[None, :, :, None]


def calibration(
    error: np.ndarray, deviation: np.ndarray, where: np.ndarray
) -> dict[str, float | list[float]]:
    """Whether stated deviations are honest.

    Args:
        error: Absolute error.
        deviation: Stated standard deviation.
        where: Pixels that count.

    Returns:
        "within_1", "within_2", "within_3": share of pixels whose error is below so many standard
        deviations (0.68, 0.95 and 0.997 for a normal error); "scale": what the deviations must be
        multiplied with so that 95 % lie within two of them; "correlation" of error and deviation;
        "stated" and "met": mean deviation and root mean squared error in ten bins of deviation.

    Shape:
        all: (S, H, W).
    """
    off, spread = error[where].astype(np.float64), deviation[where].astype(np.float64)
    if off.size == 0:
        return {}
    ratio = off / np.maximum(spread, 1e-12)
    order = np.argsort(spread)
    varies = bool(off.std() > 0 and spread.std() > 0)
    bins = np.array_split(order, min(10, len(order)))
    return {
        **{f"within_{count}": float((ratio < count).mean()) for count in (1, 2, 3)},
        "scale": float(np.percentile(ratio, 95) / 2),
        "correlation": float(np.corrcoef(off, spread)[0, 1]) if varies else float("nan"),
        "stated": [float(spread[each].mean()) for each in bins],
        "met": [float(np.sqrt((off[each] ** 2).mean())) for each in bins],
    }
