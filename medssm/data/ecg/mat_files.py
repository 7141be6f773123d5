"""MATLAB files: the level that the Challenges use, others by SciPy, and the struct of CPSC 2018."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
from scipy import io

from medssm.data.ecg.leads import LEADS
from medssm.data.ecg.signal import Raw, ReadOptions, Span, expect_bytes, refuse

_CPSC_RATE_HZ = 500.0
# type 30: little-endian int16, full; the name has three letters and a zero
_INT16 = 30


def is_level4_int16(start: bytes) -> bool:
    """Whether a file starts as a level 4 matrix of int16 with a name of three letters."""
    if len(start) < 24:
        return False
    kind, _, _, imaginary, name = struct.unpack("<5i", start[:20])
    return bool(kind == _INT16 and imaginary == 0 and name == 4)


def matrix_of_mat(file: Path, rows: int) -> np.ndarray:
    """The matrix `val` of any other MATLAB file.

    Raises:
        RecordError: It cannot be read, or holds no such matrix.

    Shape:
        result: (rows, T) int64.
    """
    content = _loaded(file)
    value = content.get("val")
    if not isinstance(value, np.ndarray) or value.ndim != 2 or value.shape[0] != rows:
        shape = getattr(value, "shape", "nothing")
        raise refuse(
            file, "mat", f"val is {shape}", f"a matrix val of {rows} rows", "Download it again."
        )
    return np.asarray(value).astype(np.int64)


def _loaded(file: Path) -> dict[str, Any]:
    expect_bytes(file)
    try:
        content: dict[str, Any] = io.loadmat(file)
    # truncated and foreign files raise whatever the parser stumbles over
    except Exception as error:
        raise refuse(
            file, "truncated", f"{file.stat().st_size} bytes that MATLAB's format does not fit "
            f"({type(error).__name__}: {error})", "a whole .mat file", "Download it again.",
        ) from error  # fmt: skip
    return content


def read_cpsc(file: Path, _: ReadOptions, span: Span | None = None) -> Raw:
    """The original .mat of CPSC 2018: a struct ECG with sex, age and data in mV at 500 Hz.

    Raises:
        RecordError: There is no such struct; a Challenge .mat needs its header beside it.
    """
    content = _loaded(file)
    if "ECG" not in content:
        if "val" in content:
            header = file.with_suffix(".hea")
            raise refuse(
                header, "missing_file", "the header is not there", f"{header.name} beside it",
                "Put it there: rate, gain and leads are only in it.",
            )  # fmt: skip
        names = ", ".join(name for name in content if not name.startswith("__")) or "nothing"
        raise refuse(file, "mat", f"variables {names}", "val or ECG", "Take the original file.")
    entry = content["ECG"][0, 0]
    data = np.asarray(entry["data"], dtype=np.float32)
    if data.ndim != 2 or len(data) != len(LEADS):
        raise refuse(file, "mat", f"data {data.shape}", "12 rows", "Take the original file.")
    first, last = (span or Span()).samples(_CPSC_RATE_HZ, data.shape[1])
    facts: dict[str, object] = {"source": "CPSC"}
    for name in ("age", "sex"):
        if name in (entry.dtype.names or ()):
            facts[name] = str(np.ravel(entry[name])[0]) if np.size(entry[name]) else ""
    # the set documents the usual order, and its files name no leads
    return Raw(data[:, first:last], LEADS, _CPSC_RATE_HZ, facts=facts)
