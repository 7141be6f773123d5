"""Concordance of risks with times, and the bins of discrete-time survival."""

from collections.abc import Sequence

import numpy as np

from medssm.core.errors import BadArgumentError

Numbers = Sequence[float] | np.ndarray
TIED = 1e-8
BEYOND = 1e-6


def concordance(months: Numbers, risk: Numbers, event: Numbers, tied: float = TIED) -> float:
    """Harrell's C: of the pairs whose earlier time is an event, how many have the higher risk.

    Equal risks count half. At equal times, an event comes before a censored patient; two events
    do not make a pair.

    Args:
        months: Time of the event or of the last visit.
        risk: Higher is earlier.
        event: Whether the event was seen.
        tied: Largest difference of risks that are equal.

    Returns:
        0 to 1, NaN where no pair can be compared.

    Source:
        Harrell et al., "Evaluating the yield of medical tests", 1982.
    """
    time, score = np.asarray(months, dtype=float), np.asarray(risk, dtype=float)
    seen = np.asarray(event, dtype=bool)
    good, pairs = 0.0, 0
    for index in np.flatnonzero(seen):
        later = (time > time[index]) | ((time == time[index]) & ~seen)
        difference = score[index] - score[later]
        equal = np.abs(difference) <= tied
        good += float((difference > tied).sum()) + 0.5 * float(equal.sum())
        pairs += int(later.sum())
    return good / pairs if pairs else float("nan")


def survival_edges(months: Numbers, event: Numbers, count: int = 4) -> np.ndarray:
    """Edges of time bins: quantiles of the times at which an event was seen.

    Args:
        months: Times of the patients that may be known: those of training.
        event: Whether the event was seen.
        count: Bins wanted; fewer come out where events share times.

    Returns:
        Edges that rise; the first just below the least time, the last just above the largest.

    Raises:
        BadArgumentError: No event was seen.

    Shape:
        (bins + 1,).
    """
    times = np.asarray(months, dtype=float)
    events = times[np.asarray(event, dtype=bool)]
    if not len(events):
        raise BadArgumentError(f"none of {len(times)} patients has an event; bins need some.")
    inner = np.quantile(events, np.linspace(0, 1, count + 1)[1:-1])
    low, high = times.min() - BEYOND, times.max() + BEYOND
    inner = np.unique(inner[(inner > low) & (inner < high)])
    return np.concatenate(([low], inner, [high]))


def bins_of(months: Numbers, edges: Numbers) -> np.ndarray:
    """The bin of each time, closed on the left; times beyond the ends go to the first or last.

    Shape:
        months: (N,), edges: (bins + 1,), result (N,).
    """
    inner = np.asarray(edges, dtype=float)[1:-1]
    return np.searchsorted(inner, np.asarray(months, dtype=float), side="right")
