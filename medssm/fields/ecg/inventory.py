"""Takes stock of a folder: every record read once, its row and findings; resumable by chunks."""

import os
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medssm.core.errors import BadDataError, MachineError
from medssm.core.files import RECORDS as RECORDS_FOLDER
from medssm.core.files import digest, read_json, sha256, write_json
from medssm.core.log import Progress
from medssm.core.workers import run_cases
from medssm.data.ecg.folder_tables import completed, published_files, read_tables, row_of
from medssm.data.ecg.likeness import candidates, outline, same_recording
from medssm.data.ecg.read import find_records, read_record, record_seconds
from medssm.data.ecg.signal import ReadOptions, RecordError, Signal
from medssm.data.findings import Finding
from medssm.fields.ecg.grouping import joined_records
from medssm.fields.ecg.records import EcgRecord, record_of
from medssm.fields.ecg.study import EcgStudy

# longer records are looked at in their first minutes and hashed by their file
LONG_S = 600.0
LOOK_S = 300.0
_CHUNK = 128
# below this many records other processes take longer to start than to read
_WORTH_WORKERS = 600
# PTB lays out its records by patient
_PATIENT_FOLDER = re.compile(r"^patient[_-]?\d+$", re.IGNORECASE)
# changes when a reader would answer differently for the same file
_READERS_VERSION = 2


@dataclass(frozen=True)
class Inventory:
    """What is in a folder.

    Args:
        records: One row each, skipped ones too.
        findings: Of all records.
    """

    records: tuple[EcgRecord, ...]
    findings: tuple[Finding, ...]


def list_files(study: EcgStudy) -> dict[str, Path]:
    """The records of a study by name: the file's name, or its path where names repeat."""
    published = published_files(study.source, study.config.rate_hz)
    files = list(published.values()) if published is not None else find_records(study.source)
    names: dict[str, Path] = {}
    by_stem: dict[str, list[Path]] = {}
    for file in files:
        by_stem.setdefault(file.with_suffix("").name, []).append(file)
    for stem, same in by_stem.items():
        for file in same:
            path = file.relative_to(study.source)
            long = "_".join(path.with_suffix("").parts)
            name = stem if len(same) == 1 else long
            names[name if name not in names else f"{long}_{file.suffix[1:]}"] = file
    return names


def state_of(files: dict[str, Path]) -> str:
    """Hash of names, sizes and times: cheap, and another one when a file changed."""
    rows = []
    for name, file in sorted(files.items()):
        for each in (file, file.with_suffix(".mat"), file.with_suffix(".dat")):
            if each.is_file():
                stat = each.stat()
                rows.append([name, each.name, stat.st_size, stat.st_mtime_ns])
    return digest([_READERS_VERSION, rows])


def reading_options(study: EcgStudy) -> ReadOptions:
    """What the configuration adds to what files leave out."""
    config = study.config
    return ReadOptions(config.default_gain, config.table_rate_hz, config.strict)


@dataclass(frozen=True)
class ScanJob:
    """A chunk of records to be read by one process.

    Args:
        name: Of the chunk.
        files: Name and file of each record.
        source: Folder they lie in.
        options: For the readers.
        result: JSON to write.
        key: Hash of files and options; a result with the same key is kept.
    """

    name: str
    files: tuple[tuple[str, Path], ...]
    source: Path
    options: ReadOptions
    result: Path
    key: str

    def run(self) -> None:
        """Read all of them; writes rows and findings."""
        tables = read_tables(self.source)
        rows, findings = [], []
        for name, file in self.files:
            record, found, shape = scan_record(name, file, self, tables)
            rows.append({"record": asdict(record), "outline": shape})
            findings += [asdict(each) for each in found]
        write_json(self.result, {"key": self.key, "records": rows, "findings": findings})


def scan_record(
    name: str, file: Path, job: ScanJob, tables: dict[str, Any]
) -> tuple[EcgRecord, list[Finding], list[float]]:
    """Read one record for its row and outline; one that cannot be used becomes a finding."""
    path = file.relative_to(job.source)
    try:
        signal = read_for_inventory(file, job.options)
    except RecordError as error:
        finding = replace(error.finding, case=name)
        return _skipped(name, path, finding), [finding], []
    except MachineError:
        raise
    except BadDataError as error:
        finding = Finding(name, str(file), "unreadable", "error", str(error), "a record", "Look.")
        return _skipped(name, path, finding), [finding], []
    row = row_of(signal, tables, path.with_suffix("").as_posix())
    signal = completed(signal, row)
    alive = int(np.isfinite(signal.millivolts).any(axis=1).sum())
    record = record_of(name, path.as_posix(), signal, alive)
    seconds = record_seconds(file)[0] if signal.seconds >= LOOK_S else record.seconds
    if row.patient:
        record = replace(record, patient_by="table")
    elif not record.patient and _PATIENT_FOLDER.match(path.parent.name):
        record = replace(record, patient=path.parent.name, patient_by="file")
    found = [replace(each, case=name) for each in signal.findings]
    shape = outline(signal.millivolts, signal.leads, signal.rate_hz)
    return replace(record, seconds=round(seconds, 3)), found, shape


