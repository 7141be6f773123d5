"""Thresholds: each class's, chosen on held-back records for a wished measure."""

from collections.abc import Callable

import numpy as np

from medssm.core.log import warn
from medssm.data.ecg.classes import EcgClass, challenge_classes, challenge_weights
from medssm.fields.ecg.calibration import CalibrationConfig

SINUS = "426783006"
HALF = 0.5


def challenge_table(classes: tuple[EcgClass, ...]) -> tuple[np.ndarray, int, list[int]] | None:
    """Weights, index of sinus rhythm, and the scored places among classes; None where none fit.

    A class that the Challenge of 2021 does not score has no place.
    """
    scored = challenge_classes(2021)
    weights = challenge_weights(2021)
    rows: list[tuple[int, int]] = []
    for place, each in enumerate(classes):
        fits = [row for row, other in enumerate(scored) if set(each.codes) & set(other.codes)]
        if fits and fits[0] not in [row for _, row in rows]:
            rows.append((place, fits[0]))
    sinus = [i for i, (place, _) in enumerate(rows) if SINUS in classes[place].codes]
    if not sinus:
        return None
    chosen = [row for _, row in rows]
    return weights[np.ix_(chosen, chosen)], sinus[0], [place for place, _ in rows]


def tune(
    probabilities: np.ndarray,
    truth: np.ndarray,
    known: np.ndarray,
    classes: tuple[EcgClass, ...],
    config: CalibrationConfig,
) -> np.ndarray:
    """The thresholds of all classes; a probability at or above one is a yes.

    Shape:
        probabilities, truth, known: (N, K); result (K,).
    """
    start = np.full(len(classes), HALF)
    if config.thresholds == "half" or not len(probabilities):
        return start
    if config.thresholds == "challenge":
        table = challenge_table(classes)
        if table is not None:
            weights, _, places = table
            chosen = challenge_thresholds(
                probabilities[:, places], truth[:, places] > 0, weights, config.passes
            )
            start[places] = chosen
            return start
        warn("the classes are not the Challenge's: thresholds are chosen for F1 instead.")
    find = _for_sensitivity(config.sensitivity) if config.thresholds == "sensitivity" else best_f1
    for index in range(len(classes)):
        seen = known[:, index] > 0
        start[index] = find(probabilities[seen, index], truth[seen, index] > 0)
    return start


def challenge_thresholds(
    probabilities: np.ndarray, truth: np.ndarray, weights: np.ndarray, passes: int = 3
) -> np.ndarray:
    """Coordinate ascent on the Challenge metric over every distinct probability.

    With the other classes decided, what a yes to class c adds to a record is known; the records in
    the order of their probability give the metric of every threshold by one running sum.

    Shape:
        probabilities: (N, K), truth: (N, K) bool, weights: (K, K); result (K,).
    """
    thresholds = np.full(truth.shape[1], HALF)
    decided = probabilities >= HALF
    rewards = truth.astype(np.float64) @ weights  # of a yes to each class
    for _ in range(passes):
        before = thresholds.copy()
        for index in range(truth.shape[1]):
            gains = _gains(truth, decided, rewards, index)
            thresholds[index] = _best_cut(probabilities[:, index], gains)
            decided[:, index] = probabilities[:, index] >= thresholds[index]
        if np.array_equal(before, thresholds):
            break
    return thresholds


def _gains(truth: np.ndarray, decided: np.ndarray, rewards: np.ndarray, index: int) -> np.ndarray:
    """What a yes to a class adds to each record's share of the metric, the others as decided."""
    others = decided.copy()
    others[:, index] = False
    got = (rewards * others).sum(1)
    union = (truth | others).sum(1)
    with_yes = union + ~truth[:, index]
    return (got + rewards[:, index]) / np.maximum(with_yes, 1) - got / np.maximum(union, 1)


def _best_cut(values: np.ndarray, gains: np.ndarray) -> float:
    """The threshold with the highest sum of the gains at or above it, midway between two values."""
    order = np.argsort(-values, kind="stable")
    ranked, sums = values[order], np.cumsum(gains[order])
    last = np.flatnonzero(np.append(np.diff(ranked) != 0, True))
    sums = np.concatenate([[0.0], sums[last]])
    best = int(np.argmax(sums))
    upper = 1.0 if best == 0 else float(ranked[last[best - 1]])
    lower = float(ranked[last[best]]) if best < len(last) else 0.0
    # nobody at or above: beyond every value that was seen
    return float(np.nextafter(upper, 2.0)) if best == 0 else (upper + lower) / 2


def best_f1(values: np.ndarray, truth: np.ndarray) -> float:
    """The threshold of the highest F1; one half where there is no positive."""
    if not truth.any():
        return HALF
    order = np.argsort(-values, kind="stable")
    ranked = values[order]
    last = np.flatnonzero(np.append(np.diff(ranked) != 0, True))
    hits = np.cumsum(truth[order])[last]
    best = int(np.argmax(2 * hits / (last + 1 + truth.sum())))
    lower = float(ranked[last[best + 1]]) if best + 1 < len(last) else 0.0
    return (float(ranked[last[best]]) + lower) / 2


def _for_sensitivity(share: float) -> Callable[[np.ndarray, np.ndarray], float]:
    """The highest threshold that finds a share of the positives."""

    def find(values: np.ndarray, truth: np.ndarray) -> float:
        positives = np.sort(values[truth])[::-1]
        if not len(positives):
            return HALF
        return float(positives[int(np.ceil(share * len(positives))) - 1])

    return find
