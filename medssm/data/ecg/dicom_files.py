"""DICOM waveforms: the rhythm of a twelve-lead or general ECG, in the unit that it says."""

from pathlib import Path
from typing import Any

import numpy as np

from medssm.core.extras import require
from medssm.data.dicom.inflated import refuse_inflated
from medssm.data.ecg.signal import Raw, ReadOptions, Span, expect_bytes, refuse
from medssm.data.ecg.units import per_millivolt

# codes of SCP-ECG (5.6.3-9-N) and of MDC (MDC_ECG_LEAD_NAME, 2:N)
_SCP = {"1": "I", "2": "II", "3": "V1", "4": "V2", "5": "V3", "6": "V4", "7": "V5", "8": "V6",
        "61": "III", "62": "aVR", "63": "aVL", "64": "aVF"}  # fmt: skip


def read_dicom(file: Path, _: ReadOptions, span: Span | None = None) -> Raw:
    """Read the multiplex group called RHYTHM, or the longest.

    Raises:
        MachineError: pydicom is not installed.
        RecordError: It holds no waveform, or is cut.
        BadDataError: It inflates beyond memory.

    Source:
        DICOM PS3.3 C.10.9 (Waveform), PS3.16 CID 3001 (ECG leads).
    """
    expect_bytes(file)
    pydicom = require("pydicom", "ecg")
    refuse_inflated(file.read_bytes(), str(file))
    data = pydicom.dcmread(file, force=False)
    groups = list(getattr(data, "WaveformSequence", None) or ())
    if not groups:
        kind = getattr(getattr(data, "SOPClassUID", None), "name", "no class")
        raise refuse(
            file, "format", f"DICOM of {kind}", "an ECG waveform", "Take the waveform object."
        )
    index = max(
        range(len(groups)),
        key=lambda i: (
            str(getattr(groups[i], "MultiplexGroupLabel", "")).upper() == "RHYTHM",
            int(groups[i].NumberOfWaveformSamples),
        ),
    )
    group = groups[index]
    _whole(file, group)
    values = data.waveform_array(index).T.astype(np.float32)
    names, units = [], []
    for channel in group.ChannelDefinitionSequence:
        names.append(_lead_of(channel))
        units.append(_per_mv(file, channel, names[-1]))
    padding = getattr(group, "WaveformPaddingValue", None)
    if padding is not None:
        values = _without_padding(group, values, padding)
    rate = float(group.SamplingFrequency)
    first, last = (span or Span()).samples(rate, values.shape[1])
    facts: dict[str, object] = {
        "patient": str(getattr(data, "PatientID", "") or "") or None,
        "age": str(getattr(data, "PatientAge", "") or ""),
        "sex": str(getattr(data, "PatientSex", "") or "").replace("O", ""),
    }
    return Raw(values[:, first:last] / np.array(units)[:, None], tuple(names), rate, facts=facts)


def _whole(file: Path, group: Any) -> None:
    bits = int(group.WaveformBitsAllocated)
    expected = int(group.NumberOfWaveformSamples) * int(group.NumberOfWaveformChannels) * bits // 8
    there = len(group.WaveformData)
    if there < expected:
        raise refuse(
            file, "truncated", f"{there} bytes of samples", f"{expected} bytes", "Send it again."
        )


def _lead_of(channel: Any) -> str:
    """The lead by its code, or by its words."""
    source = channel.ChannelSourceSequence[0]
    code = str(getattr(source, "CodeValue", ""))
    if code.startswith("5.6.3-9-") and code.rpartition("-")[2] in _SCP:
        return _SCP[code.rpartition("-")[2]]
    if code.startswith("MDC_ECG_LEAD_"):
        return code.removeprefix("MDC_ECG_LEAD_")
    if code.startswith("2:") and code[2:] in _SCP:
        return _SCP[code[2:]]
    # such as "aVR, augmented voltage, right"
    return str(getattr(source, "CodeMeaning", "")).partition(",")[0]


def _per_mv(file: Path, channel: Any, name: str) -> float:
    units = getattr(channel, "ChannelSensitivityUnitsSequence", None)
    unit = str(units[0].CodeValue) if units else ""
    per_mv = per_millivolt(unit)
    if per_mv is None:
        raise refuse(file, "unit", f"unit {unit!r} of {name}", "mV, uV or V", "Correct the object.")
    return per_mv


def _without_padding(group: Any, values: np.ndarray, padding: Any) -> np.ndarray:
    """NaN where the recorder padded."""
    bits = int(group.WaveformBitsAllocated)
    kind = np.dtype(f"<i{bits // 8}")
    mark = np.frombuffer(bytes(padding), kind)[0] if isinstance(padding, bytes) else padding
    count = int(group.NumberOfWaveformSamples) * int(group.NumberOfWaveformChannels)
    raw = np.frombuffer(group.WaveformData, kind, count).reshape(-1, len(values)).T
    return np.where(raw == mark, np.float32(np.nan), values)
