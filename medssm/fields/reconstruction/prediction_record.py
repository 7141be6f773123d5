"""predictions.json as the evaluation reads it: what was reconstructed from what."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import read_json

PREDICTIONS = "predictions.json"


@dataclass(frozen=True)
class PredictedCase:
    """One reconstructed volume.

    Args:
        name: The case.
        file: Its HDF5 file.
        input: The file of k-space.
        slices: Numbers of the slices that were reconstructed, in order.
        undersampled: Whether the input itself lacks samples.
        acceleration: Of the mask.
        figures: Numbers of every slice, e.g. the error on withheld samples.
        mask_file: The mask, (H, W) boolean.
        seconds: How long it took.
    """

    name: str
    file: Path
    input: Path
    slices: tuple[int, ...]
    undersampled: bool
    acceleration: float
    figures: Mapping[str, list[float]]
    mask_file: Path
    seconds: float

    def mask(self) -> np.ndarray:
        """The mask that the input was reconstructed with, (H, W) boolean.

        Raises:
            BadDataError: It is missing or damaged.
        """
        try:
            return np.load(self.mask_file, allow_pickle=False).astype(bool)
        except (OSError, ValueError) as error:
            raise BadDataError(
                f"{self.mask_file}: the mask cannot be read ({error}). Expected what `medssm "
                "predict` wrote; predict again with --force."
            ) from None


@dataclass(frozen=True)
class Record:
    """The record of a folder of predictions.

    Args:
        folder: Where it lies.
        model: What `medssm predict` was given.
        method: The name of the network or the baseline.
        cases: Case to what was predicted.
        failed: Case to why it was not.
        calibration: Of networks: where a factor for their uncertainty goes ("folder", "key"), and
            whether one was "applied".
    """

    folder: Path
    model: str
    method: str
    cases: Mapping[str, PredictedCase]
    failed: Mapping[str, str]
    calibration: Mapping[str, Any] | None = None


def read_record(folder: Path) -> Record:
    """The record of a folder that `medssm predict` wrote.

    Raises:
        BadDataError: It is missing, or of another field or form.
    """
    file = folder / PREDICTIONS
    content = read_json(file)
    try:
        if content["field"] != "reconstruction":
            raise ValueError(f"field {content['field']!r}")
        cases = {
            str(name): PredictedCase(
                str(name),
                folder / str(entry["file"]),
                Path(str(entry["input"])),
                tuple(map(int, entry["slices"])),
                bool(entry["undersampled_input"]),
                float(entry["acceleration"]),
                dict(entry["figures"]),
                folder / str(entry["mask"]),
                float(entry["seconds"]),
            )
            for name, entry in content["cases"].items()
        }
        model, method = str(content["model"]), str(content["method"])
        failed = dict(content.get("failed", {}))
        return Record(folder, model, method, cases, failed, content.get("calibration"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadDataError(
            f"{file}: not a record of reconstructions ({error!r}). Expected what `medssm predict` "
            "writes; predict again into another folder."
        ) from None


def cases_to_keep(
    file: Path, maker: tuple[str, str], asked: Collection[str], force: bool
) -> Mapping[str, Any]:
    """What a new prediction may leave standing: the work of the same model, never another's.

    Args:
        file: predictions.json of the output folder, which may not be there.
        maker: Model and method of the new prediction.
        asked: The cases that it will make.
        force: Drop another maker's cases from the record.

    Raises:
        UsageError: Another maker's cases are there that the new prediction would not replace, and
            that would go by its name.
    """
    if not file.is_file():
        return {}
    content = read_json(file)
    cases: Mapping[str, Any] = content.get("cases", {})
    earlier = str(content.get("model", "")), str(content.get("method", ""))
    if (Path(earlier[0]).absolute(), earlier[1]) == (Path(maker[0]).absolute(), maker[1]):
        return cases
    left = sorted(set(cases) - set(asked))
    if left and not force:
        raise UsageError(
            f"{file.parent}: holds {len(left)} volumes that {earlier[1]} of {earlier[0]} made and "
            f"this prediction does not ({', '.join(left[:3])}). Expected an empty folder or the "
            "same model's; take another -o, or --force, which drops them from the record."
        )
    return {}
