"""Calibration: what a logit means as a probability, learned on held-back records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from medssm.core.errors import UsageError

_STEPS = 50
_LEAST_SLOPE = 0.05
# how strongly slope and shift are held at one and zero, in records
_RIDGE = 1.0
_CLIP = 1e-7


@dataclass(frozen=True)
class CalibrationConfig:
    """How logits become probabilities, and those become decisions, on the held-back fold.

    Args:
        method: Platt's two numbers a class, one temperature a class, or nothing.
        thresholds: What each class's threshold is chosen for: the Challenge metric, the class's
            F1, a wished sensitivity; "half" takes 0.5 everywhere.
        sensitivity: Share of the positives to find with thresholds="sensitivity".
        passes: Rounds of the coordinate ascent on the Challenge metric.
    """

    method: Literal["platt", "temperature", "none"] = "platt"
    thresholds: Literal["challenge", "f1", "sensitivity", "half"] = "challenge"
    sensitivity: float = 0.9
    passes: int = 3

    def __post_init__(self) -> None:
        if not 0 < self.sensitivity <= 1:
            raise UsageError(
                f"calibration.sensitivity={self.sensitivity}: expected above 0 and at most 1."
            )
        if self.passes < 1:
            raise UsageError(f"calibration.passes={self.passes}: expected 1 or more.")


@dataclass(frozen=True)
class Calibration:
    """Slope, shift and threshold of every class.

    Args:
        slope: Factor of the logit.
        shift: Added to it.
        thresholds: A probability at or above it is a yes.
        method: How slope and shift were found.
        purpose: What the thresholds were chosen for.

    Shape:
        slope, shift, thresholds: (K,).
    """

    slope: np.ndarray
    shift: np.ndarray
    thresholds: np.ndarray
    method: str = "none"
    purpose: str = "half"

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Calibrated probabilities.

        Shape:
            probabilities: (..., K), result the same.
        """
        result: np.ndarray = sigmoid(logit(probabilities) * self.slope + self.shift)
        return result

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "method": self.method,
            "purpose": self.purpose,
            "slope": self.slope.tolist(),
            "shift": self.shift.tolist(),
            "thresholds": self.thresholds.tolist(),
        }


def read_calibration(content: Mapping[str, Any]) -> Calibration:
    """From what `Calibration.plain` gave."""
    slope, shift, thresholds = (
        np.array(content[name], np.float64) for name in ("slope", "shift", "thresholds")
    )
    return Calibration(slope, shift, thresholds, str(content["method"]), str(content["purpose"]))


def no_calibration(classes: int) -> Calibration:
    """Logits as they are, thresholds of one half."""
    return Calibration(np.ones(classes), np.zeros(classes), np.full(classes, 0.5))


def fit_slopes(
    probabilities: np.ndarray, truth: np.ndarray, known: np.ndarray, config: CalibrationConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Slope and shift of every class, by logistic regression on the logit of the mean probability.

    Both are held towards one and zero by the weight of a record, so that a class with few positives
    stays near what the network says; the slope stays above zero, so that the order never changes.

    Shape:
        probabilities, truth, known: (N, K); results (K,), (K,).

    Source:
        Platt, "Probabilistic outputs for support vector machines", 1999; Guo et al., "On
        calibration of modern neural networks", 2017.
    """
    classes = probabilities.shape[1]
    slope, shift = np.ones(classes), np.zeros(classes)
    if config.method == "none":
        return slope, shift
    for index in range(classes):
        seen = known[:, index] > 0
        y = (truth[seen, index] > 0).astype(np.float64)
        if y.any() and not y.all():
            slope[index], shift[index] = _regress(
                logit(probabilities[seen, index]), y, with_shift=config.method == "platt"
            )
    return slope, shift


def _regress(x: np.ndarray, y: np.ndarray, with_shift: bool) -> tuple[float, float]:
    """Newton's method on the log loss with a ridge around (1, 0)."""
    design = np.stack([x, np.ones_like(x)], 1)[:, : 2 if with_shift else 1]
    goal = np.array([1.0, 0.0])[: design.shape[1]]
    weights = goal.copy()
    for _ in range(_STEPS):
        chance = sigmoid(design @ weights)
        gradient = design.T @ (chance - y) + _RIDGE * (weights - goal)
        curvature = (design * (chance * (1 - chance))[:, None]).T @ design
        step = np.linalg.solve(curvature + _RIDGE * np.eye(len(goal)), gradient)
        # a long step of Newton's on a flat loss would run away
        step *= min(1.0, 2.0 / max(1e-12, float(np.abs(step).max())))
        weights = weights - step
        weights[0] = max(weights[0], _LEAST_SLOPE)
        if np.abs(step).max() < 1e-8:
            break
    return float(weights[0]), float(weights[1]) if with_shift else 0.0


def average(parts: Sequence[Calibration], method: str = "mean of folds") -> Calibration:
    """The thresholds of several folds for the mean of their calibrated probabilities."""
    if len(parts) == 1:
        return parts[0]
    thresholds = np.mean([part.thresholds for part in parts], axis=0)
    count = len(thresholds)
    return Calibration(np.ones(count), np.zeros(count), thresholds, method, parts[0].purpose)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), without overflow."""
    result: np.ndarray = 0.5 * (1 + np.tanh(0.5 * x))
    return result


def logit(p: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)), finite."""
    clipped = np.clip(np.asarray(p, np.float64), _CLIP, 1 - _CLIP)
    result: np.ndarray = np.log(clipped / (1 - clipped))
    return result
