"""Scores of parts: by class, by source, by age and sex, with intervals over patients."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from medssm.fields.ecg.references import Scored
from medssm.metrics.challenge import ChallengeScores, finite_mean, precision_area, roc_area
from medssm.metrics.reliability import reliability

Numbers = dict[str, float]
AGES = ((0, 40), (40, 60), (60, 80), (80, 200))
_LOW, _HIGH = 2.5, 97.5


@dataclass(frozen=True)
class Row:
    """One line of a table of parts: its name and its numbers."""

    name: str
    numbers: Numbers


def main_numbers(scores: ChallengeScores) -> Numbers:
    """The macro measures that intervals are given for."""
    return {
        "auroc": scores.macro("auroc"),
        "auprc": scores.macro("auprc"),
        "f_measure": scores.macro("f_measure"),
        "accuracy": scores.accuracy,
        "challenge": scores.challenge,
    }


def patient_draws(patients: np.ndarray, draws: int, seed: int) -> list[np.ndarray]:
    """Rows of records, patients drawn with replacement, all records of one together."""
    unique, inverse = np.unique(patients, return_inverse=True)
    members = [np.flatnonzero(inverse == index) for index in range(len(unique))]
    rng = np.random.default_rng(seed)
    return [
        np.concatenate([members[each] for each in rng.integers(len(unique), size=len(unique))])
        for _ in range(draws)
    ]


def intervals(
    rows: Sequence[np.ndarray], measure: Callable[[np.ndarray], Numbers]
) -> dict[str, tuple[float, float]]:
    """The middle 95 % of each number over the draws."""
    if not rows:
        return {}
    found = [measure(each) for each in rows]
    result = {}
    for name in found[0]:
        values = np.array([each[name] for each in found])
        values = values[np.isfinite(values)]
        low, high = np.percentile(values, (_LOW, _HIGH)) if len(values) else (np.nan, np.nan)
        result[name] = (float(low), float(high))
    return result


def by_class(scored: Scored, rows: Sequence[np.ndarray]) -> list[Row]:
    """Every class among the records whose source annotated it."""
    table = []
    for index, each in enumerate(scored.classes):
        seen = scored.known[:, index]
        numbers = _class_numbers(scored, index, np.flatnonzero(seen))
        low_high = intervals([drawn[seen[drawn]] for drawn in rows], partial(_areas, scored, index))
        for name, (low, high) in low_high.items():
            numbers |= {f"{name}_low": low, f"{name}_high": high}
        table.append(Row(each.abbreviation, numbers))
    return table


def _areas(scored: Scored, index: int, rows: np.ndarray) -> Numbers:
    truth, chance = scored.truth[rows, index], scored.probabilities[rows, index]
    return {"auroc": roc_area(truth, chance), "auprc": precision_area(truth, chance)}


def _class_numbers(scored: Scored, index: int, rows: np.ndarray) -> Numbers:
    truth, decided = scored.truth[rows, index], scored.decided[rows, index]
    hits, positives, said = (truth & decided).sum(), truth.sum(), decided.sum()
    negatives = len(rows) - positives
    return {
        "records": float(len(rows)),
        "positives": float(positives),
        **_areas(scored, index, rows),
        "f_measure": _share(2 * hits, positives + said),
        "sensitivity": _share(hits, positives),
        "specificity": _share(negatives - (said - hits), negatives),
        "precision": _share(hits, said),
        "calibration_error": reliability(truth, scored.probabilities[rows, index]).error,
    }


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


def part_numbers(scored: Scored, rows: np.ndarray) -> Numbers:
    """The measures of a part, its means over the classes that its sources annotated."""
    scores = scored.scores(rows)
    known = scored.known[rows].all(0)
    found: Numbers = {"records": float(len(rows))}
    for name in ("auroc", "auprc", "f_measure"):
        values = np.where(known, getattr(scores, name), np.nan)
        found[name] = finite_mean(values)
        found[f"{name}_classes"] = float(np.isfinite(values).sum())
    return found | {"accuracy": scores.accuracy, "challenge": scores.challenge}


def by_source(scored: Scored, draws: int, seed: int) -> list[Row]:
    """Every source, with intervals over its patients."""
    return [
        _part(scored, source, np.flatnonzero(scored.sources == source), draws, seed)
        for source in sorted(set(scored.sources))
    ]


def by_patient_group(scored: Scored, draws: int, seed: int) -> list[Row]:
    """Men and women, and ages."""
    sexes = np.array([str(case.get("sex") or "unknown") for case in scored.cases])
    ages = np.array([float(case["age"]) if case.get("age") else np.nan for case in scored.cases])
    groups = [(f"sex {sex}", sexes == sex) for sex in sorted(set(sexes))]
    groups += [(f"age {low} to {high - 1}", (ages >= low) & (ages < high)) for low, high in AGES]
    groups.append(("age unknown", np.isnan(ages)))
    return [
        _part(scored, name, np.flatnonzero(rows), draws, seed)
        for name, rows in groups
        if rows.any()
    ]


def _part(scored: Scored, name: str, rows: np.ndarray, draws: int, seed: int) -> Row:
    drawn = patient_draws(scored.patients[rows], draws, seed)
    numbers = part_numbers(scored, rows)
    low_high = intervals(drawn, lambda each: main_numbers(scored.scores(rows[each])))
    for measure in ("auroc", "auprc", "challenge"):
        if measure in low_high:
            low, high = low_high[measure]
            numbers |= {f"{measure}_low": low, f"{measure}_high": high}
    return Row(name, numbers)
