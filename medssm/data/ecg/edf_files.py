"""EDF and EDF+ by a reader of our own, which takes a span at a time; BDF through pyedflib."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medssm.core.extras import require
from medssm.data.ecg.leads import canonical_lead
from medssm.data.ecg.signal import Extent, Raw, ReadOptions, Span, expect_bytes, refuse, remark
from medssm.data.ecg.units import per_millivolt
from medssm.data.findings import Finding

_FIXED = 256
# label, transducer, unit, physical low and high, digital low and high, filters, samples, reserved
_WIDTHS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)
_MOST_SIGNALS = 512
_FEWEST_ON_RAIL = 3


@dataclass(frozen=True)
class Channel:
    """One signal of an EDF header.

    Args:
        label: As written.
        unit: As written.
        physical: Values at the ends of the range.
        digital: Counts there.
        samples: In a data record.
    """

    label: str
    unit: str
    physical: tuple[float, float]
    digital: tuple[int, int]
    samples: int


@dataclass(frozen=True)
class EdfHeader:
    """An EDF header.

    Args:
        size: Bytes before the data.
        records: Data records, -1 where the recorder did not say.
        seconds: Of a data record.
        channels: Signals.
        patient: The subfields of EDF+ or free text.
        gaps: Whether data records may be apart in time.
    """

    size: int
    records: int
    seconds: float
    channels: tuple[Channel, ...]
    patient: str
    gaps: bool


def read_edf_header(file: Path) -> EdfHeader:
    """Read a header; numbers that a strict reader would refuse for their form are taken.

    Raises:
        RecordError: It is no EDF header, or it is cut.
    """
    expect_bytes(file)
    with file.open("rb") as stream:
        start = stream.read(_FIXED)
        if len(start) < _FIXED or start[:8].strip() not in (b"0", b""):
            raise _no_edf(file, "no EDF mark in the first bytes")
        fields = [start[a:b].decode("latin-1").strip() for a, b in _SLICES]
        patient, size, reserved, records, seconds, count = fields
        signals = int(_number(file, count))
        if not 0 < signals <= _MOST_SIGNALS:
            raise _no_edf(file, f"{signals} signals")
        rest = stream.read(_FIXED * signals)
    if len(rest) < _FIXED * signals:
        raise _no_edf(file, f"{_FIXED + len(rest)} bytes of a header of {size}")
    return EdfHeader(
        _FIXED * (signals + 1),
        int(_number(file, records)),
        _number(file, seconds),
        _channels(file, rest, signals),
        patient,
        reserved.startswith("EDF+D"),
    )


_SLICES = ((8, 88), (184, 192), (192, 236), (236, 244), (244, 252), (252, 256))


def _channels(file: Path, rest: bytes, signals: int) -> tuple[Channel, ...]:
    columns = []
    place = 0
    for width in _WIDTHS:
        columns.append(
            [
                rest[place + width * i : place + width * (i + 1)].decode("latin-1").strip()
                for i in range(signals)
            ]
        )
        place += width * signals
    label, _, unit, low, high, first, last, _, samples, _ = columns
    return tuple(
        Channel(
            label[i],
            unit[i],
            (_number(file, low[i]), _number(file, high[i])),
            (int(_number(file, first[i])), int(_number(file, last[i]))),
            int(_number(file, samples[i])),
        )
        for i in range(signals)
    )


def _number(file: Path, text: str) -> float:
    try:
        # some recorders write a comma
        return float(text.replace(",", "."))
    except ValueError:
        raise _no_edf(file, f"{text!r} where a number stands") from None


def _chosen(file: Path, header: EdfHeader) -> list[int]:
    """Signals that are leads, all of one rate."""
    leads = [i for i, each in enumerate(header.channels) if canonical_lead(each.label)]
    if not leads:
        labels = ", ".join(each.label for each in header.channels[:6])
        raise refuse(
            file, "no_leads", f"signals {labels}", "labels such as I, aVR, V1",
            "Name the leads in the file: they are never guessed from their position.",
        )  # fmt: skip
    if header.seconds <= 0:
        raise _no_edf(file, f"data records of {header.seconds:g} s")
    most = max(header.channels[i].samples for i in leads)
    return [i for i in leads if header.channels[i].samples == most]


def measure_edf(file: Path) -> Extent:
    """Length, rate and leads by the header and the size of the file."""
    header = read_edf_header(file)
    chosen = _chosen(file, header)
    whole = _whole_records(file, header)
    rate = header.channels[chosen[0]].samples / header.seconds
    return Extent(whole * header.seconds, rate, tuple(header.channels[i].label for i in chosen))


def _whole_records(file: Path, header: EdfHeader) -> int:
    block = 2 * sum(each.samples for each in header.channels)
    return int((file.stat().st_size - header.size) // block) if block else 0


def read_edf(file: Path, _: ReadOptions, span: Span | None = None) -> Raw:
    """Read the leads of an EDF file.

    Raises:
        RecordError: No lead, no unit of voltage, parts apart in time, or it is cut.

    Source:
        Kemp et al., EDF, 1992; Kemp and Olivan, EDF+, 2003.
    """
    header = read_edf_header(file)
    if header.gaps:
        raise refuse(
            file, "format", "EDF+D: parts that are apart in time", "one stretch",
            "Write each stretch as a file of its own.",
        )  # fmt: skip
    chosen = _chosen(file, header)
    whole = _whole_records(file, header)
    block = sum(each.samples for each in header.channels)
    findings: list[Finding] = []
    if header.records > whole:
        expected = header.size + 2 * block * header.records
        raise refuse(
            file, "truncated", f"{file.stat().st_size} bytes", f"{expected} bytes",
            "Restore it from its source.",
        )  # fmt: skip
    if 0 <= header.records < whole:
        findings.append(
            remark(file, "samples", f"{whole} data records", f"{header.records} by the header",
                   "Taken from the file; check its source.")
        )  # fmt: skip
    rate = header.channels[chosen[0]].samples / header.seconds
    a, b = (span or Span()).samples(rate, whole * header.channels[chosen[0]].samples)
    per_block = header.channels[chosen[0]].samples
    first, last = a // per_block, -(-b // per_block)
    data = np.fromfile(
        file, "<i2", (last - first) * block, offset=header.size + 2 * block * first
    ).reshape(-1, block)
    starts = np.cumsum([0, *(each.samples for each in header.channels)])
    rows = []
    for index in chosen:
        counts = data[:, starts[index] : starts[index + 1]].reshape(-1)
        rows.append(_millivolts(file, header.channels[index], counts)[a - first * per_block :])
    values = np.stack([row[: b - a] for row in rows])
    facts = _person(header.patient)
    labels = tuple(header.channels[i].label for i in chosen)
    return Raw(values, labels, rate, facts=facts, findings=tuple(findings))


def _millivolts(file: Path, channel: Channel, counts: np.ndarray) -> np.ndarray:
    per_mv = per_millivolt(channel.unit)
    if per_mv is None:
        raise refuse(
            file, "unit", f"unit {channel.unit!r} of {channel.label}", "mV, uV, V or nV",
            "Correct the unit in the header.",
        )  # fmt: skip
    (low, high), (first, last) = channel.physical, channel.digital
    if first == last or low == high:
        raise refuse(
            file, "gain", f"the range {low:g} to {high:g} for {first} to {last} of {channel.label}",
            "two different ends", "Correct the header.",
        )  # fmt: skip
    gain = (high - low) / (last - first)
    values = (low + (counts.astype(np.float32) - np.float32(first)) * np.float32(gain)) / per_mv
    # a long stay at an end of the range is clipping
    on_rail = (counts <= min(first, last)) | (counts >= max(first, last))
    if np.count_nonzero(on_rail) >= _FEWEST_ON_RAIL:
        edges = np.flatnonzero(np.diff(np.concatenate([[False], on_rail, [False]]).astype(np.int8)))
        for start, stop in zip(edges[::2], edges[1::2], strict=True):
            if stop - start >= _FEWEST_ON_RAIL:
                values[start:stop] = np.nan
    return np.asarray(values, dtype=np.float32)


def _person(text: str) -> dict[str, object]:
    """The patient field of EDF+: code, sex, birthday, name; free text says nothing."""
    words = text.split()
    if len(words) < 4 or words[1] not in ("M", "F", "X"):
        return {}
    code = words[0]
    return {
        "sex": words[1] if words[1] != "X" else "",
        "patient": code if code != "X" else None,
    }


def read_bdf(file: Path, _: ReadOptions, span: Span | None = None) -> Raw:
    """Read the leads of a BDF file, which has samples of 24 bits.

    Raises:
        MachineError: pyedflib is not installed.
        RecordError: It cannot be read.
    """
    expect_bytes(file)
    pyedflib = require("pyedflib", "ecg")
    reader = pyedflib.EdfReader(str(file))
    try:
        labels = reader.getSignalLabels()
        chosen = [i for i, label in enumerate(labels) if canonical_lead(label)]
        if not chosen:
            raise refuse(
                file, "no_leads", f"signals {', '.join(labels[:6])}", "labels such as I, aVR, V1",
                "Name the leads in the file.",
            )  # fmt: skip
        rate = float(reader.getSampleFrequency(chosen[0]))
        chosen = [i for i in chosen if float(reader.getSampleFrequency(i)) == rate]
        first, last = (span or Span()).samples(rate, int(reader.getNSamples()[chosen[0]]))
        rows = []
        for index in chosen:
            unit = reader.getPhysicalDimension(index)
            per_mv = per_millivolt(unit)
            if per_mv is None:
                raise refuse(
                    file, "unit", f"unit {unit!r}", "mV, uV, V or nV", "Correct the header."
                )
            rows.append(reader.readSignal(index, first, last - first) / per_mv)
    finally:
        reader.close()
    return Raw(np.stack(rows).astype(np.float32), tuple(labels[i] for i in chosen), rate)


def _no_edf(file: Path, found: str) -> Exception:
    return refuse(file, "header", found, "an EDF header", "Restore the file from its source.")
