"""The Python calls `medssm.train`, `medssm.predict`, `medssm.evaluate`, for every field."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medssm.fields.find import field_of_model, field_of_predictions, field_of_study
from medssm.fields.segmentation import api as segmentation
from medssm.fields.segmentation.evaluate import EvaluateReport
from medssm.fields.segmentation.predict import PredictReport
from medssm.fields.segmentation.stages import FIELD as SEGMENTATION
from medssm.runs.answer import Answer
from medssm.runs.field import EvaluateRequest, PredictRequest, StudyRequest

_HOME = "~/medssm"


def train(
    dataset: str | Path,
    home: str | Path = _HOME,
    *,
    overrides: Sequence[str] = (),
    skip_bad: bool = False,
) -> Path:
    """Train on a data set of any field; what comes before is done where it is missing.

    Args:
        dataset: A folder, or a name or number under `home`.
        home: Folder for raw/, preprocessed/ and results/.
        overrides: key=value words as on the command line.
        skip_bad: Leave out cases with errors instead of refusing the data set.

    Returns:
        The model folder, which `predict` takes.
    """
    place = Path(home).expanduser().absolute()
    field, request = field_of_study(StudyRequest(str(dataset), place, tuple(overrides), skip_bad))
    return Path(field.train(request).written[0])


def predict(
    model: str | Path,
    input: str | Path | Sequence[str | Path] | np.ndarray[Any, Any],  # noqa: A002 - the word users know from the command
    output: str | Path | None = None,
    *,
    spacing_mm: Sequence[float] | None = None,
    overrides: Sequence[str] = (),
    **options: Any,
) -> PredictReport | Answer | np.ndarray[Any, Any]:
    """Apply a trained model of any field.

    Args:
        model: The model folder that `train` named.
        input: A file or a folder; for segmentation also a list of images, or one array.
        output: Folder for what is predicted; not for an array.
        spacing_mm: Voxel size of an array along its spatial axes, in mm.
        overrides: key=value words as on the command line; not for segmentation.
        **options: Of segmentation any field of `PredictConfig`, e.g. folds=(0,).

    Returns:
        For segmentation a report of done, failed and skipped cases, or the label map of an array;
        for other fields the answer of the stage: facts, lines, what was written.

    Shape:
        an array: (*S), or (C, *S) for a model of several channels; the label map: (*S).

    Raises:
        UsageError: Arguments that do not go together.
        BadDataError: Input that cannot be predicted.
    """
    field = field_of_model(Path(model))
    if field is SEGMENTATION or isinstance(input, (np.ndarray, list, tuple)) or output is None:
        return segmentation.predict(model, input, output, spacing_mm=spacing_mm, **options)
    words = (*overrides, *(f"{name}={value}" for name, value in options.items()))
    home = Path(_HOME).expanduser()
    return field.predict(PredictRequest(Path(model), Path(str(input)), Path(output), home, words))


def evaluate(
    predictions: str | Path,
    references: str | Path | None = None,
    output: str | Path | None = None,
    *,
    overrides: Sequence[str] = (),
    **options: Any,
) -> EvaluateReport | Answer:
    """Score predictions of any field and write the report.

    Args:
        predictions: A folder that `predict` wrote.
        references: What is true; None where the predictions say where it lies.
        output: Folder of the report; None takes a place in the predictions' folder.
        overrides: key=value words as on the command line; not for segmentation.
        **options: Of segmentation any field of `EvaluateConfig`.
    """
    field = field_of_predictions(Path(predictions))
    if field is SEGMENTATION and references is not None:
        return segmentation.evaluate(predictions, references, output, **options)
    words = (*overrides, *(f"{name}={value}" for name, value in options.items()))
    home = Path(_HOME).expanduser()
    request = EvaluateRequest(
        Path(predictions), _path(references), _path(output), None, home, words
    )
    return field.evaluate(request)


def _path(place: str | Path | None) -> Path | None:
    return None if place is None else Path(place)
