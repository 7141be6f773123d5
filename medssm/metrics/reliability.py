"""Reliability: whether a probability of 0.3 means three in ten."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Reliability:
    """Bins of probability with what was said and what was so.

    Args:
        edges: Of the bins.
        count: Answers in each bin.
        said: Their mean probability; NaN in an empty bin.
        true: Share of them that are so; NaN in an empty bin.

    Shape:
        edges: (B + 1,), others (B,).
    """

    edges: np.ndarray
    count: np.ndarray
    said: np.ndarray
    true: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error: |said - true| over the bins, weighted by their answers."""
        full = self.count > 0
        if not full.any():
            return float("nan")
        gap = np.abs(self.said[full] - self.true[full])
        return float((gap * self.count[full]).sum() / self.count.sum())


def reliability(truth: np.ndarray, probabilities: np.ndarray, bins: int = 10) -> Reliability:
    """Answers in bins of equal width; any shape.

    Source:
        Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning", 2015.
    """
    y, p = truth.ravel().astype(np.float64), probabilities.ravel()
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip((p * bins).astype(int), 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    safe = np.maximum(count, 1)
    said = np.where(count, np.bincount(place, p, bins) / safe, np.nan)
    true = np.where(count, np.bincount(place, y, bins) / safe, np.nan)
    return Reliability(edges, count, said, true)
