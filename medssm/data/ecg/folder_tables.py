"""Tables beside records: of PTB-XL, SPH and CPSC, and labels.csv of our own."""

import ast
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from medssm.core.errors import BadDataError
from medssm.data.ecg.person import read_age, read_sex
from medssm.data.ecg.signal import Signal

PTBXL = "ptbxl_database.csv"
LABELS = "labels.csv"
_SPH = "metadata.csv"
_CPSC = "reference.csv"
# the nine classes of CPSC 2018 as the Challenge codes them
_CPSC_CODES = {
    "1": "426783006", "2": "164889003", "3": "270492004", "4": "164909002", "5": "59118001",
    "6": "284470004", "7": "164884008", "8": "429622005", "9": "164931005",
}  # fmt: skip


@dataclass(frozen=True)
class TableRow:
    """What a table says of one record.

    Args:
        codes: Statements; None where it says nothing.
        age: In years.
        sex: "male" or "female".
        patient: Who.
        source: Where from.
        fold: The published one.
    """

    codes: tuple[str, ...] | None = None
    age: float | None = None
    sex: str | None = None
    patient: str | None = None
    source: str = ""
    fold: int | None = None


def read_tables(folder: Path) -> dict[str, TableRow]:
    """All rows of the tables in a folder, by the file's path without its ending, or its name.

    Raises:
        BadDataError: A table lacks its columns.
    """
    rows: dict[str, TableRow] = {}
    readers = {PTBXL: _ptbxl, _SPH: _sph, _CPSC: _cpsc, LABELS: _labels}
    for file in sorted(Path(folder).iterdir()):
        reader = readers.get(file.name.lower())
        if reader is None or not file.is_file():
            continue
        try:
            with file.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
                rows.update(dict(reader(file, csv.DictReader(stream))))
        except (KeyError, ValueError, SyntaxError) as error:
            raise BadDataError(
                f"{file}: not the table that its name says ({type(error).__name__}: {error}). "
                "Restore it from its source, or rename it."
            ) from error
    return rows


def row_of(signal: Signal, rows: dict[str, TableRow], stem: str) -> TableRow:
    """The row of a record by its path below the folder without its ending, or by its name."""
    found = rows.get(stem) or rows.get(signal.name) or rows.get(Path(stem).name)
    return found or TableRow()


def completed(signal: Signal, row: TableRow) -> Signal:
    """A signal with what a table says of it; labels and persons of its own file stay."""
    return replace(
        signal,
        codes=signal.codes if signal.codes is not None else row.codes,
        age=signal.age if signal.age is not None else row.age,
        sex=signal.sex or row.sex,
        patient=row.patient or signal.patient,
        source=row.source or signal.source,
        fold=row.fold,
    )


Rows = Iterator[tuple[str, TableRow]]


def _ptbxl(file: Path, table: "csv.DictReader[str]") -> Rows:
    for row in table:
        statements = ast.literal_eval(row["scp_codes"])
        facts = TableRow(
            codes=tuple(f"SCP:{code}" for code in statements),
            # 300 stands for above 89
            age=read_age(file, row.get("age"))[0],
            sex={"0": "male", "1": "female"}.get(row.get("sex", "")),
            patient=_whole(row["patient_id"]),
            source="PTB_XL",
            fold=int(row["strat_fold"]),
        )
        for column in ("filename_hr", "filename_lr"):
            if row.get(column):
                yield row[column], facts


def _sph(file: Path, table: "csv.DictReader[str]") -> Rows:
    for row in table:
        if "ECG_ID" not in row or "AHA_Code" not in row:
            return
        # a plus joins a modifier to its statement
        codes = [word.split("+")[0].strip() for word in row["AHA_Code"].split(";")]
        yield (
            row["ECG_ID"],
            TableRow(
                codes=tuple(f"AHA:{code}" for code in dict.fromkeys(codes) if code),
                age=read_age(file, row.get("Age"))[0],
                sex=read_sex(file, row.get("Sex"))[0],
                patient=row.get("Patient_ID") or None,
                source="SPH",
            ),
        )


def _cpsc(_: Path, table: "csv.DictReader[str]") -> Rows:
    for row in table:
        given = [value for key, value in row.items() if key and key.endswith("label") and value]
        yield (
            row["Recording"],
            TableRow(
                codes=tuple(_CPSC_CODES[str(int(float(value)))] for value in given), source="CPSC"
            ),
        )


def _labels(file: Path, table: "csv.DictReader[str]") -> Rows:
    for row in table:
        text = row.get("codes")
        codes = tuple(word for word in re.split(r"[|;,\s]+", text or "") if word)
        fold = row.get("fold") or ""
        yield (
            row["record"],
            TableRow(
                codes=None if text is None else codes,
                age=read_age(file, row.get("age"))[0],
                sex=read_sex(file, row.get("sex"))[0],
                patient=row.get("patient") or None,
                source=row.get("source") or "",
                fold=int(fold) if fold else None,
            ),
        )


def _whole(text: str) -> str | None:
    return str(int(float(text))) if text else None


def published_files(folder: Path, wanted_hz: float) -> dict[str, Path] | None:
    """The headers that PTB-XL's database names, in the rate that serves; None for other folders.

    Args:
        folder: Of the database.
        wanted_hz: 100 Hz files serve up to 100 Hz; else those of 500 Hz, where they are there.

    Returns:
        Header by path below the folder without its ending.
    """
    file = Path(folder) / PTBXL
    if not file.is_file():
        return None
    columns = ["filename_hr", "filename_lr"]
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        rows = list(csv.DictReader(stream))
    # a folder may hold one rate only; the column with files decides, the finer one first
    order = columns if wanted_hz > 100 else columns[::-1]
    found: dict[str, Path] = {}
    for row in rows:
        stems = [row[column] for column in order if row.get(column)]
        headers = [(stem, folder / f"{stem}.hea") for stem in stems]
        there = [each for each in headers if each[1].is_file()] or headers[:1]
        found[there[0][0]] = there[0][1]
    return found
