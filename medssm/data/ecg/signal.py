"""One record of any format in one form, and the findings that its reading brings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medssm.core.errors import BadDataError
from medssm.data.findings import Finding


@dataclass(frozen=True)
class Signal:
    """A record that can be used.

    Args:
        name: Its identifier.
        millivolts: The signal in mV; NaN where it is not valid.
        leads: Names of the rows, in the order of `medssm.data.ecg.leads.LEADS`.
        rate_hz: Samples a second.
        codes: Statements, SNOMED unless they say otherwise ("SCP:NORM"); None is unlabelled.
        age: In years.
        sex: "male" or "female".
        patient: Who it is, where the source says so.
        source: Where it comes from, e.g. "Georgia"; "" for unknown.
        fold: The fold that the source itself publishes, from 1.
        format: How it lay on disk.
        file: Where.
        sha256: Of the samples in microvolts, for records that come twice.
        findings: Warnings.

    Shape:
        millivolts: (leads, T) float32.
    """

    name: str
    millivolts: np.ndarray
    leads: tuple[str, ...]
    rate_hz: float
    codes: tuple[str, ...] | None = None
    age: float | None = None
    sex: str | None = None
    patient: str | None = None
    source: str = ""
    fold: int | None = None
    format: str = ""
    file: str = ""
    sha256: str = ""
    findings: tuple[Finding, ...] = ()

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.millivolts.shape[1] / self.rate_hz


@dataclass(frozen=True)
class Extent:
    """How long a record is, by its header alone.

    Args:
        seconds: Length.
        rate_hz: Samples a second.
        leads: As the file names them.
    """

    seconds: float
    rate_hz: float
    leads: tuple[str, ...]


@dataclass(frozen=True)
class ReadOptions:
    """What a user may add to what files leave out.

    Args:
        default_gain: Counts per mV where a header has none; None refuses such a record.
        rate_hz: Of tables that do not say it.
        strict: Take warnings for errors.
    """

    default_gain: float | None = None
    rate_hz: float | None = None
    strict: bool = False


@dataclass(frozen=True)
class Span:
    """A part of a record.

    Args:
        start_s: From here.
        stop_s: To here; None is the end.
    """

    start_s: float = 0.0
    stop_s: float | None = None

    def samples(self, rate_hz: float, total: int) -> tuple[int, int]:
        """First sample and the one after the last, inside the record."""
        stop = total if self.stop_s is None else round(self.stop_s * rate_hz)
        first = min(total, max(0, round(self.start_s * rate_hz)))
        return first, max(first, min(total, stop))


@dataclass(frozen=True)
class Raw:
    """What a format's reader hands over, before the signal is looked at.

    Args:
        values: Physical values in mV where `counts_per_mv` is None, else counts of the file.
        leads: As the file names them.
        rate_hz: Samples a second.
        counts_per_mv: Gain of each row.
        baselines: Count of 0 mV of each row.
        facts: codes, age, sex, patient, source as the file says them (text or None).
        findings: Warnings of the reader.

    Shape:
        values: (leads, T), NaN where nothing was recorded.
    """

    values: np.ndarray
    leads: tuple[str, ...]
    rate_hz: float
    counts_per_mv: np.ndarray | None = None
    baselines: np.ndarray | None = None
    facts: Mapping[str, object] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


class RecordError(BadDataError):
    """A record that must not be used; it carries the row of the findings table.

    Args:
        finding: What is wrong.
    """

    def __init__(self, finding: Finding) -> None:
        super().__init__(
            f"{finding.file}: {finding.found}. Expected {finding.expected}. {finding.remedy}"
        )
        self.finding = finding

    def __reduce__(self) -> tuple[type["RecordError"], tuple[Finding]]:
        """Pass whole between processes."""
        return RecordError, (self.finding,)


def refuse(file: Path, problem: str, found: str, expected: str, remedy: str) -> RecordError:
    """An error for a record that cannot be used."""
    name = file.with_suffix("").name
    return RecordError(Finding(name, str(file), problem, "error", found, expected, remedy))


def remark(file: Path, problem: str, found: str, expected: str, remedy: str) -> Finding:
    """A warning of a record that is used all the same."""
    name = file.with_suffix("").name
    return Finding(name, str(file), problem, "warning", found, expected, remedy)


def expect_bytes(file: Path) -> bytes:
    """The start of a file that is there and holds something that could be a record.

    Raises:
        RecordError: It is missing, empty or a web page.
    """
    remedy = "Download it again."
    if not file.is_file():
        raise refuse(file, "missing_file", "the file is not there", "a file", "Put it there.")
    with file.open("rb") as stream:
        start = stream.read(512)
    if not start.strip(b"\0 \r\n\t"):
        size = file.stat().st_size
        raise refuse(file, "empty", f"{size} bytes that say nothing", "a record", remedy)
    text = start.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        raise refuse(file, "not_a_record", "a web page", "a record", remedy)
    return start
