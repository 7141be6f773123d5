"""HDF5 opened with answers for people: missing, cut off, not HDF5, not the dataset expected."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from medssm.core.errors import BadDataError
from medssm.core.extras import require
from medssm.data.hdf5_links import REMEDY, member_elsewhere

_COPY = "copy the file again from its source, or export it again"


@contextmanager
def open_h5(path: Path) -> Iterator[Any]:
    """Open a file for reading.

    Raises:
        BadDataError: It is missing, empty, cut off, no HDF5, or takes its numbers from other
            files; or reading in the block failed.
        MachineError: h5py is not installed.
    """
    h5py = require("h5py", "mri")
    if not path.is_file():
        raise BadDataError(f"{path}: the file does not exist.")
    if path.stat().st_size == 0:
        raise BadDataError(f"{path}: the file is empty (0 bytes); {_COPY}.")
    try:
        # without a lock: archives are often mounted read-only
        with h5py.File(path, "r", locking=False) as file:
            linked = member_elsewhere(file)
            if linked is not None:
                raise BadDataError(f"{path}: {linked} lies in another file. {REMEDY}.")
            yield file
    except (OSError, RuntimeError) as error:
        raise BadDataError(f"{path}: {_reason(str(error))}; {_COPY}.") from error


def _reason(text: str) -> str:
    if "truncated" in text:
        return f"cut off ({text})"
    if "signature not found" in text:
        return "not an HDF5 file (no HDF5 signature found)"
    return f"cannot be read ({text})"


def text_of(value: Any) -> str:
    """A string dataset or attribute as text: h5py gives bytes, numpy bytes or str."""
    if isinstance(value, np.ndarray):
        value = value.item() if value.size == 1 else value.tobytes()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def attributes_of(file: Any) -> dict[str, str | float]:
    """Scalar attributes of a file as plain data."""
    found: dict[str, str | float] = {}
    for key, value in file.attrs.items():
        if isinstance(value, (str, bytes)):
            found[key] = text_of(value)
        elif np.ndim(value) == 0 and np.isreal(value):
            found[key] = float(value)
    return found
