"""The table of a study: one row a slide, its patient, its class or survival time."""

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from medssm.core.errors import BadDataError
from medssm.core.files import atomic_path

# endings that stand in tables and file names, taken off as whole endings only
SLIDE_ENDINGS = (
    ".svs", ".tiff", ".tif", ".ndpi", ".mrxs", ".scn", ".svslide", ".vms", ".vmu", ".bif", ".dcm",
)  # fmt: skip
FEATURE_ENDINGS = (".h5", ".hdf5", ".npz", ".pt")
_BARCODE = re.compile(r"^TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}", re.IGNORECASE)
_BARCODE_LENGTH = 12


@dataclass(frozen=True)
class SlideRow:
    """What is known of a slide.

    Args:
        slide: Its id, without the ending of a file.
        patient: Whose it is; splits keep a patient on one side.
        label: The class as it is written, or None.
        months: Time to the event or to the last visit, or None.
        event: Whether the event was seen (False where censored), or None.
        mpp: Micrometres a pixel at level 0, where the file does not say it.
    """

    slide: str
    patient: str
    label: str | None = None
    months: float | None = None
    event: bool | None = None
    mpp: float | None = None


def slide_id(text: str) -> str:
    """An id as it is compared: no blanks around it, no ending of a slide or feature file."""
    name = text.strip()
    for ending in (*FEATURE_ENDINGS, *SLIDE_ENDINGS):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def read_slide_table(file: Path) -> dict[str, SlideRow]:
    """Read labels or survival times in the columns of CLAM and MambaMIL.

    Args:
        file: A CSV with slide_id and, as far as known, case_id, label, survival_months with
            censorship (1 = censored) or event (1 = seen), mpp. Ids are text: 0012 stays 0012.

    Returns:
        Rows by slide, in the order of the file.

    Raises:
        BadDataError: A column is missing, an id is empty, a slide or patient has two answers, or
            a time is not above zero; the message names the line.
    """
    rows: dict[str, SlideRow] = {}
    lines: dict[str, int] = {}
    for line, cells in _cells(file):
        row = _row(cells, f"{file}, line {line}")
        before = rows.setdefault(row.slide, row)
        if before != row:
            raise BadDataError(
                f"{file}, line {line}: the slide {row.slide!r} is {_told(row)} here and "
                f"{_told(before)} in line {lines[row.slide]}. Expected one row a slide; delete "
                "the wrong one."
            )
        lines.setdefault(row.slide, line)
    if not rows:
        raise BadDataError(f"{file}: no row below the header. Expected one row a slide.")
    _one_survival_a_patient(rows.values(), file)
    return rows


def refuse_conflicting_labels(table: Mapping[str, SlideRow], where: str) -> None:
    """Refuse a patient whose slides have different classes, where a bag is a whole patient.

    Raises:
        BadDataError: Naming the patients and their classes.
    """
    labels: dict[str, set[str]] = {}
    for row in table.values():
        if row.label is not None:
            labels.setdefault(row.patient, set()).add(row.label)
    wrong = {patient: sorted(found) for patient, found in labels.items() if len(found) > 1}
    if wrong:
        shown = "; ".join(f"{patient}: {', '.join(each)}" for patient, each in _first(wrong))
        raise BadDataError(
            f"{where}: {len(wrong)} patients have slides of different classes ({shown}). Expected "
            "one class a patient where bags are patients; mend the table, or take slides as bags."
        )


def write_slide_table(file: Path, rows: Iterable[SlideRow]) -> Path:
    """Write the columns that CLAM and MambaMIL read; columns that no row fills are left out."""
    rows = list(rows)
    header = ["case_id", "slide_id"]
    if any(row.label is not None for row in rows):
        header.append("label")
    if any(row.months is not None for row in rows):
        header += ["censorship", "survival_months"]
    if any(row.mpp is not None for row in rows):
        header.append("mpp")
    with atomic_path(file) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        for row in rows:
            cells = {
                "case_id": row.patient,
                "slide_id": row.slide,
                "label": row.label,
                "censorship": None if row.event is None else int(not row.event),
                "survival_months": row.months,
                "mpp": row.mpp,
            }
            writer.writerow(["" if cells[name] is None else cells[name] for name in header])
    return file


def _cells(file: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        # spreadsheets begin the file with a byte order mark
        with Path(file).open(newline="", encoding="utf-8-sig") as stream:
            table = csv.DictReader(stream, skipinitialspace=True)
            names = [name.strip() for name in table.fieldnames or ()]
            if "slide_id" not in names:
                raise BadDataError(
                    f"{file}: the first line is {','.join(names)!r}. Expected the columns "
                    "case_id,slide_id and label, or censorship and survival_months."
                )
            return [
                (table.line_num, {k.strip(): (v or "").strip() for k, v in row.items() if k})
                for row in table
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadDataError(f"{file}: not readable as CSV ({error}).") from None


def _row(cells: Mapping[str, str], where: str) -> SlideRow:
    slide = slide_id(cells["slide_id"])
    if not slide:
        raise BadDataError(f"{where}: the slide_id is empty. Expected the id of a slide.")
    months = _number(cells, "survival_months", where)
    event = _event(cells, where)
    if months is not None and months <= 0:
        raise BadDataError(
            f"{where}: survival_months of {slide!r} is {months:g}. Expected a time above zero; "
            "mend it or take the row out."
        )
    if (months is None) != (event is None):
        raise BadDataError(
            f"{where}: {slide!r} has {'no' if months is None else 'a'} survival_months and "
            f"{'no' if event is None else 'a'} censorship. Expected both or neither."
        )
    return SlideRow(
        slide=slide,
        patient=_patient(slide_id(cells.get("case_id", "")), slide),
        label=cells.get("label") or None,
        months=months,
        event=event,
        mpp=_number(cells, "mpp", where),
    )


def _patient(case: str, slide: str) -> str:
    """The case; where the table repeats the slide there, a TCGA barcode tells the patient."""
    if case and case != slide:
        return case
    return slide[:_BARCODE_LENGTH] if _BARCODE.match(slide) else slide


def _number(cells: Mapping[str, str], name: str, where: str) -> float | None:
    text = cells.get(name, "")
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not abs(number) < float("inf"):
        raise BadDataError(f"{where}: {name} is {text!r}. Expected a number.")
    return number


def _event(cells: Mapping[str, str], where: str) -> bool | None:
    for name, seen in (("censorship", 0.0), ("event", 1.0)):
        value = _number(cells, name, where)
        if value is not None:
            if value not in (0.0, 1.0):
                raise BadDataError(f"{where}: {name} is {value:g}. Expected 0 or 1.")
            return value == seen
    return None


def _one_survival_a_patient(rows: Iterable[SlideRow], file: Path) -> None:
    first: dict[str, SlideRow] = {}
    for row in rows:
        before = first.setdefault(row.patient, row)
        if (before.months, before.event) != (row.months, row.event):
            raise BadDataError(
                f"{file}: the patient {row.patient!r} is {_told(before)} with the slide "
                f"{before.slide!r} and {_told(row)} with {row.slide!r}. Expected one survival "
                "time a patient; mend the table."
            )


def _told(row: SlideRow) -> str:
    parts = [] if row.label is None else [f"{row.label!r}"]
    if row.months is not None:
        parts.append(f"{row.months:g} months, {'event' if row.event else 'censored'}")
    return f"{' and '.join(parts) or 'without label'} (patient {row.patient!r})"


def _first(wrong: Mapping[str, list[str]], count: int = 10) -> list[tuple[str, list[str]]]:
    return sorted(wrong.items())[:count]
