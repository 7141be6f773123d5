"""Gains and units: what a count is in mV, and when a header's word cannot be true."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medssm.data.ecg.classes import source_of_record
from medssm.data.ecg.header import LeadLine
from medssm.data.ecg.signal import refuse, remark
from medssm.data.findings import Finding

# how many of a unit make one mV
_PER_MV = {"mv": 1.0, "uv": 1e3, "μv": 1e3, "µv": 1e3, "microvolts": 1e3, "microvolt": 1e3,
           "millivolts": 1.0, "millivolt": 1.0, "v": 1e-3, "volt": 1e-3, "nv": 1e6}  # fmt: skip
# gains of the early Challenge release for samples that are 1000/mV; the St Petersburg ones vary
# and stay unconfirmed, so that the amplitude decides there
_KNOWN_WRONG = {"Georgia": 4880.0, "PTB_XL": 200.0, "PTB": 2_000_000.0}
_TRUE_GAIN = 1000.0
PLAUSIBLE_MV = (0.05, 12.0)
_SURE_MV = (0.2, 6.0)


def per_millivolt(unit: str) -> float | None:
    """How many of a unit make one mV; None for a unit that is none of voltage."""
    return _PER_MV.get(unit.strip().lower())


def amplitude_mv(values: np.ndarray) -> float:
    """The 99.5th percentile of the distance from each lead's median; leads without life left out.

    Args:
        values: Any part of a record; NaN is passed over.

    Shape:
        values: (leads, T).
    """
    # a few thousand samples a lead say as much as a day of them
    step = max(1, values.shape[1] // 2_500)
    seen = values[:, ::step]
    seen = seen[np.isfinite(seen).any(axis=1)]
    if not seen.size:
        return 0.0
    distance = np.abs(seen - np.nanmedian(seen, axis=1, keepdims=True))
    alive = distance[np.nanmax(distance, axis=1) > 0]
    return float(np.nanpercentile(alive, 99.5)) if alive.size else 0.0


def counts_per_mv(
    file: Path, name: str, lines: Sequence[LeadLine], counts: np.ndarray, default: float | None
) -> tuple[np.ndarray, list[Finding]]:
    """The gain of each lead, corrected where the header is known to be wrong or cannot be true.

    Raises:
        RecordError: No gain, no unit of voltage, or an amplitude that no gain explains.
    """
    gains = np.array([_gain(file, line, default) for line in lines])
    challenge = all(line.file.lower().endswith(".mat") for line in lines)
    source = source_of_record(name)
    said = float(gains[0])
    if challenge and np.allclose(gains, _KNOWN_WRONG.get(source, -1.0)):
        note = f"{said:g}/mV, the early header of {source}"
        return np.full(len(gains), _TRUE_GAIN), [_corrected(file, note)]
    seen = counts.astype(np.float64)
    seen[counts == -32768] = np.nan
    amplitude = amplitude_mv(seen / gains[:, None])
    if amplitude == 0 or PLAUSIBLE_MV[0] <= amplitude <= PLAUSIBLE_MV[1]:
        return gains, []
    other = amplitude_mv(seen / _TRUE_GAIN)
    if challenge and _SURE_MV[0] <= other <= _SURE_MV[1]:
        return np.full(len(gains), _TRUE_GAIN), [
            _corrected(file, f"{said:g}/mV, which makes {amplitude:.3g} mV")
        ]
    raise refuse(
        file, "amplitude", f"{amplitude:.3g} mV with a gain of {said:g}/mV",
        f"{PLAUSIBLE_MV[0]} to {PLAUSIBLE_MV[1]} mV", "Correct the gain in the header.",
    )  # fmt: skip


def _corrected(file: Path, found: str) -> Finding:
    return remark(
        file,
        "gain_corrected",
        found,
        f"{_TRUE_GAIN:g}/mV",
        "Read with 1000/mV; correct the header.",
    )


def _gain(file: Path, line: LeadLine, default: float | None) -> float:
    if line.gain is None:
        if default is None:
            raise refuse(
                file, "gain", f"no gain for lead {line.name or line.file}", "counts per mV",
                "Correct the header, or say planner.default_gain=1000.",
            )  # fmt: skip
        return default
    per_mv = per_millivolt(line.unit)
    if per_mv is None:
        raise refuse(
            file, "unit", f"unit {line.unit!r} of lead {line.name}", "mV, uV, V or nV",
            "Correct the unit in the header.",
        )  # fmt: skip
    return line.gain * per_mv
