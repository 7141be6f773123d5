"""The Challenges' result files: a CSV a record, in the dialect of 2020 or 2021, and labels."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from medssm.core.errors import BadDataError
from medssm.core.files import write_text
from medssm.core.log import warn
from medssm.data.ecg.classes import EcgClass

Year = Literal[2020, 2021]
_YES = ("True", "true", "T", "t")
_DIAGNOSES = re.compile(r"^#\s*Dx\s*:\s*(.*)$")
_LINES_2020 = 3


def write_challenge_output(
    file: Path,
    classes: Sequence[EcgClass],
    decided: np.ndarray,
    probabilities: np.ndarray,
    year: Year = 2021,
) -> None:
    """Write what was found in one record, as the official scorer of a year reads it.

    Decisions are written 0 and 1, since the scorer of 2020 takes 1.0 for a no. The dialect of 2021
    has one column a class with its codes joined by a pipe; that of 2020 knows single codes only,
    so that each code of a class has a column with the same answer.

    Args:
        file: RECORD.csv.
        classes: What the columns stand for.
        decided: Yes or no.
        probabilities: How sure.
        year: The dialect.

    Shape:
        decided, probabilities: (C,).
    """
    columns = [
        (code, index)
        for index, each in enumerate(classes)
        for code in (each.codes if year == 2020 else (each.code,))
    ]
    rows = (
        [code for code, _ in columns],
        [str(int(decided[index])) for _, index in columns],
        [f"{float(probabilities[index]):.9g}" for _, index in columns],
    )
    write_text(file, "\n".join([f"#{file.stem}", *(",".join(row) for row in rows)]) + "\n")


def read_challenge_output(
    file: Path, classes: Sequence[EcgClass], year: Year = 2021
) -> tuple[np.ndarray, np.ndarray]:
    """Decisions and probabilities of one record as the official scorer of a year takes them.

    Columns of one class are joined: any decision, the mean of the probabilities. Columns of no
    class are passed over, a class without a column is a no of probability zero.

    Shape:
        results: (C,) bool and (C,) float64.

    Raises:
        BadDataError: The file cannot be read, or in 2021 has not four lines of equal length.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadDataError(
            f"{file}: cannot be read ({error}). Expected the Challenge's CSV: #RECORD, codes, "
            "decisions, probabilities."
        ) from None
    rows = [[cell.strip() for cell in line.split(",")] for line in _body(text, year)]
    if len(rows) < _LINES_2020 or len({len(row) for row in rows[:_LINES_2020]}) != 1:
        message = (
            f"{file}: found {len(rows)} lines of {[len(row) for row in rows]} cells below the "
            "name. Expected codes, decisions and probabilities, equally many"
        )
        if year == 2021:
            raise BadDataError(f"{message}; write the file again with medssm predict.")
        # the official program of 2020 goes on as well
        warn("%s; it counts as no everywhere, as in the scorer of 2020.", message)
        return np.zeros(len(classes), dtype=bool), np.zeros(len(classes))
    return _joined(rows, classes, year)


def _body(text: str, year: Year) -> list[str]:
    lines = text.splitlines()
    if year == 2020:
        return [line for line in lines if line.strip() and not line.startswith("#")]
    return lines[1:4]


def _joined(
    rows: Sequence[Sequence[str]], classes: Sequence[EcgClass], year: Year
) -> tuple[np.ndarray, np.ndarray]:
    decided = np.zeros(len(classes), dtype=bool)
    probabilities = np.zeros(len(classes))
    columns = [set(code.split("|")) if year == 2021 else {code} for code in rows[0]]
    for index, each in enumerate(classes):
        mine = [place for place, codes in enumerate(columns) if codes & set(each.codes)]
        decided[index] = any(_is_yes(rows[1][place], year) for place in mine)
        values = [_number(rows[2][place]) for place in mine]
        if year == 2020:
            values = [value for value in values if not math.isnan(value)]
        if values:
            # one after the other, as a mean over numpy's array of so few does
            probabilities[index] = np.mean([0.0 if math.isnan(v) else v for v in values])
    return decided, probabilities


def _is_yes(cell: str, year: Year) -> bool:
    if cell in _YES:
        return True
    return cell == "1" if year == 2020 else _number(cell) == 1.0


def _number(cell: str) -> float:
    """A finite number, else NaN."""
    try:
        value = float(cell)
    except ValueError:
        return float("nan")
    return value if math.isfinite(value) else float("nan")


def read_labels(header: Path) -> tuple[str, ...] | None:
    """The codes of a header's #Dx or # Dx line; None without a line or a code.

    Raises:
        BadDataError: The file cannot be read.
    """
    try:
        lines = header.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise BadDataError(f"{header}: cannot be read ({error}). Expected a .hea file.") from None
    for line in lines:
        found = _DIAGNOSES.match(line)
        if found is not None:
            codes = tuple(code for code in (each.strip() for each in found[1].split(",")) if code)
            return codes or None
    return None


def write_official_labels(file: Path, codes: Sequence[str]) -> None:
    """Write a header with no more than what the official scorers read: #Age, #Sex and #Dx.

    They find no label in the headers of the present release, which has a space after the #.
    """
    lines = [f"{file.stem} 12 500 5000", "#Age: NaN", "#Sex: Unknown", f"#Dx: {','.join(codes)}"]
    write_text(file, "\n".join(lines) + "\n")
