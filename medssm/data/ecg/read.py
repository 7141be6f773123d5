"""Reads a record of any known format: one form, in mV, with everything found on the way."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medssm.core.errors import BadDataError, MachineError, UsageError
from medssm.core.registry import Table
from medssm.data.ecg.checks import check_signal, hash_of, ordered_leads, to_millivolts
from medssm.data.ecg.classes import source_of_record
from medssm.data.ecg.person import codes_of, contradictions, read_age, read_sex
from medssm.data.ecg.signal import (
    Extent,
    Raw,
    ReadOptions,
    RecordError,
    Signal,
    Span,
    expect_bytes,
    refuse,
)

# a format's reader: (file, options, span) -> Raw
READERS = Table(
    "ECG format",
    {
        "wfdb": "medssm.data.ecg.wfdb_files:read_wfdb",
        "mat": "medssm.data.ecg.mat_files:read_cpsc",
        "dicom": "medssm.data.ecg.dicom_files:read_dicom",
        "edf": "medssm.data.ecg.edf_files:read_edf",
        "bdf": "medssm.data.ecg.edf_files:read_bdf",
        "muse": "medssm.data.ecg.muse_files:read_muse",
        "hdf5": "medssm.data.ecg.hdf5_files:read_hdf5",
        "csv": "medssm.data.ecg.table_files:read_csv",
        "npy": "medssm.data.ecg.table_files:read_npy",
        "scp": "medssm.data.ecg.read:refuse_scp",
    },
)
# those whose header alone says how long a record is
_EXTENTS = {
    "wfdb": "medssm.data.ecg.wfdb_files:measure_wfdb",
    "edf": "medssm.data.ecg.edf_files:measure_edf",
}
MEASURES = Table("ECG header", _EXTENTS)
FORMATS = {
    ".hea": "wfdb", ".dat": "wfdb", ".mat": "mat", ".dcm": "dicom", ".dicom": "dicom",
    ".edf": "edf", ".bdf": "bdf", ".xml": "muse", ".h5": "hdf5", ".hdf5": "hdf5", ".csv": "csv",
    ".npy": "npy", ".scp": "scp",
}  # fmt: skip
# tables and notes beside records, which are none
_BESIDE = {"ptbxl_database.csv", "scp_statements.csv", "metadata.csv", "reference.csv", "dicomdir"}
_PREFIX_BYTES = 132


def format_of(file: Path) -> str | None:
    """The format of a file by its ending; DICOM without one by its mark."""
    known = FORMATS.get(file.suffix.lower())
    if known == "mat" and file.with_suffix(".hea").is_file():
        return "wfdb"
    if known is None and file.suffix in ("", ".IMA") and file.is_file():
        with file.open("rb") as stream:
            return "dicom" if stream.read(_PREFIX_BYTES)[128:] == b"DICM" else None
    return known


def record_seconds(file: Path) -> tuple[float, float, tuple[str, ...]]:
    """Length in seconds, rate in Hz and leads of a record, from its header where there is one.

    Raises:
        RecordError: It cannot be read.
    """
    kind = _known_format(file)
    if kind in _EXTENTS:
        extent: Extent = _guarded(file, MEASURES.load(kind), _main_file(file, kind))
        return extent.seconds, extent.rate_hz, extent.leads
    raw: Raw = _guarded(file, READERS.load(kind), file, ReadOptions(), None)
    return raw.values.shape[1] / raw.rate_hz, raw.rate_hz, raw.leads


def read_record(
    file: Path, start_s: float | None = None, stop_s: float | None = None,
    options: ReadOptions | None = None,
) -> Signal:  # fmt: skip
    """Read a record, or a span of it.

    Args:
        file: Its header, or the file that holds it.
        start_s: Start of the span; None is the start of the record.
        stop_s: End of the span; None is its end.
        options: What the files leave out.

    Raises:
        RecordError: It cannot be used; the finding says why and what to do.
        MachineError: A package is missing.
    """
    file, options = Path(file), options or ReadOptions()
    span = None if start_s is None and stop_s is None else Span(start_s or 0.0, stop_s)
    kind = _known_format(file)
    main = _main_file(file, kind)
    raw: Raw = _guarded(file, READERS.load(kind), main, options, span)
    signal = _finished(main, kind, raw)
    if options.strict and signal.findings:
        raise RecordError(replace(signal.findings[0], severity="error"))
    return signal


def refuse_scp(file: Path, _: ReadOptions, __: Span | None = None) -> Raw:
    """SCP-ECG is not read.

    Raises:
        RecordError: Always.
    """
    raise refuse(
        file, "format", "an SCP-ECG file", "a format with a maintained reader",
        "Convert it to DICOM or EDF first.",
    )  # fmt: skip


def _main_file(file: Path, kind: str) -> Path:
    return file.with_suffix(".hea") if kind == "wfdb" else file


def _known_format(file: Path) -> str:
    kind = format_of(file)
    if kind is None:
        expect_bytes(file)
        raise refuse(
            file, "format", f"the ending {file.suffix!r}", ", ".join(sorted(FORMATS)),
            "Convert it to one of these.",
        )  # fmt: skip
    return kind


def _guarded(file: Path, work: Callable[..., Any], *arguments: object) -> Any:
    """Run a reader; whatever a library raises over a broken file becomes a finding."""
    try:
        return work(*arguments)
    except (BadDataError, MachineError, UsageError):
        raise
    except Exception as error:
        raise refuse(
            file, "unreadable", f"{type(error).__name__}: {error}", "a whole record",
            "Restore it from its source.",
        ) from error  # fmt: skip


def _finished(file: Path, kind: str, raw: Raw) -> Signal:
    if raw.values.ndim != 2 or not raw.values.shape[1]:
        raise refuse(file, "empty", "no samples", "a signal", "Restore it from its source.")
    millivolts, clipped = to_millivolts(raw)
    found, lead_findings = ordered_leads(file, raw.leads, millivolts)
    leads = tuple(found)
    values = np.stack(list(found.values()))
    sha256 = hash_of(values)
    values, findings = check_signal(file, leads, values, bool(clipped.any()), raw.rate_hz)
    name = str(raw.facts.get("name") or file.with_suffix("").name)
    age, age_findings = read_age(file, raw.facts.get("age"))
    sex, sex_findings = read_sex(file, raw.facts.get("sex"))
    codes = codes_of(raw.facts.get("dx"))
    patient = raw.facts.get("patient")
    return Signal(
        name=name,
        millivolts=values,
        leads=leads,
        rate_hz=raw.rate_hz,
        codes=codes,
        age=age,
        sex=sex,
        patient=str(patient) if patient else None,
        source=str(raw.facts.get("source") or source_of_record(name)),
        format=kind,
        file=str(file),
        sha256=sha256,
        findings=(
            *raw.findings, *lead_findings, *findings, *age_findings, *sex_findings,
            *contradictions(file, codes),
        ),
    )  # fmt: skip


def find_records(folder: Path) -> list[Path]:
    """All files below a folder that are records, or were meant to be.

    A .mat or .dat that a header names comes with the header; tables beside records are passed over.
    """
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file() and _may_be(path))
    headers = {path.with_suffix("") for path in files if path.suffix.lower() == ".hea"}
    return [
        path
        for path in files
        if path.suffix.lower() not in (".mat", ".dat") or path.with_suffix("") not in headers
    ]


def _may_be(path: Path) -> bool:
    if path.name.startswith(".") or path.name.lower() in _BESIDE:
        return False
    kind = format_of(path)
    if kind == "csv":
        from medssm.data.ecg.table_files import looks_like_record

        return looks_like_record(path)
    return kind is not None
