"""Splits in CLAM's tables, and the rule that no patient stands on two sides."""

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations, zip_longest
from pathlib import Path

from medssm.core.errors import BadDataError
from medssm.core.files import atomic_path
from medssm.data.bags.slide_table import SlideRow, slide_id

Split = dict[str, list[str]]
SIDES = ("train", "val", "test")
_FILE = re.compile(r"^splits_(\d+)\.csv$")
_TRUE, _FALSE = ("true", "1", "1.0"), ("false", "0", "0.0", "")


def read_splits(source: Path, table: Mapping[str, SlideRow]) -> list[Split]:
    """Read one splits_{i}.csv, or all of a folder in the order of their numbers.

    Args:
        source: A file (the plain or the _bool form) or a folder of them.
        table: The slides; an id that is a patient's stands for all slides of that patient.

    Returns:
        Slide ids by side, each once.

    Raises:
        BadDataError: Nothing there, wrong columns, an unknown id, or a patient on two sides.
    """
    source = Path(source)
    files = [source] if source.is_file() else _files(source)
    if not files:
        raise BadDataError(f"{source}: no splits there. Expected splits_0.csv, splits_1.csv, …")
    members: dict[str, list[str]] = {}
    for row in table.values():
        members.setdefault(row.patient, []).append(row.slide)
    splits = []
    for file in files:
        split = {
            side: _slides(names, table, members, f"{file}: {side}")
            for side, names in _sides(file).items()
        }
        refuse_leaks(split, table, str(file))
        splits.append(split)
    return splits


def refuse_leaks(
    split: Mapping[str, Sequence[str]], table: Mapping[str, SlideRow], where: str
) -> None:
    """Refuse a split that has a slide or a patient on two sides.

    Args:
        split: Slide ids by side.
        table: Whose they are.
        where: How to call the split in the message.

    Raises:
        BadDataError: Naming the slides or the patients.
    """
    for one, other in combinations(split, 2):
        slides = sorted(set(split[one]) & set(split[other]))
        if slides:
            raise BadDataError(f"{where} has slides in {one} and in {other}: {_shown(slides)}.")
        patients = sorted(
            {table[name].patient for name in split[one] if name in table}
            & {table[name].patient for name in split[other] if name in table}
        )
        if patients:
            raise BadDataError(
                f"{where} has {len(patients)} patients in {one} and in {other}: "
                f"{_shown(patients)}. Figures on such a split are too good; put all slides of a "
                "patient on one side, or leave the splits to `medssm plan`."
            )


def write_splits(
    folder: Path, splits: Sequence[Split], table: Mapping[str, SlideRow]
) -> list[Path]:
    """Write the three tables a fold that CLAM reads: ids, booleans, slides of each class.

    Returns:
        The files with the ids.
    """
    written = []
    for number, split in enumerate(splits):
        sides = [split.get(side, []) for side in SIDES]
        columns = zip_longest(*sides, fillvalue="")
        file = folder / f"splits_{number}.csv"
        _write(file, ("", *SIDES), [(i, *row) for i, row in enumerate(columns)])
        everything = [name for side in sides for name in side]
        booleans = [(name, *(name in side for side in sides)) for name in everything]
        _write(folder / f"splits_{number}_bool.csv", ("", *SIDES), booleans)
        counts = [Counter(table[name].label or "" for name in side) for side in sides]
        classes = sorted({label for count in counts for label in count})
        described = [(label, *(count[label] for count in counts)) for label in classes]
        _write(folder / f"splits_{number}_descriptor.csv", ("", *SIDES), described)
        written.append(file)
    return written


def _write(file: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with atomic_path(file) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _files(folder: Path) -> list[Path]:
    found = {int(match[1]): file for file in folder.glob("splits_*.csv")
             if (match := _FILE.match(file.name))}  # fmt: skip
    return [found[number] for number in sorted(found)]


def _sides(file: Path) -> dict[str, list[str]]:
    """Ids by side, once each, as the file writes them."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            header, *rows = list(csv.reader(stream)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadDataError(f"{file}: not readable as CSV ({error}).") from None
    places = {side: header.index(side) for side in SIDES if side in header}
    if "train" not in places or len(places) < 2:
        raise BadDataError(
            f"{file}: the first line is {','.join(header)!r}. Expected the columns train, val and "
            "test as CLAM writes them."
        )
    columns = {side: [row[at].strip() if at < len(row) else "" for row in rows]
               for side, at in places.items()}  # fmt: skip
    cells = {cell.lower() for column in columns.values() for cell in column}
    if rows and cells <= {*_TRUE, *_FALSE} and cells & {"true", "false"}:
        names = [row[0] for row in rows]
        columns = {
            side: [
                name for name, cell in zip(names, cells_of, strict=True) if cell.lower() in _TRUE
            ]
            for side, cells_of in columns.items()
        }
    # survival splits repeat a patient once for each of its slides
    return {side: list(dict.fromkeys(filter(None, map(slide_id, column))))
            for side, column in columns.items()}  # fmt: skip


def _slides(
    names: Sequence[str],
    table: Mapping[str, SlideRow],
    members: Mapping[str, list[str]],
    where: str,
) -> list[str]:
    unknown = [name for name in names if name not in table and name not in members]
    if unknown:
        raise BadDataError(
            f"{where} names {len(unknown)} slides that the table lacks: {_shown(unknown)}. "
            "Expected ids of the column slide_id or case_id; add rows, or mend the split."
        )
    slides = [slide for name in names for slide in ([name] if name in table else members[name])]
    return list(dict.fromkeys(slides))


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
