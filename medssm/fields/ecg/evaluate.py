"""Evaluate: the official scores of both Challenges, and what a reader needs beside them."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import write_json, write_text
from medssm.core.log import say
from medssm.data.ecg.challenge_outputs import write_official_labels
from medssm.fields.ecg.outputs import read_predictions
from medssm.fields.ecg.references import Scored, labels_of_folder, scored_records
from medssm.fields.ecg.strata import (
    Row,
    by_class,
    by_patient_group,
    by_source,
    intervals,
    main_numbers,
    patient_draws,
)
from medssm.fields.ecg.thresholds import HALF
from medssm.metrics.challenge import ChallengeScores
from medssm.metrics.reliability import Reliability, reliability
from medssm.runs.answer import table

_SOME_MISSING = 3


@dataclass(frozen=True)
class EvaluateConfig:
    """What a user may say about an evaluation.

    Args:
        predictions: A folder that predict wrote.
        references: Labelled records or headers of the same names; None takes what predict read.
        output: The folder of the report; None is PREDICTIONS/evaluation.
        against: Another folder of predictions to compare with.
        year: The rules; None takes those of the dialect that was written.
        draws: Of patients, for the intervals; 0 gives none.
        seed: Of the draws.
        allow_learned: Score records too that the model learned from; refused by default.
        export_labels: Write headers that the official scorers can read beside the report.
    """

    predictions: Path
    references: Path | None = None
    output: Path | None = None
    against: Path | None = None
    year: Literal[2020, 2021] | None = None
    draws: int = 200
    seed: int = 0
    allow_learned: bool = False
    export_labels: bool = False

    def __post_init__(self) -> None:
        if self.draws < 0:
            raise UsageError(f"draws={self.draws}: expected 0 or more.")


@dataclass(frozen=True)
class EvaluateReport:
    """What an evaluation found.

    Args:
        scored: The records.
        scores: The official measures.
        intervals: The middle 95 % over patients, by measure.
        classes: A row a class.
        sources: A row a source.
        groups: A row a group of patients.
        reliability: Over all answers that are known.
        differences: This minus the other predictions: value, low, high.
        report: The page.
    """

    scored: Scored
    scores: ChallengeScores
    intervals: dict[str, tuple[float, float]]
    classes: Sequence[Row]
    sources: Sequence[Row]
    groups: Sequence[Row]
    reliability: Reliability
    differences: dict[str, tuple[float, float, float]]
    report: Path

    @property
    def at_half(self) -> float:
        """The Challenge metric had every threshold been one half."""
        scored = self.scored
        return replace(scored, decided=scored.probabilities >= HALF).scores().challenge

    @property
    def exit_code(self) -> int:
        """0, or 3 where labelled records have no prediction."""
        return _SOME_MISSING if self.scored.missing else 0

    def facts(self) -> dict[str, Any]:
        """Plain data; numbers that do not exist are null."""
        return {
            "year": self.scored.year,
            "records": len(self.scored.names),
            "patients": len(set(self.scored.patients)),
            "unlabelled": len(self.scored.unlabelled),
            "missing": list(self.scored.missing),
            "learned_from": len(self.scored.learned_from),
            "twins": list(self.scored.twins),
            "scores": {name: _or_none(value) for name, value in self.scores.named().items()},
            "averaged_classes": {
                name: self.scores.averaged(name) for name in ("auroc", "auprc", "f_measure")
            },
            "intervals": {name: list(map(_or_none, each)) for name, each in self.intervals.items()},
            "challenge_at_half": _or_none(self.at_half),
            "calibration_error": _or_none(self.reliability.error),
            "differences": {k: list(map(_or_none, v)) for k, v in self.differences.items()},
            "report": str(self.report),
        }

    def lines(self) -> list[str]:
        """What a person reads."""
        scored, scores = self.scored, self.scores
        lines = [
            f"{len(scored.names)} labelled records of {len(set(scored.patients))} patients, rules "
            f"of {scored.year}; {len(scored.unlabelled)} without a label left out.",
            *scores.official_text().splitlines(),
            f"Challenge metric with every threshold at 0.5: {self.at_half:.3f}",
            f"AUROC and AUPRC are means over {scores.averaged('auroc')} and "
            f"{scores.averaged('auprc')} of {len(scored.classes)} classes: those with a positive.",
        ]
        lines += [
            f"{name}: 95 % over patients {low:.3f} to {high:.3f}"
            for name, (low, high) in self.intervals.items()
        ]
        shown = ("positives", "auroc", "auprc", "f_measure", "sensitivity", "specificity")
        rows = [[row.name, *(_text(row.numbers[name]) for name in shown)] for row in self.classes]
        lines += table(rows, ("class", *shown))
        lines += [
            f"{name} differs by {value:+.4f} ({low:+.4f} to {high:+.4f}) from the other predictions"
            for name, (value, low, high) in self.differences.items()
        ]
        if scored.learned_from:
            lines.append(f"{len(scored.learned_from)} records were learned from: leakage.")
        if scored.twins:
            lines.append(f"{len(scored.twins)} records are others under a second name.")
        if scored.missing:
            lines.append(f"{len(scored.missing)} labelled records have no prediction.")
        return lines


def evaluate(config: EvaluateConfig) -> EvaluateReport:
    """Score a folder of predictions and write the report.

    Raises:
        BadDataError: No record has a label, or a file cannot be read.
    """
    scored = _scored(config, config.predictions)
    if scored.learned_from and not config.allow_learned:
        raise BadDataError(
            f"{config.predictions}: the model learned from {len(scored.learned_from)} of "
            f"{len(scored.names)} records (by their samples), e.g. {scored.learned_from[0]}. "
            "Expected records that it has not seen; allow_learned=true scores them all the same."
        )
    scores = scored.scores()
    drawn = patient_draws(scored.patients, config.draws, config.seed)
    say("%d records; %d draws of patients.", len(scored.names), config.draws)
    output = config.output or config.predictions / "evaluation"
    report = EvaluateReport(
        scored=scored,
        scores=scores,
        intervals=intervals(drawn, lambda rows: main_numbers(scored.scores(rows))),
        classes=by_class(scored, drawn),
        sources=by_source(scored, config.draws, config.seed),
        groups=by_patient_group(scored, config.draws, config.seed),
        reliability=reliability(scored.truth[scored.known], scored.probabilities[scored.known]),
        differences=_differences(config, scored),
        report=output / "report.html",
    )
    _write(report, output)
    if config.export_labels:
        _export_labels(config, scored, output / "labels")
    return report


def _scored(config: EvaluateConfig, folder: Path) -> Scored:
    return scored_records(folder, read_predictions(folder), config.references, config.year)


def _differences(config: EvaluateConfig, mine: Scored) -> dict[str, tuple[float, float, float]]:
    """Ours minus theirs on the records that both have, patients drawn together."""
    if config.against is None:
        return {}
    other = _scored(config, config.against)
    common = sorted(set(mine.names) & set(other.names))
    if not common:
        raise UsageError(
            f"--against {config.against}: no record in common with {config.predictions}."
        )
    rows, theirs = (np.array([each.names.index(name) for name in common]) for each in (mine, other))

    def gap(drawn: np.ndarray) -> dict[str, float]:
        ours = main_numbers(mine.scores(rows[drawn]))
        its = main_numbers(other.scores(theirs[drawn]))
        return {name: ours[name] - its[name] for name in ours}

    everything = gap(np.arange(len(common)))
    drawn = patient_draws(mine.patients[rows], config.draws, config.seed)
    spread = intervals(drawn, gap)
    unknown = (math.nan, math.nan)
    return {name: (value, *spread.get(name, unknown)) for name, value in everything.items()}


def _write(report: EvaluateReport, folder: Path) -> None:
    from medssm.fields.ecg.report import write_report

    scored = report.scored
    write_text(folder / "scores.csv", report.scores.official_text() + "\n")
    codes = [each.code for each in scored.classes]
    write_text(folder / "class_scores.csv", report.scores.official_class_text(codes) + "\n")
    for name, rows in (
        ("per_class.csv", report.classes),
        ("per_source.csv", report.sources),
        ("per_group.csv", report.groups),
    ):
        write_text(folder / name, _csv(rows))
    bins = report.reliability
    lines = [
        Row(f"{low:.1f} to {high:.1f}", {"answers": float(n), "said": said, "true": true})
        for low, high, n, said, true in zip(
            bins.edges[:-1], bins.edges[1:], bins.count, bins.said, bins.true, strict=True
        )
    ]
    write_text(folder / "reliability.csv", _csv(lines))
    write_json(folder / "evaluation.json", report.facts())
    write_report(report, folder)


def _export_labels(config: EvaluateConfig, scored: Scored, folder: Path) -> None:
    found = labels_of_folder(config.references) if config.references else {}
    for name, case in zip(scored.names, scored.cases, strict=True):
        write_official_labels(folder / f"{name}.hea", found.get(name) or case["codes"] or ())


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = list(dict.fromkeys(name for row in rows for name in row.numbers))
    writer.writerow(["name", *columns])
    for row in rows:
        values = [row.numbers.get(name, math.nan) for name in columns]
        writer.writerow([row.name, *(_text(value, 6) for value in values)])
    return text.getvalue()


def _text(value: float, digits: int = 3) -> str:
    if not math.isfinite(value):
        return "" if digits > 3 else "-"
    return str(int(value)) if float(value).is_integer() else f"{value:.{digits}f}"


def _or_none(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
