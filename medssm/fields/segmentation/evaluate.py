"""Evaluate: predictions against references, with intervals, pictures and one HTML file."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from medssm.core.errors import BadDataError, MedssmError, UsageError
from medssm.core.files import is_temporary, write_json, write_text
from medssm.core.log import Progress, warn
from medssm.data.labels import Labels
from medssm.data.readers import ending_of
from medssm.fields.segmentation.published_scores import (
    Convention,
    PublishedScores,
    published_scores,
)
from medssm.fields.segmentation.references import References, find_references
from medssm.fields.segmentation.report import write_report
from medssm.fields.segmentation.scores_file import scores_csv, summary
from medssm.fields.segmentation.scoring import CaseScore, score_case
from medssm.metrics.statistics import Comparison, Interval, bootstrap, compare


@dataclass(frozen=True)
class EvaluateConfig:
    """What a user may say about an evaluation.

    Args:
        predictions: A folder of label maps, or a model folder (its folds' validation).
        references: A folder of label maps or a data set; None finds the data set by itself.
        output: Where the report goes; None takes PREDICTIONS/evaluation.
        against: Other predictions of the same cases, to compare with.
        tolerance_mm: How far a surface may be off for the surface Dice.
        overlays: Pictures of so many worst cases, beside the best and the median.
        convention: Count as the papers did, too: "isic" or "synapse" (TransUNet).
        workers: Threads.
    """

    predictions: Path
    references: Path | None = None
    output: Path | None = None
    against: Path | None = None
    tolerance_mm: float = 1.0
    overlays: int = 3
    convention: Convention | None = None
    workers: int = 4

    def __post_init__(self) -> None:
        if not self.tolerance_mm >= 0 or self.overlays < 0:
            raise UsageError(
                f"tolerance_mm={self.tolerance_mm}, overlays={self.overlays}: expected 0 or more."
            )

    @property
    def folder(self) -> Path:
        """Where the report goes."""
        return self.output or self.predictions / "evaluation"


@dataclass(frozen=True)
class EvaluateReport:
    """What came of an evaluation.

    Args:
        cases: Scores of every case that could be compared.
        per_label: Label to measure to mean with interval.
        overall: Measure to mean over labels, with interval over cases.
        missing: References without a prediction.
        failed: Cases that could not be compared, with the reason.
        report: The HTML file.
        comparison: Mean Dice against the other predictions.
        comparisons: Label (and "mean") to measure to the comparison with the others.
        labels: What the values mean.
        tolerance_mm: Of the surface Dice.
        as_published: Scores as the papers computed them, where asked for.
    """

    cases: Sequence[CaseScore]
    per_label: Mapping[str, Mapping[str, Interval]]
    overall: Mapping[str, Interval]
    missing: Sequence[str]
    failed: Mapping[str, str]
    report: Path
    comparison: Comparison | None = None
    comparisons: Mapping[str, Mapping[str, Comparison]] = field(default_factory=dict)
    labels: Labels = field(default_factory=lambda: Labels({"background": 0}))
    tolerance_mm: float = 1.0
    as_published: PublishedScores | None = None

    @property
    def mean_dice(self) -> float:
        """Mean Dice over labels and cases."""
        return self.overall["Dice"].mean

    @property
    def exit_code(self) -> int:
        """3 where cases are missing or damaged."""
        return BadDataError.exit_code if self.failed or self.missing else 0

    def facts(self) -> dict[str, Any]:
        """The numbers as plain data."""
        return {
            "cases": len(self.cases),
            "missing": list(self.missing),
            "failed": dict(self.failed),
            "mean": {name: vars(each) for name, each in self.overall.items()},
            "labels": {
                label: {name: vars(each) for name, each in found.items()}
                for label, found in self.per_label.items()
            },
            "comparison": {
                label: {name: asdict(each) for name, each in found.items()}
                for label, found in self.comparisons.items()
            },
            "as_published": self.as_published.plain() if self.as_published else None,
            "report": str(self.report),
        }

    def lines(self) -> list[str]:
        """The numbers for a person."""
        lines = []
        for label, found in {**self.per_label, "mean": self.overall}.items():
            parts = [
                f"{name} {each.mean:.4g} [{each.low:.4g}, {each.high:.4g}]"
                for name, each in found.items()
                if name in ("Dice", "HD95_mm", "NSD")
            ]
            lines.append(f"{label}: {'  '.join(parts)}  ({len(self.cases)} cases)")
        if self.as_published:
            lines.append(self.as_published.line())
        if self.missing:
            lines.append(f"no prediction for: {', '.join(self.missing)}")
        lines += [f"failed: {name}: {reason}" for name, reason in self.failed.items()]
        if self.comparison is not None:
            both = self.comparison
            lines.append(
                f"Dice against the other: {both.difference.mean:+.4f} "
                f"[{both.difference.low:+.4f}, {both.difference.high:+.4f}], p={both.p_value:.3g}, "
                f"{both.wins} better, {both.losses} worse"
            )
        return lines


def evaluate(config: EvaluateConfig) -> EvaluateReport:
    """Score a folder of predictions and write summary.json, cases.csv and report.html.

    Raises:
        UsageError: The references cannot be found.
        BadDataError: Not one case could be compared.
    """
    predictions = prediction_files(config.predictions)
    references = find_references(config.predictions, config.references)
    scores, failed = _score_all(predictions, references, config)
    wanted = references.expected or set(predictions)
    missing = sorted(wanted - set(predictions))
    if not scores:
        why = "; ".join(f"{name}: {reason}" for name, reason in list(failed.items())[:3])
        raise BadDataError(
            f"{config.predictions}: no prediction could be compared with a reference of "
            f"{references.source}. {why or 'Their names must be equal.'}"
        )
    keys = _keys(scores)
    per_label = {
        label: {key: bootstrap([s.labels[label].values[key] for s in scores]) for key in keys}
        for label in references.labels.foreground
    }
    overall = {key: bootstrap([score.mean(key) for score in scores]) for key in keys}
    comparisons = _against(config, references, scores)
    report = EvaluateReport(
        scores, per_label, overall, missing, failed, config.folder / "report.html",
        comparisons["mean"]["Dice"] if comparisons else None, comparisons, references.labels,
        config.tolerance_mm,
        published_scores(config.convention, references.labels.foreground, scores),
    )  # fmt: skip
    write_json(config.folder / "summary.json", summary(report))
    write_text(config.folder / "cases.csv", scores_csv(scores, keys))
    write_report(report, config, references)
    return report


def prediction_files(folder: Path) -> dict[str, Path]:
    """Label maps of a prediction folder, or of all folds of a model folder, by case.

    Raises:
        UsageError: No such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder of predictions.")
    places = [folder]
    if (folder / "model.json").is_file():
        places = sorted(folder.glob("fold_*/validation"))
    found: dict[str, Path] = {}
    for place in places:
        for path in sorted(place.iterdir()):
            ending = ending_of(path)
            if path.is_file() and ending and not is_temporary(path):
                found[path.name[: -len(ending)]] = path
    if not found:
        raise UsageError(f"{folder}: holds no label map. Expected what `medssm predict` writes.")
    return found


def _score_all(
    predictions: Mapping[str, Path], references: References, config: EvaluateConfig
) -> tuple[list[CaseScore], dict[str, str]]:
    bar = Progress(len(predictions), "evaluate")
    failed: dict[str, str] = {}

    def one(item: tuple[str, Path]) -> CaseScore | None:
        name, path = item
        reference = references.files.get(name)
        try:
            if reference is None:
                raise BadDataError(f"no reference of that name in {references.source}")
            return score_case(
                name, path, reference, references.labels, config.tolerance_mm,
                convention=config.convention,
            )  # fmt: skip
        except MedssmError as error:
            failed[name] = str(error)
            warn("%s: %s", name, error)
            return None
        except (ValueError, OSError, MemoryError) as error:
            # what a reader did not foresee must not cost the other cases
            failed[name] = f"{path}: could not be compared ({type(error).__name__}: {error})"
            warn("%s: %s", name, failed[name])
            return None
        finally:
            bar.step(name)

    with ThreadPoolExecutor(max_workers=max(1, config.workers)) as pool:
        scores = [score for score in pool.map(one, predictions.items()) if score is not None]
    return scores, dict(sorted(failed.items()))


def _keys(scores: Sequence[CaseScore]) -> list[str]:
    """The measures that every case has: among volumes, a single slice has areas instead."""
    sets = [next(iter(score.labels.values())).values for score in scores]
    return [key for key in sets[0] if all(key in each for each in sets)]


def _against(
    config: EvaluateConfig, references: References, scores: Sequence[CaseScore]
) -> dict[str, dict[str, Comparison]]:
    if config.against is None:
        return {}
    others, _ = _score_all(prediction_files(config.against), references, config)
    theirs = {score.case: score for score in others}
    pairs = [(score, theirs[score.case]) for score in scores if score.case in theirs]
    if not pairs:
        raise UsageError(f"{config.against}: has no case in common with {config.predictions}.")
    compared = [key for key in _COMPARED if key in _keys(scores)]
    found = {
        label: {
            key: compare(
                [mine.labels[label].values[key] for mine, _ in pairs],
                [other.labels[label].values[key] for _, other in pairs],
            )
            for key in compared
        }
        for label in references.labels.foreground
    }
    found["mean"] = {
        key: compare([mine.mean(key) for mine, _ in pairs], [other.mean(key) for _, other in pairs])
        for key in compared
    }
    return found


_COMPARED = ("Dice", "HD95_mm", "NSD")
