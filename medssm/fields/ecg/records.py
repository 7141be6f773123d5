"""The table of records: one row each, with labels, person, source, hash and what was found."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from medssm.core.errors import BadDataError
from medssm.core.files import write_text
from medssm.data.ecg.signal import Signal
from medssm.data.findings import Finding
from medssm.fields.ecg.plan_file import FINDINGS, RECORDS

UNLABELLED = "?"
_FINDING_COLUMNS = ("case", "file", "problem", "severity", "found", "expected", "remedy")


@dataclass(frozen=True)
class EcgRecord:
    """A record of a data set.

    Args:
        name: Unique in the data set.
        file: Relative to the source.
        format: How it lies on disk.
        source: Where it comes from.
        patient: Group that must not be torn apart.
        patient_by: "file", "table", "proxy" (same source, age, sex and labels) or "alone".
        fold: The published one, from 1; None for none.
        age: In years.
        sex: "male" or "female".
        rate_hz: Of the file.
        seconds: Length.
        leads: How many are there and alive.
        codes: Statements; None is unlabelled.
        sha256: Of the samples.
        same_as: The first record with the same samples, "" for itself.
        status: "ok" or "skipped".
        findings: Their short codes.
    """

    name: str
    file: str
    format: str = ""
    source: str = ""
    patient: str = ""
    patient_by: str = "alone"
    fold: int | None = None
    age: float | None = None
    sex: str | None = None
    rate_hz: float = 0.0
    seconds: float = 0.0
    leads: int = 0
    codes: tuple[str, ...] | None = None
    sha256: str = ""
    same_as: str = ""
    status: str = "ok"
    findings: tuple[str, ...] = ()

    @property
    def labelled(self) -> bool:
        """Whether anybody said what it shows."""
        return self.codes is not None

    @property
    def usable(self) -> bool:
        """Whether it can be preprocessed."""
        return self.status == "ok"


def record_of(name: str, file: str, signal: Signal, alive: int) -> EcgRecord:
    """The row of a signal."""
    return EcgRecord(
        name=name,
        file=file,
        format=signal.format,
        source=signal.source,
        patient=signal.patient or "",
        patient_by="file" if signal.patient else "alone",
        fold=signal.fold,
        age=signal.age,
        sex=signal.sex,
        rate_hz=signal.rate_hz,
        seconds=round(signal.seconds, 3),
        leads=alive,
        codes=signal.codes,
        sha256=signal.sha256,
        findings=tuple(dict.fromkeys(each.problem for each in signal.findings)),
    )


def write_records(folder: Path, records: Sequence[EcgRecord]) -> Path:
    """Write records.csv."""
    rows = []
    for record in records:
        row = asdict(record)
        row["codes"] = UNLABELLED if record.codes is None else "|".join(record.codes)
        row["findings"] = "|".join(record.findings)
        rows.append(["" if value is None else value for value in row.values()])
    file = folder / RECORDS
    write_text(file, _table(list(EcgRecord.__dataclass_fields__), rows))
    return file


def write_findings(folder: Path, findings: Iterable[Finding]) -> Path:
    """Write findings.csv: a row each, errors first."""
    order = sorted(findings, key=lambda each: (each.severity != "error", each.case, each.problem))
    rows = [[getattr(each, name) for name in _FINDING_COLUMNS] for each in order]
    file = folder / FINDINGS
    write_text(file, _table(list(_FINDING_COLUMNS), rows))
    return file


def _table(header: list[str], rows: Sequence[Sequence[object]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return stream.getvalue()


def read_records(folder: Path) -> list[EcgRecord]:
    """Read records.csv.

    Raises:
        BadDataError: It is missing or was changed to something else.
    """
    file = folder / RECORDS
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            return [_record(row) for row in csv.DictReader(stream)]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise BadDataError(
            f"{file}: cannot be read ({type(error).__name__}: {error}). Plan again with --force."
        ) from error


def _record(row: dict[str, str]) -> EcgRecord:
    codes = row["codes"]
    plain = EcgRecord(row["name"], row["file"])
    texts = ("format", "source", "patient", "patient_by", "sha256", "same_as", "status")
    return replace(
        plain,
        **{name: row[name] for name in texts},
        fold=int(row["fold"]) if row["fold"] else None,
        age=float(row["age"]) if row["age"] else None,
        sex=row["sex"] or None,
        rate_hz=float(row["rate_hz"]),
        seconds=float(row["seconds"]),
        leads=int(row["leads"]),
        codes=None if codes == UNLABELLED else tuple(word for word in codes.split("|") if word),
        findings=tuple(word for word in row["findings"].split("|") if word),
    )
