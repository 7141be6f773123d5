"""Tells recordings that are the same although rounded, scaled in counts or resampled otherwise."""

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
from scipy.signal import resample_poly
from scipy.spatial import cKDTree

from medssm.data.ecg.signal import Signal

OUTLINE_LEADS = ("I", "II", "V1", "V5")
OUTLINE_PARTS = 8
# another rate or rounding changes a mean by less than this share as a rule
_TOLERANCE = 0.15
_COMMON_HZ = 50.0
# of two copies, as a share of the signal; other hearts differ by more than the signal itself
_DIFFERENCE = 0.15
_FLOOR_MV = 0.002
_BINS_HZ = 25.0
# of two leads at least, since a dead one is like any other dead one
_LEAST_ALIVE = 2 * OUTLINE_PARTS


def outline(millivolts: np.ndarray, leads: Sequence[str], rate_hz: float) -> list[float]:
    """How far four leads stray from their median in each eighth of a record.

    Means over 40 ms come first, so that noise which a lower rate loses does not count.

    Args:
        millivolts: The signal, NaN where it is not valid.
        leads: Names of the rows.
        rate_hz: Samples a second.

    Returns:
        Mean distances in mV, lead by lead; zero where a lead is dead.

    Shape:
        millivolts: (leads, T).
    """
    rows = dict(zip(leads, millivolts, strict=True))
    made: list[float] = []
    for lead in OUTLINE_LEADS:
        row = rows.get(lead)
        bins = round(len(row) / rate_hz * _BINS_HZ) if row is not None else 0
        if row is None or not np.isfinite(row).any() or not OUTLINE_PARTS <= bins <= len(row):
            made += [0.0] * OUTLINE_PARTS
            continue
        known = np.nan_to_num(row - np.nanmedian(row)).astype(np.float64)
        edges = np.linspace(0, len(row), bins + 1).round().astype(np.int64)
        means = np.add.reduceat(known, edges[:-1]) / np.diff(edges)
        for part in np.array_split(np.abs(means), OUTLINE_PARTS):
            made.append(round(float(part.mean()), 6))
    return made


def candidates(outlines: Mapping[str, Sequence[float]]) -> list[tuple[str, str]]:
    """Pairs of records whose outlines agree in all parts; `same_recording` decides.

    Args:
        outlines: By record, all of the same length.

    Returns:
        Earlier and later record by the order of `outlines`, earlier ones first.
    """
    names = [
        name
        for name, values in outlines.items()
        if sum(value > 2 * _FLOOR_MV for value in values) >= _LEAST_ALIVE
    ]
    if len(names) < 2:
        return []
    points = np.log(np.array([outlines[name] for name in names]) + _FLOOR_MV)
    reach = np.log1p(_TOLERANCE)
    # a tree is slow in 32 dimensions; what is near in the six that vary most is looked at in all
    widest = np.argsort(-points.var(axis=0))[:6]
    pairs = cKDTree(points[:, widest]).query_pairs(reach, p=np.inf, output_type="ndarray")
    near = np.abs(points[pairs[:, 0]] - points[pairs[:, 1]]).max(axis=1) <= reach
    pairs = np.sort(pairs[near], axis=1)
    return [(names[a], names[b]) for a, b in sorted(map(tuple, pairs.tolist()))]


def same_recording(one: Signal, other: Signal) -> bool:
    """Whether two signals follow each other, sample by sample at a common rate.

    Every lead that lives in both must, and in the same voltage.
    """
    if abs(one.seconds - other.seconds) > 0.01 * max(one.seconds, other.seconds):
        return False
    first, second = (_at_common_rate(each) for each in (one, other))
    shared = [lead for lead in first if lead in second]
    return bool(shared) and all(_follows(first[lead], second[lead]) for lead in shared)


def _at_common_rate(signal: Signal) -> dict[str, np.ndarray]:
    ratio = Fraction(_COMMON_HZ / signal.rate_hz).limit_denominator(2000)
    rows = {}
    for lead, row in zip(signal.leads, signal.millivolts, strict=True):
        if np.isfinite(row).any():
            known = np.nan_to_num(row - np.nanmedian(row))
            rows[lead] = resample_poly(known, ratio.numerator, ratio.denominator)
    return rows


def _follows(one: np.ndarray, other: np.ndarray) -> bool:
    # the ends of a resampled record ring
    edge = min(round(0.3 * _COMMON_HZ), len(one) // 4)
    length = min(len(one), len(other)) - edge
    a, b = one[edge:length], other[edge:length]
    size = float(np.sqrt(np.mean(a**2) * np.mean(b**2)))
    difference = float(np.sqrt(np.mean((a - a.mean() - b + b.mean()) ** 2)))
    return difference < _DIFFERENCE * size + _FLOOR_MV
