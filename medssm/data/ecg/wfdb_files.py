"""WFDB records: headers with .mat of the Challenges or .dat, whole or a span of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medssm.core.extras import require
from medssm.data.ecg.challenge_files import MAT_HEADER_BYTES, checksum
from medssm.data.ecg.header import Header, LeadLine, read_header
from medssm.data.ecg.mat_files import is_level4_int16, matrix_of_mat
from medssm.data.ecg.signal import (
    Extent,
    Raw,
    ReadOptions,
    Span,
    expect_bytes,
    refuse,
    remark,
)
from medssm.data.ecg.units import counts_per_mv
from medssm.data.findings import Finding

# samples of sixteen bits, which we read ourselves; other formats go through wfdb
_OWN = (16,)
_NOT_RECORDED = -32768


def measure_wfdb(file: Path) -> Extent:
    """Length, rate and leads by the header, and by the signal file where that leaves it out."""
    header = read_header(file)
    samples = header.samples
    if samples is None and not header.segments:
        samples = _samples_in_file(file, header)
    if samples is None:
        raise refuse(file, "header", "no number of samples", "one", "Add it to the first line.")
    return Extent(
        samples / header.rate_hz, header.rate_hz, tuple(line.name for line in header.lines)
    )


def _samples_in_file(file: Path, header: Header) -> int | None:
    first = header.lines[0]
    group = [line for line in header.lines if line.file == first.file]
    path = file.with_name(first.file)
    if first.code not in _OWN or not path.is_file():
        return None
    return (path.stat().st_size - first.skip) // (2 * sum(line.often for line in group))


def read_wfdb(file: Path, options: ReadOptions, span: Span | None = None) -> Raw:
    """Read a record by its header.

    Raises:
        RecordError: Files are missing, cut or no samples; a gain or unit is missing.
        MachineError: It needs wfdb, which is not installed.
    """
    header = read_header(file)
    findings = list(header.findings)
    files = list(dict.fromkeys(line.file for line in header.lines))
    if _needs_wfdb(header):
        values, lines = _through_wfdb(file, header, span), header.lines
    elif files and files[0].lower().endswith(".mat"):
        values, lines = _from_mat(file, header, span, findings), header.lines
    else:
        values, lines = _from_dat(file, header, files, span, findings)
    if span is None:
        findings += _checked(file, header, lines, values)
    scale, found = counts_per_mv(file, header.name, lines, values, options.default_gain)
    values = values.astype(np.float32)
    values[values == _NOT_RECORDED] = np.nan
    facts: dict[str, object] = {**header.facts, "name": header.name}
    return Raw(
        values,
        tuple(line.name for line in lines),
        header.rate_hz,
        scale,
        np.array([line.baseline for line in lines], dtype=np.float64),
        facts,
        (*findings, *found),
    )


def _needs_wfdb(header: Header) -> bool:
    return header.segments or any(
        line.often != 1 or (line.code not in _OWN and not line.file.lower().endswith(".mat"))
        for line in header.lines
    )


def _through_wfdb(file: Path, header: Header, span: Span | None) -> np.ndarray:
    """Packed, many-rate and many-segment records: as the library unpacks them."""
    wfdb = require("wfdb", "ecg")
    first, last = (span or Span()).samples(header.rate_hz, header.samples or 2**31)
    stop = None if span is None or span.stop_s is None else last
    record = wfdb.rdrecord(
        str(file.with_suffix("")), sampfrom=first, sampto=stop, physical=False, m2s=True
    )
    if record.d_signal is None or record.d_signal.shape[1] != len(header.lines):
        raise refuse(
            file, "segments", "segments that hold different leads", "the same leads throughout",
            "Join the segments with wfdb and write one record.",
        )  # fmt: skip
    values: np.ndarray = record.d_signal.T.astype(np.int64)
    for row, line in zip(values, header.lines, strict=True):
        if line.code in (212, 310, 311):
            # their own smallest number says "not recorded"
            row[row == -(1 << (11 if line.code == 212 else 9))] = _NOT_RECORDED
    return values


def _from_mat(file: Path, header: Header, span: Span | None, findings: list[Finding]) -> np.ndarray:
    path = file.with_name(header.lines[0].file)
    if not path.is_file():
        # early headers name a file that was renamed with its record
        path = path if not file.with_suffix(".mat").is_file() else file.with_suffix(".mat")
    start = expect_bytes(path)
    if not is_level4_int16(start):
        values = matrix_of_mat(path, len(header.lines))
        first, last = (span or Span()).samples(header.rate_hz, values.shape[1])
        return values[:, first:last]
    rows, samples = np.frombuffer(start, "<i4", 2, offset=4)
    size, expected = path.stat().st_size, MAT_HEADER_BYTES + 2 * int(rows) * int(samples)
    if rows != len(header.lines) or size < expected:
        raise refuse(
            path, "truncated", f"{size} bytes with {rows} rows",
            f"{expected} bytes with {len(header.lines)} rows", "Download it again.",
        )  # fmt: skip
    if header.samples is not None and header.samples != samples:
        findings.append(_other_count(file, header.samples, int(samples)))
    first, last = (span or Span()).samples(header.rate_hz, int(samples))
    flat = np.fromfile(
        path, "<i2", int(rows) * (last - first), offset=MAT_HEADER_BYTES + 2 * int(rows) * first
    )
    return flat.reshape(-1, int(rows)).T.astype(np.int32)


def _from_dat(
    file: Path, header: Header, files: Sequence[str], span: Span | None, findings: list[Finding]
) -> tuple[np.ndarray, tuple[LeadLine, ...]]:
    """Interleaved samples of sixteen bits, from one file or more."""
    parts: list[np.ndarray] = []
    lines: list[LeadLine] = []
    for name in files:
        group = [line for line in header.lines if line.file == name]
        path = file.with_name(name)
        if not path.is_file() and parts:
            findings.append(
                remark(file, "missing_file", f"{name} is not there", "all files of the header",
                       "Put it beside the header to get its leads.")
            )  # fmt: skip
            continue
        expect_bytes(path)
        stored = (path.stat().st_size - group[0].skip) // (2 * len(group))
        if header.samples is not None and stored < header.samples:
            expected = group[0].skip + 2 * len(group) * header.samples
            raise refuse(
                path, "truncated", f"{path.stat().st_size} bytes", f"{expected} bytes",
                "Download it again.",
            )  # fmt: skip
        if header.samples is not None and stored != header.samples:
            findings.append(_other_count(file, header.samples, stored))
        first, last = (span or Span()).samples(header.rate_hz, stored)
        offset = group[0].skip + 2 * len(group) * first
        flat = np.fromfile(path, "<i2", len(group) * (last - first), offset=offset)
        parts.append(flat.reshape(-1, len(group)).T.astype(np.int32))
        lines += group
    shortest = min(part.shape[1] for part in parts)
    return np.concatenate([part[:, :shortest] for part in parts]), tuple(lines)


def _other_count(file: Path, said: int, there: int) -> Finding:
    return remark(
        file, "samples", f"{there} samples in the file", f"{said} as the header says",
        "Taken from the file; check its source.",
    )  # fmt: skip


def _checked(
    file: Path, header: Header, lines: Sequence[LeadLine], values: np.ndarray
) -> list[Finding]:
    """The header's sums against the samples: they tell cut, swapped and edited ones."""
    wrong = [
        line.name or str(index)
        for index, (line, row) in enumerate(zip(lines, values, strict=True))
        if line.checksum is not None and (checksum(row) - line.checksum) % 65536
    ]
    if not wrong:
        return []
    return [
        remark(
            file, "checksum", f"other sums of {', '.join(wrong)}", "the sums of the header",
            f"Compare {header.name} with its source: samples were cut, swapped or edited.",
        )
    ]  # fmt: skip
