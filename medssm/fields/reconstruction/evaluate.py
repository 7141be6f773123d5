"""Evaluate: reconstructions against references in named conventions, beside classical methods."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import write_json, write_text
from medssm.core.log import Progress, warn
from medssm.core.signature import make
from medssm.fields.reconstruction.baseline_prediction import TuneName
from medssm.fields.reconstruction.baselines import BASELINES
from medssm.fields.reconstruction.calibration import Errors
from medssm.fields.reconstruction.calibration_of_predictions import (
    check_uncalibrated,
    errors_in,
    store_factor,
)
from medssm.fields.reconstruction.case_scores import CaseScores, load_case, score_case
from medssm.fields.reconstruction.prediction_record import Record, read_record
from medssm.fields.reconstruction.report_pages import ReportMaker
from medssm.fields.reconstruction.summary import Summary, lines_of, summarise
from medssm.runs.answer import Answer
from medssm.runs.compose import parse_values
from medssm.runs.field import EvaluateRequest


@dataclass(frozen=True)
class EvaluateConfig:
    """What a user may say about an evaluation.

    Args:
        predictions: A folder that `medssm predict` wrote.
        references: A folder of k-space, reconstructions or arrays by case, or one file; None takes
            the inputs.
        output: Where the report goes; None takes PREDICTIONS/evaluation.
        against: Other predictions of the same cases, to compare with.
        baselines: Classical methods to lay beside the predictions.
        tune: "oracle_psnr" or "oracle_ssim" gives the baselines the options that fit the reference
            best, slice by slice, which no user could; "none" takes their defaults.
        calibrate: Fit the factor that makes the stated uncertainty honest, on these volumes, and
            put it into the model folder, where prediction finds it; said is what it does on
            patients that it was not fitted on.
        shown: Slices that the report shows: the worst, the median, the best and more of the worst.
    """

    predictions: Path
    references: Path | None = None
    output: Path | None = None
    against: Path | None = None
    baselines: tuple[str, ...] = ("zero_filled",)
    tune: TuneName = "none"
    calibrate: bool = False
    shown: int = 4

    def __post_init__(self) -> None:
        for name in self.baselines:
            BASELINES.load(name)
        if self.tune == "withheld":
            raise UsageError("tune=withheld is for `medssm predict baseline`; take tune=none here.")
        if self.shown < 0:
            raise UsageError(f"shown={self.shown}: expected 0 or more.")

    @property
    def folder(self) -> Path:
        """Where the report goes."""
        return self.output or self.predictions / "evaluation"


def evaluate_reconstruction(request: EvaluateRequest) -> Answer:
    """Score a folder of reconstructions and write the report.

    Writes report.html, scores.json, volumes.csv and slices.csv.

    Raises:
        BadDataError: No record of predictions, or no case that can be scored.
        UsageError: A wrong override.
    """
    wishes: dict[str, Any] = {"predictions": request.predictions}
    for name in ("references", "output", "against"):
        if getattr(request, name) is not None:
            wishes[name] = getattr(request, name)
    config: EvaluateConfig = make(
        EvaluateConfig, wishes | parse_values(request.overrides), "evaluate"
    )
    record = read_record(config.predictions)
    pages = ReportMaker(config.shown)
    if config.calibrate:
        check_uncalibrated(record)
    errors: list[Errors] = []
    cases, failed = _scores(config, record, pages, errors)
    if not cases:
        reasons = "; ".join(failed.values()) or "the record names no case"
        raise BadDataError(f"{config.predictions}: no case can be scored: {reasons}")
    others = _others(config)
    summary = summarise(record.method, cases, others)
    if config.calibrate:
        summary = replace(summary, factor=store_factor(record, errors))
    pages.write(config, record, summary, failed)
    _write_tables(config.folder, cases, summary, failed)
    facts = {
        "method": record.method,
        "cases": len(cases),
        "score": summary.score,
        **summary.facts(),
        "failed": failed,
        "report": str(config.folder / "report.html"),
    }
    lines = [*lines_of(summary), *[f"failed: {name}: {why}" for name, why in failed.items()]]
    code = BadDataError.exit_code if failed else 0
    return Answer(facts, lines, [config.folder / "report.html"], (), code)


def _scores(
    config: EvaluateConfig, record: Record, pages: ReportMaker, errors: list[Errors]
) -> tuple[list[CaseScores], dict[str, str]]:
    """Score case after case; one volume is in memory at a time, and some pixels of each."""
    files = _reference_files(config.references)
    failed = {name: f"was not predicted: {why}" for name, why in record.failed.items()}
    cases = []
    bar = Progress(len(record.cases), "evaluate")
    for name, case in record.cases.items():
        try:
            images = load_case(case, record.method, files, config.baselines, config.tune)
            scores = score_case(case, record.method, images, config.baselines)
            for note in scores.notes:
                warn("%s", note)
            pages.consider(scores, images, record.method)
            cases.append(scores)
            if config.calibrate:
                errors += errors_in(case, images, record.method)
        except BadDataError as error:
            warn("%s: %s", name, error)
            failed[name] = str(error)
        bar.step(name)
    return cases, failed


def _reference_files(place: Path | None) -> dict[str, Path] | None:
    if place is None:
        return None
    place = Path(place)
    if place.is_file():
        return {place.stem: place}
    found = {
        path.stem: path
        for path in sorted(place.rglob("*"))
        if path.suffix in (".h5", ".npy", ".cfl") and not path.name.startswith(".")
    }
    if not found:
        raise BadDataError(f"{place}: no references. Expected .h5, .npy or .cfl files by case.")
    return found


def _others(config: EvaluateConfig) -> tuple[str, list[CaseScores]] | None:
    """The scores of the predictions to compare with."""
    if config.against is None:
        return None
    record = read_record(config.against)
    files = _reference_files(config.references)
    cases = []
    for case in record.cases.values():
        try:
            images = load_case(case, record.method, files, (), "none")
            cases.append(score_case(case, record.method, images, ()))
        except BadDataError as error:
            warn("%s: %s", case.name, error)
    return record.method, cases


def _write_tables(
    folder: Path, cases: Sequence[CaseScores], summary: Summary, failed: Mapping[str, str]
) -> None:
    measures = summary.measures
    volumes = [
        [case.case, method, case.acceleration, *[values.get(name, "") for name in measures],
         case.withheld.get(method, "")]
        for case in cases
        for method, values in _methods(case).items()
    ]  # fmt: skip
    head = ["case", "method", "acceleration", *measures, "withheld_error"]
    write_text(folder / "volumes.csv", _csv(head, volumes))
    slices = [
        [case.case, method, index, *[_at(values, name, place) for name in measures]]
        for case in cases
        for method, values in case.per_slice.items()
        for place, index in enumerate(case.slices)
    ]
    write_text(folder / "slices.csv", _csv(["case", "method", "slice", *measures], slices))
    content = {**summary.facts(), "cases": [asdict(case) for case in cases], "failed": failed}
    write_json(folder / "scores.json", content)


def _methods(case: CaseScores) -> dict[str, Mapping[str, float]]:
    return {name: case.volume.get(name, {}) for name in {**case.volume, **case.withheld}}


def _at(values: Mapping[str, Sequence[float]], name: str, place: int) -> float | str:
    return values[name][place] if name in values else ""


def _csv(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()
