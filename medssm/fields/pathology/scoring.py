"""Scores of predicted bags: fold by fold, all together, with intervals over patients."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medssm.fields.pathology.bag_answer import BagAnswer
from medssm.fields.pathology.plan_file import BagEntry, Plan
from medssm.metrics.bags import BagScores, classification_scores, survival_scores

_DRAWS = 1000


@dataclass(frozen=True)
class Spread:
    """A measure over folds and patients.

    Args:
        folds: Of each fold's bags; NaN where it cannot be counted.
        mean: Of the folds that have one.
        deviation: Of the folds.
        pooled: Of all bags together.
        low: Lower end of the 95 % interval of `pooled`, patients drawn with replacement.
        high: Its upper end.
    """

    folds: tuple[float, ...]
    mean: float
    deviation: float
    pooled: float
    low: float
    high: float


@dataclass(frozen=True)
class ScoreTable:
    """Scores by measure.

    Args:
        measures: Spread of each measure.
        reasons: Why a number is missing, by fold and measure.
        bags: How many bags were scored.
    """

    measures: Mapping[str, Spread]
    reasons: Mapping[str, str]
    bags: int

    def plain(self) -> dict[str, Any]:
        """As plain data; NaN as null."""
        measures = {
            name: {key: _finite(value) for key, value in vars(spread).items()}
            for name, spread in self.measures.items()
        }
        return {"bags": self.bags, "measures": measures, "reasons": dict(self.reasons)}

    def rows(self) -> list[list[str]]:
        """Cells of a table: measure, mean of folds, all bags, interval."""
        return [
            [
                name,
                f"{spread.mean:.4f} ± {spread.deviation:.4f}",
                f"{spread.pooled:.4f}",
                f"{spread.low:.4f} to {spread.high:.4f}",
            ]
            for name, spread in self.measures.items()
        ]


HEADER = ("measure", "folds: mean ± deviation", "all bags", "95 % interval over patients")


def _finite(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_finite(each) for each in value]
    return value if np.isfinite(value) else None


def score_folds(
    answers: Sequence[BagAnswer], plan: Plan, draws: int = _DRAWS, seed: int = 0
) -> ScoreTable:
    """Score answers whose truth the plan knows."""
    return score(answers, plan.bags, plan.task, draws, seed)


def score(
    answers: Sequence[BagAnswer], truth: Mapping[str, BagEntry], task: str,
    draws: int = _DRAWS, seed: int = 0,
) -> ScoreTable:  # fmt: skip
    """Score answers.

    With several folds, risks of different networks are compared within folds only: their scales
    differ, so the pooled concordance is the mean of the folds.

    Args:
        answers: One a bag.
        truth: What is true, by bag.
        task: "classification" or "survival".
        draws: Of patients, for the interval.
        seed: Of the draws.
    """
    measured = _classes if task == "classification" else _survival
    found = [each for each in answers if each.name in truth]
    folds = sorted({each.fold for each in found})
    reasons: dict[str, str] = {}
    each_fold: dict[str, list[float]] = {}
    for fold in folds:
        scores = measured([each for each in found if each.fold == fold], truth)
        for name, value in scores.values.items():
            each_fold.setdefault(name, []).append(value)
        reasons |= {f"fold {fold}, {name}": why for name, why in scores.reasons.items()}
    pooled = _pooled(found, truth, measured, by_fold=task == "survival")
    drawn = _draws(found, truth, measured, draws, seed, by_fold=task == "survival")
    measures = {
        name: _spread(tuple(values), pooled[name], drawn[name])
        for name, values in each_fold.items()
    }
    return ScoreTable(measures, reasons, len(found))


Measure = Callable[[Sequence[BagAnswer], Mapping[str, BagEntry]], BagScores]


def _classes(answers: Sequence[BagAnswer], truth: Mapping[str, BagEntry]) -> BagScores:
    labels = [truth[each.name].label or 0 for each in answers]
    return classification_scores(labels, np.stack([each.probabilities for each in answers]))


def _survival(answers: Sequence[BagAnswer], truth: Mapping[str, BagEntry]) -> BagScores:
    known = [truth[each.name] for each in answers]
    return survival_scores(
        [each.months or 0.0 for each in known],
        [each.risk or 0.0 for each in answers],
        [bool(each.event) for each in known],
    )


def _pooled(
    answers: Sequence[BagAnswer], truth: Mapping[str, BagEntry], measured: Measure, by_fold: bool
) -> dict[str, float]:
    if not by_fold:
        return measured(answers, truth).values
    folds = [
        measured([each for each in answers if each.fold == fold], truth).values
        for fold in sorted({each.fold for each in answers})
    ]
    return {name: _mean([each[name] for each in folds]) for name in folds[0]}


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def _draws(
    answers: Sequence[BagAnswer], truth: Mapping[str, BagEntry], measured: Measure,
    draws: int, seed: int, by_fold: bool,
) -> dict[str, list[float]]:  # fmt: skip
    """A measure on patients drawn with replacement."""
    of_patient: dict[str, list[BagAnswer]] = {}
    for each in answers:
        of_patient.setdefault(truth[each.name].patient, []).append(each)
    patients = list(of_patient)
    generator = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {}
    for _ in range(draws):
        chosen = generator.integers(len(patients), size=len(patients))
        rows = [each for index in chosen for each in of_patient[patients[index]]]
        for name, value in _pooled(rows, truth, measured, by_fold).items():
            drawn.setdefault(name, []).append(value)
    return drawn


def _spread(folds: tuple[float, ...], pooled: float, drawn: Sequence[float]) -> Spread:
    known = np.array([value for value in folds if np.isfinite(value)])
    kept = [value for value in drawn if np.isfinite(value)]
    nan = float("nan")
    low, high = np.percentile(kept, (2.5, 97.5)) if kept else (nan, nan)
    return Spread(
        folds,
        float(known.mean()) if len(known) else nan,
        float(known.std(ddof=1)) if len(known) > 1 else nan,
        pooled,
        float(low),
        float(high),
    )
