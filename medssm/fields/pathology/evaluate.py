"""Evaluate: predicted bags against what is true; scores, intervals, curves, one report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medssm.core.errors import BadDataError
from medssm.core.files import read_json, write_json
from medssm.data.bags import read_slide_table
from medssm.fields.pathology.bag_answer import BagAnswer
from medssm.fields.pathology.plan_file import BagEntry
from medssm.fields.pathology.predict import PREDICTIONS, answer_of_row
from medssm.fields.pathology.scoring import HEADER, ScoreTable, score
from medssm.fields.pathology.survival_curves import RiskGroups, draw_risk_groups
from medssm.metrics.statistics import Comparison, compare
from medssm.reports.html import Page, Picture, Table, write_page
from medssm.reports.overlays import picture_address

SCORES = "scores.json"
DEFINITIONS = (
    ("auc", "area under the ROC curve of class 1 of two; of more, mean of each against the rest"),
    ("accuracy", "share of the bags whose most probable class is the true one"),
    ("balanced_accuracy", "mean of the shares found of each class that is there"),
    ("f1", "mean over the classes of the harmonic mean of precision and sensitivity"),
    ("c_index", "Harrell's concordance of risk and time; equal risks count half; within folds"),
    ("interval", "percentiles 2.5 and 97.5 over patients drawn with replacement"),
)


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """What a user may say about an evaluation.

    Args:
        predictions: A folder that predict wrote.
        references: A study's table; None where the predictions know what is true.
        output: Folder of the report; None takes `evaluation` in the predictions.
        against: Another folder of predictions of the same bags.
        draws: Of patients, for the intervals.
        seed: Of the draws.
    """

    predictions: Path
    references: Path | None = None
    output: Path | None = None
    against: Path | None = None
    draws: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Args:
        scores: The scores.
        without_truth: Bags that were not scored.
        report: The page.
        comparison: The other predictions, bag by bag: right answers, or None.
    """

    scores: ScoreTable
    without_truth: int
    report: Path
    comparison: Comparison | None
    groups: RiskGroups | None


def evaluate(config: EvaluateConfig) -> Evaluation:
    """Score predictions and write scores.json and report.html.

    Raises:
        BadDataError: No predictions there, or none whose truth is known.
    """
    content = _content(config.predictions)
    truth = _truth(content, config.references)
    answers = _answers(content)
    known = [each for each in answers if each.name in truth]
    if not known:
        raise BadDataError(
            f"{config.predictions}: of {len(answers)} answered bags none has a known truth. Give a "
            "table with slide_id and label (or survival_months) with -r."
        )
    scores = score(known, truth, content["task"], config.draws, config.seed)
    output = config.output or config.predictions / "evaluation"
    groups = None
    if content["task"] == "survival":
        groups = draw_risk_groups(known, truth, output / "kaplan_meier.png")
    comparison = _comparison(config, content, known, truth)
    found = Evaluation(scores, len(answers) - len(known), output / "report.html", comparison,
                       groups)  # fmt: skip
    write_json(output / SCORES, {"task": content["task"], **scores.plain(), **_told(found)})
    write_page(_page(config, content, found), found.report)
    return found


def _content(folder: Path) -> dict[str, Any]:
    content = read_json(folder / PREDICTIONS)
    if content.get("field") != "pathology":
        raise BadDataError(f"{folder / PREDICTIONS}: no predictions of pathology.")
    return dict(content)


def _answers(content: Mapping[str, Any]) -> list[BagAnswer]:
    rows = (case["row"] for case in content["cases"].values())
    answers = (answer_of_row(row, content["classes"]) for row in rows)
    return [each for each in answers if each is not None]


def _truth(content: Mapping[str, Any], references: Path | None) -> dict[str, BagEntry]:
    if references is None:
        return {name: BagEntry(name, slides=(), **each) for name, each in content["truth"].items()}
    classes = list(content["classes"])
    truth: dict[str, BagEntry] = {}
    for row in read_slide_table(references).values():
        name = row.patient if content["unit"] == "patient" else row.slide
        if row.label is not None and classes and row.label not in classes:
            raise BadDataError(
                f"{references}: {row.slide} is of class {row.label!r}; the model knows "
                f"{', '.join(classes)}."
            )
        label = classes.index(row.label) if row.label in classes else None
        if label is not None or row.months is not None:
            truth[name] = BagEntry(name, row.patient, (), label, row.months, row.event)
    return truth