def read_for_inventory(file: Path, options: ReadOptions) -> Signal:
    """A record, or the first minutes of a long one under the hash of its whole file."""
    if file.suffix.lower() in (".hea", ".edf") and _seconds_or_zero(file) > LONG_S:
        signal = read_record(file, 0.0, LOOK_S, options)
        samples = next(
            (
                each
                for each in (file.with_suffix(".mat"), file.with_suffix(".dat"))
                if each.is_file()
            ),
            file,
        )
        return replace(signal, sha256=sha256(samples))
    return read_record(file, options=options)


def _seconds_or_zero(file: Path) -> float:
    # a header that cannot be read is explained by the reading that follows
    try:
        return record_seconds(file)[0]
    except BadDataError:
        return 0.0


def _skipped(name: str, path: Path, finding: Finding) -> EcgRecord:
    return EcgRecord(name, path.as_posix(), status="skipped", findings=(finding.problem,))


def take_stock(study: EcgStudy, files: dict[str, Path]) -> Inventory:
    """Read all records of a study; what an earlier, killed run has read is taken over.

    Raises:
        MachineError: A package is missing, or a process died twice.
    """
    folder = study.workspace.preprocessed / RECORDS_FOLDER / "scan"
    options = reading_options(study)
    names = sorted(files)
    jobs = []
    for start in range(0, len(names), _CHUNK):
        part = tuple((name, files[name]) for name in names[start : start + _CHUNK])
        key = digest([state_of(dict(part)), asdict(options), _tables_state(study.source)])
        name = f"{start // _CHUNK:05d}"
        jobs.append(ScanJob(name, part, study.source, options, folder / f"{name}.json", key))
    todo = [job for job in jobs if not _is_done(job)]
    bar = Progress(len(files), "read")
    bar.done = len(files) - sum(len(job.files) for job in todo)
    for job, error in run_cases(todo, workers_for(study, sum(len(j.files) for j in todo))):
        if error is not None:
            raise error
        bar.step(count=len(job.files))
    records: list[EcgRecord] = []
    findings: list[Finding] = []
    outlines: dict[str, list[float]] = {}
    for job in jobs:
        content = read_json(job.result)
        for row in content["records"]:
            records.append(_plain_record(row["record"]))
            if row["outline"]:
                outlines[records[-1].name] = row["outline"]
        findings += [Finding(**row) for row in content["findings"]]
    copies = _copies(study, files, outlines)
    rows, more = joined_records(records, copies, study.config.min_leads)
    return Inventory(tuple(rows), (*findings, *more))


def _copies(
    study: EcgStudy, files: dict[str, Path], outlines: dict[str, list[float]]
) -> dict[str, str]:
    """Records that are a copy of an earlier one in another rate or rounding."""
    options = reading_options(study)
    found: dict[str, str] = {}
    for early, late in candidates(outlines):
        if late not in found:
            one, other = (read_for_inventory(files[name], options) for name in (early, late))
            if same_recording(one, other):
                found[late] = early
    return found


def workers_for(study: EcgStudy, records: int) -> int:
    """How many processes are worth it."""
    if study.config.workers:
        return study.config.workers
    return max(1, (os.cpu_count() or 1) - 1) if records >= _WORTH_WORKERS else 1


def _tables_state(source: Path) -> list[list[Any]]:
    return [
        [file.name, file.stat().st_size, file.stat().st_mtime_ns]
        for file in sorted(source.glob("*.csv"))
    ]


def _is_done(job: ScanJob) -> bool:
    if not job.result.is_file():
        return False
    try:
        return bool(read_json(job.result).get("key") == job.key)
    except BadDataError:
        return False


def _plain_record(row: dict[str, Any]) -> EcgRecord:
    codes = row["codes"]
    row |= {"codes": None if codes is None else tuple(codes), "findings": tuple(row["findings"])}
    return EcgRecord(**row)
