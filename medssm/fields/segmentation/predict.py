"""How segmentation predicts: images of any folder, with the networks of a model folder."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from medssm import __version__
from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import RECORDS, remove_temporaries, write_json
from medssm.core.log import say, warn
from medssm.data.dicom.segmentation_object import Author
from medssm.fields.segmentation.dicom_case import Objects
from medssm.fields.segmentation.dicom_input import (
    DicomSettings,
    DicomStudy,
    ModelFacts,
    dicom_files,
    find_dicom_cases,
    passing_folder,
)
from medssm.fields.segmentation.folder_prediction import (
    PredictReport,
    PredictSettings,
    predict_to_folder,
)
from medssm.fields.segmentation.inputs import InputCase, choose_cases, find_inputs
from medssm.fields.segmentation.prediction_records import read_record
from medssm.fields.segmentation.trained import Checkpoint, TrainedModel, open_model
from medssm.fields.segmentation.validation_cases import validation_cases

__all__ = ["PredictConfig", "PredictReport", "PredictSettings", "predict", "predict_to_folder"]

PREDICTIONS_FILE = "predictions.json"


@dataclass(frozen=True, kw_only=True)
class PredictConfig(PredictSettings, DicomSettings):
    """A whole prediction with a trained model.

    Args:
        model: The model folder that `medssm train` named.
        input: An image, a folder of images or a list; DICOM series in a folder, a tree or a zip;
            with cases="validation" the data set.
        output: Folder of the label maps.
        folds: Folds to average; None takes all that are there.
        checkpoint: The weights of the end of training, or those that validated best.
        cases: Names to predict, None for all, or "validation": every fold's network predicts
            the cases that it was not trained on.
    """

    model: Path
    output: Path
    input: Path | tuple[Path, ...] | None = None
    folds: int | str | tuple[int | str, ...] | None = None
    checkpoint: Checkpoint = "final"
    cases: str | tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        PredictSettings.__post_init__(self)
        DicomSettings.__post_init__(self)


def predict(config: PredictConfig) -> PredictReport:
    """Predict images with a trained model.

    Args:
        config: Model, input, output and settings.

    Returns:
        Which cases are done, failed and skipped; a bad input costs only itself.

    Raises:
        UsageError: An argument that does not fit the model.
        BadDataError: The model or the whole input cannot be used.
        InterruptedRunError: A signal asked to stop; the same command goes on from there.
    """
    folds = (config.folds,) if isinstance(config.folds, (int, str)) else config.folds
    model = open_model(config.model, folds, config.checkpoint)
    remove_temporaries(config.output)
    with _study(config, model) as study:
        report, told = _predict_parts(config, model, study)
    series = study.told(report.done, report.skipped, report.failed)
    if any(note.fault for note in series):
        report = replace(report, exit_code=max(report.exit_code, BadDataError.exit_code))
    report = replace(report, series=series)
    _write_facts(config, model, report, told)
    for name, problem in report.failed.items():
        warn("failed: %s: %s", name, problem)
    return report


_SETTINGS = tuple(PredictSettings.__dataclass_fields__)


def _predict_parts(
    config: PredictConfig, model: TrainedModel, study: DicomStudy
) -> tuple[PredictReport, dict[str, Any]]:
    report, told = PredictReport(output=config.output), {}
    settings = PredictSettings(**{name: getattr(config, name) for name in _SETTINGS})
    settings = replace(settings, sums=settings.sums or model.sums)
    for chosen, cases in _parts(config, model, study):
        key = model.digest(chosen)
        say("%d case(s) with fold %s of %s", len(cases), ", ".join(chosen), config.model)
        network = model.network(chosen)
        part = predict_to_folder(
            network, model.plan, cases, config.output,
            file_ending=model.file_ending, mirror_axes=model.mirror_axes,
            settings=settings, model_key=key,
        )  # fmt: skip
        report = report.joined(part)
        told.update(_facts_of_cases(config.output, cases, chosen))
        _write_facts(config, model, report, told)
    return report, told


def _parts(
    config: PredictConfig, model: TrainedModel, study: DicomStudy
) -> Iterator[tuple[tuple[str, ...], list[InputCase]]]:
    """Which folds predict which cases."""
    if config.cases == "validation":
        yield from validation_cases(model, config.input)
        return
    if config.input is None:
        raise UsageError("predict needs an input: an image or a folder of images.")
    found = list(study.cases) or find_inputs(
        config.input, model.channels, model.file_ending, config.output
    )
    if config.cases is not None:
        names = (config.cases,) if isinstance(config.cases, str) else config.cases
        found = choose_cases(found, names)
    yield tuple(model.weights), found


@contextmanager
def _study(config: PredictConfig, model: TrainedModel) -> Iterator[DicomStudy]:
    """The cases of DICOM, staged for so long; none where the input is something else."""
    if config.input is None or config.cases == "validation":
        yield DicomStudy()
        return
    scratch = Path(config.scratch or config.output / RECORDS)
    with dicom_files(config.input, model.file_ending, config.output, scratch) as files:
        if files is None:
            yield DicomStudy()
            return
        staged = passing_folder(scratch, config.output, "dicom")
        author = Author(
            str(model.content["network"]["name"]), __version__, model.digest(tuple(model.weights))
        )
        labels = model.plan.labels
        segments = {name: labels.members(name) for name in labels.foreground}
        facts = ModelFacts(
            model.dataset["channel_names"], model.file_ending, Objects(segments, author)
        )
        try:
            yield find_dicom_cases(files, facts, config, config.output, staged)
        finally:
            shutil.rmtree(staged, ignore_errors=True)


def _facts_of_cases(
    folder: Path, cases: Sequence[InputCase], folds: tuple[str, ...]
) -> dict[str, Any]:
    told = {}
    for case in cases:
        record = read_record(folder, case.name)
        if record is not None and not case.problem:
            told[case.name] = {
                "images": [str(path) for path in case.files],
                "outputs": sorted(
                    [*record.outputs, *(case.source.outputs() if case.source else ())]
                ),
                "folds": list(folds),
                "seconds": record.seconds,
            }
    return told


def _write_facts(
    config: PredictConfig, model: TrainedModel, report: PredictReport, cases: Mapping[str, Any]
) -> None:
    settings = {name: value for name, value in asdict(config).items() if name not in _PATHS}
    content = {
        "format": 1,
        "field": "segmentation",
        "model": str(config.model.resolve()),
        "dataset": model.content["dataset"],
        "input": str(config.input) if isinstance(config.input, Path) else config.input,
        "settings": settings,
        "cases": {name: cases[name] for name in sorted(cases) if name not in report.failed},
        "failed": dict(report.failed),
        "series": [asdict(note) for note in report.series],
    }
    write_json(config.output / "dataset.json", model.dataset)
    write_json(config.output / PREDICTIONS_FILE, content)


_PATHS = ("model", "input", "output", "home")