def _comparison(
    config: EvaluateConfig, content: Mapping[str, Any], answers: Sequence[BagAnswer],
    truth: Mapping[str, BagEntry],
) -> Comparison | None:  # fmt: skip
    """Right answers bag by bag against another model's."""
    if config.against is None or content["task"] != "classification":
        return None
    other = {each.name: each for each in _answers(_content(config.against))}
    both = [each for each in answers if each.name in other]
    if not both:
        raise BadDataError(f"{config.against}: holds none of the bags of {config.predictions}.")

    def right(each: BagAnswer) -> float:
        return float(int(each.probabilities.argmax()) == truth[each.name].label)

    return compare([right(each) for each in both], [right(other[each.name]) for each in both])


def _told(found: Evaluation) -> dict[str, Any]:
    told: dict[str, Any] = {"without_truth": found.without_truth}
    if found.comparison is not None:
        told["against"] = {
            "difference_of_accuracy": vars(found.comparison.difference),
            "p_value": found.comparison.p_value,
            "wins": found.comparison.wins,
            "losses": found.comparison.losses,
        }
    if found.groups is not None:
        told["risk_groups"] = found.groups.plain()
    return told


def _page(config: EvaluateConfig, content: Mapping[str, Any], found: Evaluation) -> Page:
    rows = found.scores.rows()
    folds = [
        [name, *(f"{value:.4f}" for value in spread.folds)]
        for name, spread in found.scores.measures.items()
    ]
    count = max((len(each.folds) for each in found.scores.measures.values()), default=0)
    tables = [
        Table("Scores", HEADER, rows),
        Table("Fold by fold", ("measure", *(f"fold {i}" for i in range(count))), folds),
    ]
    if found.scores.reasons:
        reasons = [[where, why] for where, why in found.scores.reasons.items()]
        tables.append(Table("Not counted", ("where", "why"), reasons))
    curves = []
    if found.groups is not None:
        png = found.report.with_name("kaplan_meier.png").read_bytes()
        curves = [Picture(picture_address(png), "Kaplan-Meier", found.groups.line())]
    failed = dict(content["failed"])
    warnings = [f"{len(failed)} bags failed: {', '.join(list(failed)[:5])}"] if failed else []
    if found.without_truth:
        warnings.append(f"{found.without_truth} answered bags have no known truth.")
    return Page(
        title=f"Bags of {content['dataset']}",
        subtitle=f"{found.scores.bags} bags, {content['task']}, tiles in order {content['order']}",
        figures=[(row[0], row[2], row[3]) for row in rows],
        warnings=warnings,
        tables=tables,
        curves=curves,
        definitions=DEFINITIONS,
        facts=[("Model", [("folder", str(content["model"])), ("input", str(content["input"]))])],
        command=f"medssm evaluate {config.predictions}",
    )


def lines_of(found: Evaluation) -> list[str]:
    """The evaluation for people."""
    from medssm.runs.answer import table

    lines = table(found.scores.rows(), HEADER)
    if found.comparison is not None:
        each = found.comparison
        error = _standard_error(each)
        lines.append(
            f"accuracy against the other: {each.difference.mean:+.4f} (paired standard error "
            f"{error:.4f}), better in {each.wins} bags, worse in {each.losses}, "
            f"p = {each.p_value:.3f}"
        )
    if found.groups is not None:
        lines.append(found.groups.line())
    lines += [f"{where}: {why}" for where, why in found.scores.reasons.items()]
    return lines


def _standard_error(comparison: Comparison) -> float:
    """Of the mean of differences that are -1, 0 or 1."""
    count = comparison.difference.count
    changed = (comparison.wins + comparison.losses) / count
    return float(np.sqrt(max(changed - comparison.difference.mean**2, 0.0) / count))
