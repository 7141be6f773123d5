"""How good a volume is to learn from: checks with figures, stored and filtered later."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

_MIN_EXTENT_MM = 96.0
_MAX_SPACING_MM = 5.0
_MIN_SLICES = 32
_MIN_BODY = 0.05
_MIN_TISSUE = 0.3
_MAX_AIR_NOISE_HU = 60.0
_MAX_SATURATED = 0.002
_MAX_CONSTANT_SLICES = 0.05
_MAX_JUMP = 6.0
_TOP_HU = 3071
# HU of the histogram that is compared with the archive's mean
HISTOGRAM_EDGES = np.linspace(-1024, 1024, 33)


@dataclass(frozen=True)
class Quality:
    """The checks of a volume.

    Args:
        figures: What was measured.
        failed: Names of the checks that it does not pass.
        score: Share of the checks that it passes.
        histogram: Share of its voxels a bin of `HISTOGRAM_EDGES`; empty where values are not HU.
    """

    figures: Mapping[str, float]
    failed: tuple[str, ...]
    score: float
    histogram: tuple[float, ...]


def assess(
    voxels: np.ndarray, spacing_mm: np.ndarray, body: np.ndarray | None, slices: int
) -> Quality:
    """Check a volume on its own grid, before it is cropped and resampled.

    Args:
        voxels: HU where `body` is given, (x, y, z).
        spacing_mm: Along the same axes.
        body: Coarse mask of the body; None where values are not HU.
        slices: Planes along the axis of the stack.
    """
    extent = np.asarray(voxels.shape) * spacing_mm
    figures: dict[str, float] = {
        "spacing_mm": float(spacing_mm.max()),
        "constant_slices": _constant_slices(voxels),
        "jump": _jump(voxels),
    }
    passed = {
        "spacing": figures["spacing_mm"] <= _MAX_SPACING_MM,
        "constant-slices": figures["constant_slices"] <= _MAX_CONSTANT_SLICES,
        "jumps": figures["jump"] <= _MAX_JUMP,
    }
    histogram: tuple[float, ...] = ()
    if body is not None:
        thin = voxels[::2, ::2, :]
        figures |= {
            "extent_mm": float(extent.min()),
            "slices": float(slices),
            "body": float(body.mean()),
            "tissue": _share_of_tissue(thin),
            "air_noise_hu": _air_noise(thin),
            "saturated": float((thin >= _TOP_HU).mean()),
        }
        passed |= {
            "extent": figures["extent_mm"] >= _MIN_EXTENT_MM,
            "slices": slices >= _MIN_SLICES,
            "body": figures["body"] >= _MIN_BODY,
            "tissue": figures["tissue"] >= _MIN_TISSUE,
            "air-noise": figures["air_noise_hu"] <= _MAX_AIR_NOISE_HU,
            "saturation": figures["saturated"] <= _MAX_SATURATED,
        }
        counts, _ = np.histogram(thin, HISTOGRAM_EDGES)
        histogram = tuple(float(round(each, 6)) for each in counts / max(1, counts.sum()))
    failed = tuple(sorted(name for name, good in passed.items() if not good))
    score = round(1 - len(failed) / len(passed), 4)
    return Quality({k: round(v, 5) for k, v in figures.items()}, failed, score, histogram)


def looks_like_hu(voxels: np.ndarray) -> bool:
    """Whether values are HU: an air peak near -1000 beside soft tissue, or padding for the air."""
    thin = voxels[::2, ::2, ::2]
    if thin.size < 64:
        thin = voxels
    low = thin[thin < -500]
    soft = float(((thin > -200) & (thin < 300)).mean())
    if low.size < 0.005 * thin.size or soft < 0.01:
        return False
    air = low[low > -1024]
    if air.size < 0.1 * low.size:
        # cut out bodies: all air is padding
        return True
    counts, edges = np.histogram(air, np.arange(-1025, -499, 25))
    # lungs make a peak of their own; the outer air has to be there as well
    near = counts[edges[:-1] < -900].max(initial=0)
    return bool(near >= 0.1 * counts.max() or air.size < 0.5 * low.size)


def looks_like_labels(voxels: np.ndarray) -> bool:
    """Whether voxels are a label map: few whole numbers from 0 on, equal to their neighbours."""
    if voxels.min() < 0 or voxels.max() > 65535:
        return False
    if voxels.dtype.kind == "f" and not np.array_equal(voxels, np.rint(voxels)):
        return False
    left, right = voxels[:-1], voxels[1:]
    inside = (left != 0) | (right != 0)
    if not inside.any():
        return False
    return float((left == right)[inside].mean()) > 0.4 and len(np.unique(voxels)) <= 1024


def _constant_slices(voxels: np.ndarray) -> float:
    return float((voxels.max(axis=(0, 1)) == voxels.min(axis=(0, 1))).mean())


def _jump(voxels: np.ndarray) -> float:
    """The largest mean difference of neighbouring slices, in medians of all."""
    thin = voxels[::2, ::2].astype(np.float32)
    steps = np.abs(np.diff(thin, axis=2)).mean(axis=(0, 1))
    typical = float(np.median(steps)) if steps.size else 0.0
    return float(steps.max() / typical) if typical > 0 else 0.0


def _share_of_tissue(voxels: np.ndarray) -> float:
    """Of what is no air and no lung, the part between fat and contrast medium."""
    solid = voxels > -300
    count = int(solid.sum())
    return float((solid & (voxels < 300)).sum() / count) if count else 0.0


def _air_noise(voxels: np.ndarray) -> float:
    """Spread of neighbouring differences in air, HU."""
    left, right = voxels[:-1], voxels[1:]
    air = (left < -900) & (right < -900) & (left > -1024) & (right > -1024)
    if air.sum() < 100:
        return 0.0
    differences = right[air].astype(np.float32) - left[air].astype(np.float32)
    return float(np.median(np.abs(differences)) / 0.6745 / np.sqrt(2))
