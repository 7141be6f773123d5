"""Writes a record as the Challenges hand it out: a .hea of text and a .mat of MATLAB level 4."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medssm.core.errors import BadArgumentError
from medssm.core.files import write_bytes, write_text
from medssm.data.ecg.leads import LEADS

# little-endian int16, full matrix; the name `val` and its zero make the header 24 bytes long
_INT16_MATRIX = 30
MAT_HEADER_BYTES = 24
_LARGEST = 32767


@dataclass(frozen=True)
class RecordText:
    """What a header says beside the signal.

    Args:
        codes: SNOMED codes.
        age: In years; None writes NaN.
        sex: "male", "female" or None.
        gain_per_mv: Counts of the file per mV.
    """

    codes: Sequence[str] = ()
    age: float | None = None
    sex: str | None = None
    gain_per_mv: int = 1000


def write_challenge_record(
    file: Path, millivolts: np.ndarray, rate_hz: float, text: RecordText | None = None
) -> Path:
    """Write FILE.hea and FILE.mat.

    Args:
        file: The folder and the record's name.
        millivolts: The twelve leads in the order of `LEADS`.
        rate_hz: Samples a second.
        text: Labels and person.

    Returns:
        The header.

    Raises:
        BadArgumentError: It is not twelve leads.

    Shape:
        millivolts: (12, T); what does not fit into int16 is clipped, NaN becomes -32768.

    Source:
        PhysioNet WFDB header(5); MATLAB level 4 MAT-file format.
    """
    text = text or RecordText()
    if millivolts.ndim != 2 or len(millivolts) != len(LEADS):
        raise BadArgumentError(f"expected an array (12, T), found {millivolts.shape}.")
    scaled = np.round(np.nan_to_num(millivolts, nan=0.0) * text.gain_per_mv)
    counts = np.clip(scaled, -_LARGEST, _LARGEST).astype("<i2")
    counts[np.isnan(millivolts)] = -_LARGEST - 1
    name, samples = file.name, counts.shape[1]
    header = struct.pack("<5i", _INT16_MATRIX, len(LEADS), samples, 0, 4) + b"val\0"
    write_bytes(file.with_name(f"{name}.mat"), header + counts.tobytes(order="F"))
    lines = [f"{name} {len(LEADS)} {rate_hz:g} {samples}"]
    for lead, row in zip(LEADS, counts, strict=True):
        first = row[0] if samples else 0
        lines.append(
            f"{name}.mat 16+{MAT_HEADER_BYTES} {text.gain_per_mv}/mV 16 0 {first} "
            f"{checksum(row)} 0 {lead}"
        )
    age = "NaN" if text.age is None else f"{text.age:g}"
    sex = "Unknown" if text.sex is None else text.sex.title()
    lines += [f"#Age: {age}", f"#Sex: {sex}", f"#Dx: {','.join(text.codes)}"]
    lines += ["#Rx: Unknown", "#Hx: Unknown", "#Sx: Unknown"]
    result = file.with_name(f"{name}.hea")
    write_text(result, "\n".join(lines) + "\n")
    return result


def checksum(counts: np.ndarray) -> int:
    """The checksum of a lead: the sum of its samples in sixteen bits, signed.

    Source:
        PhysioNet WFDB header(5).
    """
    low = int(np.sum(counts, dtype=np.int64)) & 0xFFFF
    return low - 0x10000 if low >= 0x8000 else low
