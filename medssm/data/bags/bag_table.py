"""A table of bags: one row an instance, with the class and the bag that it belongs to."""

import csv
from pathlib import Path

import numpy as np

from medssm.core.errors import BadDataError
from medssm.core.inert import file_name


def read_bag_table(file: Path) -> dict[str, tuple[str, np.ndarray]]:
    """Read bags from a table without a header: class, bag, then the features of an instance.

    Returns:
        Class and features by bag, in the order of the file.

    Raises:
        BadDataError: No such file, rows of different width, what is no number, or a bag of two
            classes; the message names the line.

    Shape:
        features: (N, D).
    """
    if not file.is_file():
        raise BadDataError(f"{file}: there is no such table of bags.")
    rows: dict[str, list[np.ndarray]] = {}
    labels: dict[str, str] = {}
    with file.open(newline="", encoding="utf-8-sig") as stream:
        for line, cells in enumerate(csv.reader(stream), 1):
            if len(cells) < 3:
                raise BadDataError(
                    f"{file}, line {line}: {len(cells)} columns. Expected class, bag, features."
                )
            label, bag = (_id(cell) for cell in cells[:2])
            file_name(bag, f"the bag of line {line}", file)
            if labels.setdefault(bag, label) != label:
                raise BadDataError(
                    f"{file}, line {line}: bag {bag!r} is of class {label!r} here and of class "
                    f"{labels[bag]!r} above. Expected one class a bag."
                )
            rows.setdefault(bag, []).append(_numbers(cells[2:], f"{file}, line {line}"))
    widths = {len(each) for bag in rows.values() for each in bag}
    if len(widths) != 1:
        raise BadDataError(f"{file}: rows of {sorted(widths)} features. Expected one width.")
    return {bag: (labels[bag], np.stack(each)) for bag, each in rows.items()}


def _id(cell: str) -> str:
    """An id as text; numbers as tables write them lose their .0."""
    text = cell.strip()
    return text[:-2] if text.endswith(".0") and text[:-2].lstrip("-").isdigit() else text


def _numbers(cells: list[str], where: str) -> np.ndarray:
    try:
        values = np.array(cells, dtype=np.float32)
    except ValueError:
        raise BadDataError(f"{where}: a feature is no number.") from None
    if not np.isfinite(values).all():
        raise BadDataError(f"{where}: a feature is NaN or infinite.")
    return values
