"""How sure a mean is: bootstrap intervals over cases, and the paired comparison of two models."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

_DRAWS = 2000
_SHARE = 95.0


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % bootstrap interval over cases."""

    mean: float
    low: float
    high: float
    median: float
    count: int


def bootstrap(values: Sequence[float], seed: int = 0) -> Interval:
    """Mean and percentile interval, cases drawn with replacement.

    Args:
        values: One number a case; NaN is left out.
        seed: Of the draws.
    """
    known = np.asarray([value for value in values if np.isfinite(value)], dtype=float)
    if not known.size:
        nan = float("nan")
        return Interval(nan, nan, nan, nan, 0)
    rng = np.random.default_rng(seed)
    means = known[rng.integers(known.size, size=(_DRAWS, known.size))].mean(axis=1)
    low, high = np.percentile(means, [(100 - _SHARE) / 2, (100 + _SHARE) / 2])
    return Interval(
        float(known.mean()), float(low), float(high), float(np.median(known)), int(known.size)
    )


@dataclass(frozen=True)
class Comparison:
    """Two models on the same cases.

    Args:
        difference: First less second, with its interval.
        p_value: Wilcoxon's signed-rank test; 1 where all cases are equal.
        wins: Cases in which the first is higher.
        losses: Cases in which the second is higher.
    """

    difference: Interval
    p_value: float
    wins: int
    losses: int


def compare(first: Sequence[float], second: Sequence[float], seed: int = 0) -> Comparison:
    """Compare paired numbers.

    Args:
        first: One number a case.
        second: The other model's, in the same order.
        seed: Of the bootstrap.
    """
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if np.isfinite(a + b)]
    differences = [a - b for a, b in pairs]
    p_value = 1.0
    if any(differences):
        p_value = float(stats.wilcoxon(differences).pvalue)
    return Comparison(
        bootstrap(differences, seed),
        p_value,
        sum(each > 0 for each in differences),
        sum(each < 0 for each in differences),
    )
