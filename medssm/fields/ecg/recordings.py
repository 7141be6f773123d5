"""Records to predict: found, opened, prepared whole, or span by span where they are long."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medssm.core.errors import BadDataError
from medssm.data.ecg.read import find_records, read_record, record_seconds
from medssm.data.ecg.signal import Signal
from medssm.data.findings import Finding
from medssm.fields.ecg.plan_file import EcgPlan
from medssm.fields.ecg.prepare import Prepared, about_patient, preprocess_signal
from medssm.fields.ecg.windows import WindowPlan

LONG_S = 600.0
"""From here on a record is read in spans."""
_SPAN_S = 300.0


@dataclass(frozen=True)
class Recording:
    """One record on its way through a network.

    Args:
        file: Where it lies.
        key: Hash of its content.
        plan: How it is prepared.
        signal: The record, or the first span of a long one.
        ready: The same, prepared.
        seconds: Length of the whole.
    """

    file: Path
    key: str
    plan: EcgPlan
    signal: Signal
    ready: Prepared
    seconds: float

    @property
    def is_long(self) -> bool:
        """Whether it is read in spans."""
        return self.seconds > LONG_S

    @property
    def about(self) -> tuple[float, float]:
        """Age and sex as the network takes them."""
        return about_patient(self.signal.age, self.signal.sex)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What reading and preparing found."""
        return (*self.signal.findings, *self.ready.findings)

    def prepared(self) -> np.ndarray:
        """The signal that the network takes, (12, T)."""
        return self.ready.signal

    def spans(self, windows: WindowPlan) -> Iterator[tuple[np.ndarray, list[float]]]:
        """The windows of a long record in groups, with the seconds at which they start.

        Shape:
            windows of a group: (W, 12, length).
        """
        rate = self.plan.rate_hz
        starts = windows.starts(int(self.seconds * rate))
        group: list[int] = []
        for start in starts:
            if group and start + windows.length - group[0] > _SPAN_S * rate:
                yield self._read(group, windows)
                group = []
            group.append(start)
        if group:
            yield self._read(group, windows)

    def _read(self, starts: list[int], windows: WindowPlan) -> tuple[np.ndarray, list[float]]:
        rate = self.plan.rate_hz
        begin, end = starts[0] / rate, (starts[-1] + windows.length) / rate
        signal = read_record(self.file, start_s=begin, stop_s=min(end, self.seconds))
        ready = preprocess_signal(signal, self.plan).signal
        return (
            windows.cut(ready, [start - starts[0] for start in starts]),
            [start / rate for start in starts],
        )


def find_inputs(path: Path) -> list[Path]:
    """The records of a folder, or the one file.

    Raises:
        BadDataError: There is none.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise BadDataError(f"{path}: there is no such file or folder. Expected records to predict.")
    files = find_records(path)
    if not files:
        raise BadDataError(
            f"{path}: no record in it. Expected .hea with .mat or .dat, DICOM, EDF, XML, HDF5, "
            "CSV or .npy files."
        )
    return list(files)


def open_recording(file: Path, plan: EcgPlan, key: str, strict: bool = False) -> Recording:
    """Read and prepare a record.

    Raises:
        BadDataError: It cannot be used; with `strict` also where there is a warning.
    """
    seconds = record_seconds(file)[0]
    signal = read_record(file, stop_s=_SPAN_S) if seconds > LONG_S else read_record(file)
    ready = preprocess_signal(signal, plan)
    recording = Recording(file, key, plan, signal, ready, max(seconds, 0.0))
    if strict and recording.findings:
        first = recording.findings[0]
        raise BadDataError(
            f"{file}: {first.problem}: found {first.found}. Expected {first.expected}; "
            f"{first.remedy} (strict=true refuses warnings)."
        )
    return recording
