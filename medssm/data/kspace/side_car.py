"""CASE.json beside an array: what a bare array cannot say of itself."""

from pathlib import Path
from typing import Any

import numpy as np

from medssm.core.errors import BadDataError, nearest
from medssm.core.files import read_json

_KEYS = ("spacing_mm", "affine", "patient", "centred")


def read_side_car(path: Path) -> dict[str, Any]:
    """Fields of `KspaceVolume` from CASE.json: spacing_mm, affine, patient, centred.

    Args:
        path: The array's file.

    Raises:
        BadDataError: An unknown key or a value of the wrong form.
    """
    file = path.with_suffix(".json")
    found: dict[str, Any] = {"centred": True, "patient": path.stem}
    if not file.is_file():
        return found
    content = read_json(file)
    if not isinstance(content, dict):
        raise BadDataError(f"{file}: holds {type(content).__name__}. Expected keys with values.")
    for key, value in content.items():
        if key not in _KEYS:
            raise BadDataError(f"{file}: unknown key {key!r}; {nearest(key, _KEYS)}")
        found[key] = _value(file, key, value)
    return found


def _value(file: Path, key: str, value: Any) -> Any:
    if key == "patient":
        return str(value)
    if key == "centred":
        if isinstance(value, bool):
            return value
        raise BadDataError(f"{file}: centred is {value!r}. Expected true or false.")
    wanted = (3,) if key == "spacing_mm" else (4, 4)
    try:
        numbers = np.array(value, dtype=float)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    good = numbers.shape == wanted and bool(np.isfinite(numbers).all())
    if good and key == "spacing_mm" and numbers.min() > 0:
        return tuple(map(float, numbers))
    if good and key == "affine" and abs(np.linalg.det(numbers[:3, :3])) > 1e-9:
        return numbers
    expected = "three positive numbers" if key == "spacing_mm" else "an invertible 4 × 4 matrix"
    raise BadDataError(f"{file}: {key} is {value!r}. Expected {expected}.")
