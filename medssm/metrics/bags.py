"""Scores of classified bags: what cannot be counted is NaN with the reason beside it."""

from dataclasses import dataclass, field

import numpy as np
from sklearn.metrics import f1_score, roc_auc_score

from medssm.metrics.survival import Numbers, concordance

NAMES = ("auc", "accuracy", "balanced_accuracy", "f1")


@dataclass(frozen=True)
class BagScores:
    """Scores by name, and the reason of every NaN."""

    values: dict[str, float]
    reasons: dict[str, str] = field(default_factory=dict)


def classification_scores(truth: Numbers, probabilities: np.ndarray) -> BagScores:
    """Area under the ROC curve, accuracy, balanced accuracy, macro F1.

    With two classes the area is that of class 1; with more the mean over the classes that are
    present (each against the rest).

    Args:
        truth: Class of each bag.
        probabilities: Of the classes.

    Shape:
        truth: (N,), probabilities: (N, K).
    """
    true, share = np.asarray(truth, dtype=int), np.asarray(probabilities, dtype=float)
    guess = share.argmax(axis=1)
    present = np.unique(true)
    values, reasons = dict.fromkeys(NAMES, float("nan")), {}
    if not len(true):
        return BagScores(values, dict.fromkeys(NAMES, "no bag to score"))
    values["accuracy"] = float((guess == true).mean())
    values["balanced_accuracy"] = float(
        np.mean([(guess[true == label] == label).mean() for label in present])
    )
    values["f1"] = float(f1_score(true, guess, labels=present, average="macro", zero_division=0))
    if len(present) < 2:
        reasons["auc"] = f"only the class {int(present[0])} is there"
    elif share.shape[1] == 2:
        values["auc"] = float(roc_auc_score(true == 1, share[:, 1]))
    else:
        each = [roc_auc_score(true == label, share[:, label]) for label in present]
        values["auc"] = float(np.mean(each))
    return BagScores(values, reasons)


def survival_scores(months: Numbers, risk: Numbers, event: Numbers) -> BagScores:
    """Harrell's concordance, NaN with a reason where no pair can be compared."""
    value = concordance(months, risk, event)
    if np.isfinite(value):
        return BagScores({"c_index": value})
    return BagScores({"c_index": value}, {"c_index": "no pair of patients can be compared"})
