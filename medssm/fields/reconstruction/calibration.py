"""The factor that makes stated uncertainties honest: fitted on volumes whose truth is known."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medssm.core.errors import BadDataError
from medssm.core.files import digest, read_json, write_json
from medssm.core.signature import make

FILE = "calibration.json"
# what of a prediction decides which factor fits
SETTINGS = ("uncertainty", "replicas", "thinning", "consistency", "weight")
_FLOORS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
"""Tried, in units of the median of all stated deviations."""
_PIXELS = 50_000


@dataclass(frozen=True)
class Factor:
    """From a stated deviation u to an honest one: scale * sqrt(u^2 + (floor * unit)^2).

    Args:
        scale: Of the deviation.
        floor: What no prediction is surer than, in the unit that the network divides samples by.
    """

    scale: float
    floor: float

    def apply(self, deviation: np.ndarray, unit: float) -> np.ndarray:
        """Honest deviations, in the units of the data.

        Args:
            deviation: As stated.
            unit: What the slice's samples were divided by.
        """
        square = np.square(deviation) + (self.floor * unit) ** 2
        return np.asarray(self.scale * np.sqrt(square), dtype=np.float32)


@dataclass(frozen=True)
class Errors:
    """Pixels of a volume whose truth is known, in units of the network.

    Args:
        patient: Whose they are.
        error: Absolute error.
        deviation: Stated.

    Shape:
        error, deviation: (n,).
    """

    patient: str
    error: np.ndarray
    deviation: np.ndarray


def errors_of(
    patient: str,
    error: np.ndarray,
    deviation: np.ndarray,
    where: np.ndarray,
    units: Sequence[float],
) -> Errors:
    """Some pixels of a volume, as many of every one, so that none outweighs the others.

    Args:
        patient: Whose volume it is.
        error: Absolute error.
        deviation: Stated standard deviation.
        where: Pixels that count.
        units: Of every slice.

    Shape:
        error, deviation, where: (S, H, W).
    """
    unit = np.asarray(units, dtype=np.float64)[:, None, None]
    off, spread = (each / unit for each in (error, deviation))
    places = np.flatnonzero(where)
    chosen = np.random.default_rng(0).choice(places, min(_PIXELS, len(places)), replace=False)
    return Errors(patient, off.ravel()[chosen], spread.ravel()[chosen])


def fit(volumes: Sequence[Errors]) -> Factor:
    """The floor of the best likelihood, and the scale that puts 95 % within two deviations.

    Raises:
        BadDataError: The stated deviations are zero everywhere.
    """
    least = min(len(each.error) for each in volumes)
    error = np.concatenate([each.error[:least] for each in volumes])
    spread = np.concatenate([each.deviation[:least] for each in volumes])
    middle = float(np.median(spread))
    if not middle > 0:
        raise BadDataError("the stated deviations are zero; predict with uncertainty=masks.")

    def surprise(floor: float) -> float:
        shape = np.sqrt(spread**2 + (floor * middle) ** 2)
        shape = np.maximum(shape, 1e-12)
        return float(np.log(np.sqrt(np.mean((error / shape) ** 2))) + np.log(shape).mean())

    floor = min(_FLOORS, key=surprise) * middle
    ratio = error / np.maximum(np.sqrt(spread**2 + floor**2), 1e-12)
    # the smallest value that at least 95 % of the ratios do not pass (split conformal)
    return Factor(float(np.quantile(ratio, 0.95, method="higher") / 2), floor)


def within_two(volumes: Sequence[Errors], factor: Factor | None) -> list[float]:
    """Share of errors within two deviations, of every volume; as stated without a factor."""
    found = []
    for each in volumes:
        spread = each.deviation if factor is None else factor.apply(each.deviation, 1.0)
        found.append(float((each.error < 2 * spread).mean()))
    return found


def calibrate(volumes: Sequence[Errors]) -> tuple[Factor, dict[str, Any]]:
    """A factor from all volumes, and what such a factor does on patients it was not fitted on.

    Patients are divided into two halves; each is covered by the factor of the other.

    Raises:
        BadDataError: There is one patient alone, so nothing is left to judge the factor by.
    """
    patients = sorted({each.patient for each in volumes})
    if len(patients) < 2:
        raise BadDataError(
            "calibrate=true: the volumes are of one patient. Expected two or more, so that the "
            "coverage is that of patients whom the factor has not seen."
        )
    halves = [{*patients[::2]}, {*patients[1::2]}]
    after: list[float] = []
    for half in halves:
        inside = [each for each in volumes if each.patient in half]
        outside = [each for each in volumes if each.patient not in half]
        after += within_two(inside, fit(outside))
    before = within_two(volumes, None)
    factor = fit(volumes)
    return factor, {
        "within_2_before": float(np.mean(before)),
        "within_2_after": float(np.mean(after)),
        "within_2_after_least": float(np.min(after)),
        "volumes": len(volumes),
        "patients": len(patients),
        "factor": asdict(factor),
    }


def key_of(model: str, settings: Mapping[str, Any]) -> str:
    """The settings that a factor belongs to.

    Args:
        model: Digest of the model.
        settings: Of the prediction.
    """
    return digest([model, {name: settings[name] for name in SETTINGS}])


def write_factor(folder: Path, key: str, facts: Mapping[str, Any]) -> Path:
    """Store a factor beside the weights; factors of other settings stay."""
    file = folder / FILE
    kept = read_json(file) if file.is_file() else {}
    write_json(file, {**kept, key: dict(facts)})
    return file


def read_factor(folder: Path, key: str) -> Factor | None:
    """The factor of some settings, where there is one."""
    file = folder / FILE
    if not file.is_file():
        return None
    facts = read_json(file).get(key)
    return None if facts is None else make(Factor, facts["factor"], f"{file}: factor")
