"""From evaluated predictions to the factor in the model folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medssm.core.errors import BadDataError, UsageError
from medssm.data.readers.kspace import open_kspace
from medssm.fields.reconstruction.calibration import Errors, calibrate, errors_of, write_factor
from medssm.fields.reconstruction.case_scores import CaseImages
from medssm.fields.reconstruction.prediction_record import PredictedCase, Record
from medssm.metrics.reconstruction import foreground


def check_uncalibrated(record: Record) -> None:
    """Refuse predictions that no factor can be fitted on, before anything is scored.

    Raises:
        UsageError: They are of a baseline, or a factor was applied already.
    """
    if record.calibration is None:
        raise UsageError(
            f"{record.folder}: calibrate=true needs predictions of a network with "
            f"uncertainty=masks or replicas; these are of {record.method}."
        )
    if record.calibration.get("applied"):
        raise UsageError(
            f"{record.folder}: its uncertainty is calibrated already. Predict with "
            "calibrated=false to fit another factor."
        )


def errors_in(case: PredictedCase, images: CaseImages, method: str) -> list[Errors]:
    """The errors of a volume beside their stated deviations; none where one of them is missing."""
    reference = images.stacks.get("reference")
    units = case.figures.get("unit")
    if reference is None or images.uncertainty is None or units is None:
        return []
    patient = open_kspace(case.input).patient if case.input.is_file() else ""
    error = np.abs(images.stacks[method] - reference)
    return [
        errors_of(patient or case.name, error, images.uncertainty, foreground(reference), units)
    ]


def store_factor(record: Record, errors: Sequence[Errors]) -> dict[str, Any]:
    """Fit and write it; what is told of it.

    Raises:
        BadDataError: There is no volume with a reference and an uncertainty.
    """
    if not errors:
        raise BadDataError(
            f"{record.folder}: no volume has both a reference and an uncertainty. Predict fully "
            "sampled volumes with uncertainty=masks, or name references with -r."
        )
    assert record.calibration is not None
    _, facts = calibrate(errors)
    file = write_factor(Path(record.calibration["folder"]), str(record.calibration["key"]), facts)
    return {**facts, "file": str(file)}
