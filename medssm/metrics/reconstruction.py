"""Measures of a reconstructed volume in two conventions that must never be mixed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from medssm.mri.similarity import WINDOW, ssim_map

VIF_NOISE = 0.4
"""Noise variance of Calgary-Campinas' visual information fidelity, whose usual value is 2.0."""
_EDGE = WINDOW // 2
_TINY = 1e-10


@dataclass(frozen=True)
class Scores:
    """What a convention says of one volume.

    Args:
        volume: Measure to its value for the volume.
        slices: Measure to its value for every slice.
    """

    volume: dict[str, float]
    slices: dict[str, list[float]]


@dataclass(frozen=True)
class Convention:
    """A way of counting, to be printed beside every figure.

    Args:
        title: Its name for people.
        definition: What its data ranges are.
        measures: Names of its measures and whether more is better.
        score: Reference, prediction and where to look, to scores.
    """

    title: str
    definition: str
    measures: dict[str, bool]
    score: Callable[[np.ndarray, np.ndarray, np.ndarray | None], Scores]


def _doubles(*arrays: np.ndarray) -> list[np.ndarray]:
    return [np.asarray(each, dtype=np.float64) for each in arrays]


def ssim_values(
    reference: np.ndarray,
    prediction: np.ndarray,
    data_range: np.ndarray | float,
    where: np.ndarray | None = None,
) -> np.ndarray:
    """Structural similarity of every slice, over its whole or a part of it.

    Args:
        reference: Slices.
        prediction: Slices.
        data_range: One number, or one a slice.
        where: The pixels that count; windows that reach beyond the image never do.

    Shape:
        reference, prediction, where: (S, H, W), result (S,).
    """
    ranges = torch.as_tensor(np.broadcast_to(np.asarray(data_range, float), len(reference)).copy())
    made = ssim_map(torch.from_numpy(reference), torch.from_numpy(prediction), ranges).numpy()
    if where is None:
        return made.mean((1, 2))
    inside = where[:, _EDGE:-_EDGE, _EDGE:-_EDGE]
    return _means(made, inside)


def _means(values: np.ndarray, where: np.ndarray | None) -> np.ndarray:
    if where is None:
        return values.mean((1, 2))
    count = where.sum((1, 2))
    total = np.where(where, values, 0.0).sum((1, 2))
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def fastmri(
    reference: np.ndarray, prediction: np.ndarray, where: np.ndarray | None = None
) -> Scores:
    """fastMRI's: the data range is the maximum of the reference over the volume.

    Shape:
        reference, prediction, where: (S, H, W).
    """
    reference, prediction = _doubles(reference, prediction)
    peak = float(reference.max())
    errors = _means((reference - prediction) ** 2, where)
    power = _means(reference**2, where)
    ssim = ssim_values(reference, prediction, peak, where)
    weight = np.ones(len(errors)) if where is None else where.sum((1, 2)).astype(float)
    mean_error = float(np.nansum(errors * weight) / weight.sum())
    mean_power = float(np.nansum(power * weight) / weight.sum())
    return Scores(
        {
            "ssim": float(np.nanmean(ssim)),
            "psnr": _decibel(peak, mean_error),
            "nmse": mean_error / mean_power if mean_power else float("nan"),
        },
        {
            "ssim": ssim.tolist(),
            "psnr": [_decibel(peak, float(each)) for each in errors],
            "nmse": np.divide(errors, power, out=np.full_like(errors, np.nan), where=power > 0)
            .tolist(),
        },
    )  # fmt: skip


def calgary_campinas(
    reference: np.ndarray, prediction: np.ndarray, where: np.ndarray | None = None
) -> Scores:
    """Calgary-Campinas': every slice over its own maximum, its range that of both together.

    Shape:
        reference, prediction, where: (S, H, W).
    """
    reference, prediction = _doubles(reference, prediction)
    peaks = reference.max((1, 2), keepdims=True)
    peaks = np.where(peaks > 0, peaks, 1.0)
    reference, prediction = reference / peaks, prediction / peaks
    both = np.stack((reference, prediction))
    ranges = both.max((0, 2, 3)) - both.min((0, 2, 3))
    errors = _means((reference - prediction) ** 2, where)
    slices = {
        "ssim": ssim_values(reference, prediction, ranges, where).tolist(),
        "psnr": [_decibel(*each) for each in zip(ranges, errors, strict=True)],
    }
    if where is None:
        slices["vif"] = [vif(*each) for each in zip(reference, prediction, strict=True)]
    return Scores({name: float(np.nanmean(each)) for name, each in slices.items()}, slices)


def _decibel(peak: float, error: float) -> float:
    return float(10 * np.log10(peak**2 / error)) if error > 0 else float("inf")


