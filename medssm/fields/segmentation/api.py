"""Prediction and scoring of segmentation from Python, arrays included."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import SimpleITK

from medssm.core.errors import BadDataError, UsageError
from medssm.core.signature import make
from medssm.fields.segmentation.evaluate import EvaluateConfig, EvaluateReport
from medssm.fields.segmentation.evaluate import evaluate as run_evaluate
from medssm.fields.segmentation.predict import PredictConfig, PredictReport
from medssm.fields.segmentation.predict import predict as run_predict
from medssm.fields.segmentation.trained import open_model

_CASE = "array"
_PICTURES = (".png", ".bmp")
_PIXELS = (np.dtype(np.uint8), np.dtype(np.uint16))
_PICTURE_NDIM = 3


def predict(
    model: str | Path,
    input: str | Path | Sequence[str | Path] | np.ndarray[Any, Any],  # noqa: A002 - the word users know from the command
    output: str | Path | None = None,
    *,
    spacing_mm: Sequence[float] | None = None,
    **options: Any,
) -> PredictReport | np.ndarray[Any, Any]:
    """Predict images with a trained model.

    Args:
        model: The model folder that `medssm train` named.
        input: An image, a folder, a list of images, or one array.
        output: Folder of the label maps; not for an array.
        spacing_mm: Voxel size of an array along its spatial axes, in mm.
        **options: Any field of `PredictConfig`, e.g. folds=(0,) or mirroring=False.

    Returns:
        For files a report of done, failed and skipped cases; for an array its label map.

    Shape:
        an array: (*S), or (C, *S) for a model of several channels; the label map: (*S).

    Raises:
        UsageError: Arguments that do not go together.
        BadDataError: An array that cannot be predicted.
    """
    if isinstance(input, np.ndarray):
        if output is not None or spacing_mm is None:
            raise UsageError("an array needs spacing_mm and gives its label map back: no output.")
        return _predict_array(Path(model), input, spacing_mm, options)
    if output is None:
        raise UsageError("files need output=FOLDER for the label maps.")
    several = () if isinstance(input, (str, Path)) else tuple(Path(each) for each in input)
    source = Path(input) if isinstance(input, (str, Path)) else several
    arguments = {"model": Path(model), "input": source, "output": Path(output), **options}
    return run_predict(make(PredictConfig, arguments, "predict"))


def _predict_array(
    model: Path, array: np.ndarray[Any, Any], spacing_mm: Sequence[float], options: dict[str, Any]
) -> np.ndarray[Any, Any]:
    trained = open_model(model)
    axes = len(spacing_mm)
    channels = array[None] if array.ndim == axes else array
    if channels.ndim != axes + 1 or len(channels) != trained.channels:
        raise BadDataError(
            f"an array of shape {array.shape} with {axes} spacings does not fit a model of "
            f"{trained.channels} channel(s); give (*S) or (C, *S) and one spacing an axis of S."
        )
    with tempfile.TemporaryDirectory(prefix="medssm-") as name:
        folder = Path(name)
        ending = trained.file_ending
        if ending in _PICTURES:
            _write_picture(channels, folder / f"{_CASE}_0000{ending}")
        else:
            _write_volumes(channels, spacing_mm, folder, ending)
        arguments = {
            "model": model,
            "input": tuple(sorted(folder.glob(f"{_CASE}_*"))),
            "output": folder / "labels",
            **options,
        }
        report = run_predict(make(PredictConfig, arguments, "predict"))
        if report.failed:
            raise BadDataError(next(iter(report.failed.values())))
        label = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(report.output / f"{_CASE}{ending}"))
    return np.asarray(label)


def _write_volumes(
    channels: np.ndarray[Any, Any], spacing_mm: Sequence[float], folder: Path, ending: str
) -> None:
    for index, channel in enumerate(channels):
        image = SimpleITK.GetImageFromArray(channel)
        image.SetSpacing([float(each) for each in reversed(spacing_mm)])
        SimpleITK.WriteImage(image, folder / f"{_CASE}_{index:04d}{ending}")


def _write_picture(channels: np.ndarray[Any, Any], file: Path) -> None:
    if channels.dtype not in _PIXELS or channels.ndim != _PICTURE_NDIM:
        raise BadDataError(
            f"an array of {channels.dtype} and shape {channels.shape[1:]}; this model was trained "
            f"on {file.suffix} pictures. Give (H, W) or (C, H, W) of uint8 or uint16."
        )
    pixels = channels[0] if len(channels) == 1 else np.moveaxis(channels, 0, -1)
    imageio.imwrite(file, pixels)


def evaluate(
    predictions: str | Path,
    references: str | Path,
    output: str | Path | None = None,
    **options: Any,
) -> EvaluateReport:
    """Score predictions against references and write the report.

    Args:
        predictions: A folder that `predict` wrote.
        references: Folder of the reference labels.
        output: Folder of the report; None takes PREDICTIONS/evaluation.
        **options: Any field of `EvaluateConfig`.
    """
    predictions = Path(predictions)
    arguments = {
        "predictions": predictions,
        "references": Path(references),
        "output": Path(output) if output is not None else predictions / "evaluation",
        **options,
    }
    return run_evaluate(make(EvaluateConfig, arguments, "evaluate"))
