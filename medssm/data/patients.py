"""Which case belongs to which patient: by a pattern over case names, or by a table."""

import csv
import re
from collections.abc import Collection
from pathlib import Path

from medssm.core.errors import BadDataError, UsageError, nearest

_COLUMNS = ("case", "patient")


def patients_by_pattern(cases: Collection[str], pattern: str) -> dict[str, str]:
    """Read patients from case names.

    Args:
        cases: Names of all cases.
        pattern: A regular expression whose first group, or else whole match, is the patient.

    Raises:
        UsageError: It is no regular expression, or does not match a case.
    """
    try:
        search = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--patient {pattern!r} is no regular expression: {error}") from None
    patients = {}
    for name in cases:
        match = search.search(name)
        if match is None:
            raise UsageError(f"--patient {pattern!r} does not match the case {name!r}.")
        patients[name] = match[1] if search.groups else match[0]
    return patients


def patients_by_table(cases: Collection[str], file: Path) -> dict[str, str]:
    """Read patients from a CSV with the columns case and patient.

    Args:
        cases: Names of all cases; each must have a row.
        file: The table; further columns are passed over.

    Raises:
        BadDataError: A column, a patient or a case is missing, or a case has two patients.
    """
    patients: dict[str, str] = {}
    for line, (case, patient) in _rows(file):
        if case not in cases:
            raise BadDataError(f"{file}, line {line}: no case {case!r}; {nearest(case, cases)}")
        if not patient:
            raise BadDataError(
                f"{file}, line {line}: the case {case!r} has no patient; fill it in."
            )
        if patients.setdefault(case, patient) != patient:
            raise BadDataError(
                f"{file}, line {line}: the case {case!r} belongs to {patient!r} here and to "
                f"{patients[case]!r} above. Expected one patient a case."
            )
    missing = sorted(set(cases) - set(patients))
    if missing:
        shown = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
        raise BadDataError(f"{file}: {len(missing)} cases have no row ({shown}); add them.")
    return patients


def _rows(file: Path) -> list[tuple[int, tuple[str, str]]]:
    try:
        # spreadsheets begin the file with a byte order mark
        with file.open(newline="", encoding="utf-8-sig") as stream:
            table = csv.DictReader(stream, skipinitialspace=True)
            lacking = [name for name in _COLUMNS if name not in (table.fieldnames or ())]
            if lacking:
                raise BadDataError(
                    f"{file}: the first line is {','.join(table.fieldnames or ())!r}. Expected "
                    "the columns case,patient."
                )
            return [
                (table.line_num, ((row["case"] or "").strip(), (row["patient"] or "").strip()))
                for row in table
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadDataError(f"{file}: not readable as CSV ({error}).") from None