def vif(reference: np.ndarray, prediction: np.ndarray, noise: float = VIF_NOISE) -> float:
    """Visual information fidelity in the pixel domain, over four scales.

    Shape:
        reference, prediction: (H, W).

    Source:
        Sheikh and Bovik, "Image information and visual quality", 2006 (the pixel form).
    """
    first, second = reference, prediction
    kept = whole = 0.0
    for scale in range(4):
        size = 2 ** (4 - scale) + 1
        if scale:
            first, second = (_smoothed(each, size)[::2, ::2] for each in (first, second))
        if min(first.shape) < size:
            break
        mean_a, mean_b = _smoothed(first, size), _smoothed(second, size)
        var_a = np.maximum(_smoothed(first**2, size) - mean_a**2, 0)
        var_b = np.maximum(_smoothed(second**2, size) - mean_b**2, 0)
        gain, rest, var_a = _channel(
            var_a, var_b, _smoothed(first * second, size) - mean_a * mean_b
        )
        kept += float(np.log10(1 + gain**2 * var_a / (rest + noise)).sum())
        whole += float(np.log10(1 + var_a / noise).sum())
    return kept / whole if whole else float("nan")


def _channel(var_a: np.ndarray, var_b: np.ndarray, both: np.ndarray) -> tuple[np.ndarray, ...]:
    """Gain and left-over variance of the channel from reference to prediction."""
    gain = both / (var_a + _TINY)
    rest = var_b - gain * both
    flat = var_a < _TINY
    gain, rest, var_a = (
        np.where(flat, 0, gain),
        np.where(flat, var_b, rest),
        np.where(flat, 0, var_a),
    )
    lost = var_b < _TINY
    gain, rest = np.where(lost, 0, gain), np.where(lost, 0, rest)
    turned = gain < 0
    gain, rest = np.where(turned, 0, gain), np.where(turned, var_b, rest)
    return gain, np.maximum(rest, _TINY), var_a


def _smoothed(image: np.ndarray, size: int) -> np.ndarray:
    """A Gaussian window of sd size / 5, inside the image only."""
    line = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * (size / 5) ** 2))
    line /= line.sum()
    for axis in (0, 1):
        image = ndimage.correlate1d(image, line, axis=axis)
    edge = size // 2
    return image[edge:-edge, edge:-edge]


def foreground(reference: np.ndarray) -> np.ndarray:
    """The head or whatever else is imaged, for measures that leave the background out.

    The background of a sum of squares is noise, and a method that keeps it as it is wins on the
    whole image without seeing more. Pixels brighter than a fifth of the 99th percentile after
    smoothing, the largest piece of them, its holes filled.

    Shape:
        reference: (S, H, W), result the same.
    """
    found = np.zeros(reference.shape, dtype=bool)
    for image, mask in zip(np.asarray(reference, dtype=np.float64), found, strict=True):
        smooth = ndimage.gaussian_filter(image, 0.01 * max(image.shape))
        bright = smooth > 0.2 * np.percentile(smooth, 99)
        pieces, count = ndimage.label(bright)
        if count:
            sizes = ndimage.sum_labels(bright, pieces, range(1, count + 1))
            mask[:] = ndimage.binary_fill_holes(pieces == 1 + int(np.argmax(sizes)))
    return found


CONVENTIONS: dict[str, Convention] = {
    "fastmri": Convention(
        "fastMRI",
        "data range = maximum of the reference over the volume; SSIM 7 x 7 uniform, mean over "
        "slices; PSNR and NMSE over the volume",
        {"ssim": True, "psnr": True, "nmse": False},
        fastmri,
    ),
    "calgary_campinas": Convention(
        "Calgary-Campinas",
        "every slice divided by the maximum of its reference; data range = largest minus smallest "
        "value of both; means over slices; VIF with noise variance 0.4",
        {"ssim": True, "psnr": True, "vif": True},
        calgary_campinas,
    ),
}


def all_scores(reference: np.ndarray, prediction: np.ndarray) -> dict[str, Any]:
    """Both conventions over the whole image and over the foreground, under flat names.

    Shape:
        reference, prediction: (S, H, W).

    Returns:
        "volume": name to value and "slices": name to values, names as fastmri.foreground.ssim.
    """
    regions = {"whole": None, "foreground": foreground(reference)}
    found: dict[str, Any] = {"volume": {}, "slices": {}}
    for key, convention in CONVENTIONS.items():
        for region, where in regions.items():
            made = convention.score(reference, prediction, where)
            for part in ("volume", "slices"):
                values = getattr(made, part)
                found[part] |= {f"{key}.{region}.{name}": each for name, each in values.items()}
    return found
