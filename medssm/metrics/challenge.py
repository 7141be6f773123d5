"""The measures of the PhysioNet/CinC Challenges 2020 and 2021, to the last digit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Year = Literal[2020, 2021]
BETA = 2.0


@dataclass(frozen=True)
class ChallengeScores:
    """All numbers that an official scorer prints, and those it averages.

    Args:
        year: Whose rules.
        records: How many records.
        auroc: Area under the receiver operating curve, a class; NaN without both kinds.
        auprc: Area under precision and recall, a class; NaN without a positive.
        f_measure: 2TP / (2TP + FP + FN), a class; NaN where nothing is true or decided.
        accuracy: Share of the records whose decisions are all right.
        f_beta: Mean F of beta 2 on a table where a record counts one over its labels.
        g_beta: Mean G of beta 2 on the same table.
        challenge: The Challenge metric: 1 for the labels, 0 for sinus rhythm everywhere.
    """

    year: Year
    records: int
    auroc: np.ndarray
    auprc: np.ndarray
    f_measure: np.ndarray
    accuracy: float
    f_beta: float
    g_beta: float
    challenge: float

    def macro(self, name: Literal["auroc", "auprc", "f_measure"]) -> float:
        """Mean over the classes that have a number; NaN where none has."""
        return finite_mean(getattr(self, name))

    def averaged(self, name: Literal["auroc", "auprc", "f_measure"]) -> int:
        """How many classes the mean is over."""
        return int(np.isfinite(getattr(self, name)).sum())

    def named(self) -> dict[str, float]:
        """The numbers under the names, and in the order, of the official print."""
        numbers = {
            "AUROC": self.macro("auroc"),
            "AUPRC": self.macro("auprc"),
            "Accuracy": self.accuracy,
            "F-measure": self.macro("f_measure"),
        }
        if self.year == 2020:
            numbers |= {"Fbeta-measure": self.f_beta, "Gbeta-measure": self.g_beta}
        return numbers | {"Challenge metric": self.challenge}

    def official_text(self) -> str:
        """The summary file of the official program: names, then three decimals."""
        numbers = self.named()
        return "\n".join([",".join(numbers), ",".join(f"{each:.3f}" for each in numbers.values())])

    def official_class_text(self, classes: Sequence[str]) -> str:
        """The table by class of the official program."""
        rows = (("AUROC", self.auroc), ("AUPRC", self.auprc), ("F-measure", self.f_measure))
        lines = [",".join(("Classes", *classes))]
        lines += [",".join((name, *(f"{each:.3f}" for each in values))) for name, values in rows]
        return "\n".join(lines)


def challenge_scores(
    truth: np.ndarray,
    decided: np.ndarray,
    probabilities: np.ndarray,
    weights: np.ndarray,
    sinus: int,
    year: Year = 2021,
) -> ChallengeScores:
    """Score decisions and probabilities as the official program of a year does.

    Args:
        truth: What is so.
        decided: What was decided.
        probabilities: How sure, higher for more.
        weights: Reward of deciding one class where another is true.
        sinus: Index of sinus rhythm.
        year: Whose rules.

    Shape:
        truth, decided: (N, C) bool, probabilities: (N, C), weights: (C, C).

    Source:
        physionetchallenges/evaluation-2020 and evaluation-2021, as ECG section 4.3 states them.
    """
    truth, decided = truth.astype(bool), decided.astype(bool)
    pairs = [(truth[:, index], probabilities[:, index]) for index in range(truth.shape[1])]
    f_beta, g_beta = beta_measures(truth, decided)
    return ChallengeScores(
        year=year,
        records=len(truth),
        auroc=np.array([roc_area(*pair) for pair in pairs]),
        auprc=np.array([precision_area(*pair) for pair in pairs]),
        f_measure=f_measures(truth, decided),
        accuracy=float((truth == decided).all(1).mean()) if len(truth) else float("nan"),
        f_beta=f_beta,
        g_beta=g_beta,
        challenge=challenge_metric(truth, decided, weights, sinus),
    )


def finite_mean(values: np.ndarray) -> float:
    """Mean of what is finite; NaN where nothing is."""
    kept = values[np.isfinite(values)]
    return float(kept.mean()) if len(kept) else float("nan")


def _curve(truth: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """True and false positives at each distinct value from the highest, ties together."""
    order = np.argsort(-values, kind="stable")
    hits, ranked = truth[order].astype(np.float64), values[order]
    last = np.flatnonzero(np.append(np.diff(ranked) != 0, True))
    true_positives = np.cumsum(hits)[last]
    return true_positives, last + 1 - true_positives


def roc_area(truth: np.ndarray, values: np.ndarray) -> float:
    """Area under the receiver operating curve, by trapezoids; NaN without both kinds.

    Shape:
        truth: (N,) bool, values: (N,).
    """
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if not positives or not negatives:
        return float("nan")
    hits, misses = _curve(truth, values)
    recall = np.concatenate([[0.0], hits / positives])
    fall_out = np.concatenate([[0.0], misses / negatives])
    return float(np.sum(np.diff(fall_out) * (recall[1:] + recall[:-1])) / 2)


def precision_area(truth: np.ndarray, values: np.ndarray) -> float:
    """Sum of precision times the step of recall (average precision); NaN without a positive.

    Shape:
        truth: (N,) bool, values: (N,).
    """
    positives = int(truth.sum())
    if not positives:
        return float("nan")
    hits, misses = _curve(truth, values)
    recall = np.concatenate([[0.0], hits / positives])
    return float(np.sum(np.diff(recall) * hits / (hits + misses)))


def f_measures(truth: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """2TP / (2TP + FP + FN) of each class; NaN where nothing is true or decided.

    Shape:
        truth, decided: (N, C) bool; result (C,).
    """
    both = (truth & decided).sum(0)
    total = truth.sum(0) + decided.sum(0)
    return np.where(total > 0, 2 * both / np.maximum(total, 1), np.nan)


def beta_measures(
    truth: np.ndarray, decided: np.ndarray, beta: float = BETA
) -> tuple[float, float]:
    """Mean F and G of beta, each record weighted one over its number of labels.

    F = (1 + b^2) TP / ((1 + b^2) TP + FP + b^2 FN), G = TP / (TP + FP + b FN).
    """
    share = 1.0 / np.maximum(truth.sum(1), 1)
    hits = share @ (truth & decided)
    false_alarms = share @ (~truth & decided)
    missed = share @ (truth & ~decided)
    square = beta**2
    with np.errstate(invalid="ignore", divide="ignore"):
        f = (1 + square) * hits / ((1 + square) * hits + false_alarms + square * missed)
        g = hits / (hits + false_alarms + beta * missed)
    return finite_mean(f), finite_mean(g)


def challenge_metric(
    truth: np.ndarray, decided: np.ndarray, weights: np.ndarray, sinus: int
) -> float:
    """Reward of the decisions, from that of sinus rhythm everywhere (0) to that of the labels (1).

    Shape:
        truth, decided: (N, C) bool, weights: (C, C).
    """
    always = np.zeros_like(truth)
    always[:, sinus] = True
    got, best, dull = (
        float(rewards(truth, each, weights).sum()) for each in (decided, truth, always)
    )
    return (got - dull) / (best - dull) if best != dull else 0.0


def rewards(truth: np.ndarray, decided: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """What each record adds: the weights of all pairs (true, decided) over the union's size.

    Shape:
        truth, decided: (N, C) bool, weights: (C, C); result (N,).
    """
    union = np.maximum((truth | decided).sum(1), 1)
    total: np.ndarray = ((truth.astype(np.float64) @ weights) * decided).sum(1) / union
    return total
