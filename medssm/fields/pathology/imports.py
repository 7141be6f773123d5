"""Import slides, feature files or a table of bags: registered where they lie, with their labels."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medssm.core.errors import BadDataError, UsageError
from medssm.core.inert import file_name
from medssm.core.log import progress, say
from medssm.data.bags import SlideRow, find_bags, read_slide_table, write_bag, write_slide_table
from medssm.runs.datasets import register_dataset
from medssm.runs.workspace import Workspace

LABELS = "labels.csv"
WORDS = ("labels",)


def import_source(
    kind: str, source: Path, home: Path, name: str | None, words: Mapping[str, Any]
) -> Workspace:
    """Register a source of bags.

    Args:
        kind: "slides" or "features" (a folder), or "bags" (a CSV without a header: class, bag,
            features).
        source: The folder or the file.
        home: The folder for raw/, preprocessed/ and results/.
        name: DatasetNNN_Name, or None.
        words: ``labels``: the table, where it is not labels.csv in the folder.

    Raises:
        BadDataError: Nothing to read there.
        UsageError: An unknown word.
    """
    unknown = sorted(set(words) - set(WORDS))
    if unknown:
        raise UsageError(f"medssm import {kind}: unknown word {unknown[0]!r}; expected labels=CSV.")
    source = Path(source).expanduser().absolute()
    if kind == "bags":
        return _import_bags(source, home, name)
    if not source.is_dir():
        raise BadDataError(f"{source}: no such folder. Expected a folder of {kind}.")
    labels = find_labels(source, words.get("labels"))
    read_slide_table(labels)
    content = {"kind": kind, "labels": str(labels)}
    return register_dataset(home, source, "pathology", name, content)


def find_labels(source: Path, wish: str | None) -> Path:
    """The table of a source: the one that is named, labels.csv, or the only one with slide ids.

    Raises:
        BadDataError: There is none, or there are several.
    """
    if wish is not None:
        # as a manifest writes it: beside the slides; else from where the command runs
        for file in (source / wish, Path(wish).expanduser().absolute()):
            if file.is_file():
                return file
        raise BadDataError(f"{wish}: there is no such table (labels=…), here or in {source}.")
    for folder in (source, source.parent):
        if (folder / LABELS).is_file():
            return folder / LABELS
    found = [file for file in sorted(source.glob("*.csv")) if _names_slides(file)]
    if len(found) != 1:
        raise BadDataError(
            f"{source}: {len(found)} tables with the column slide_id. Expected labels.csv, or say "
            "which with labels=FILE."
        )
    return found[0]


def _names_slides(file: Path) -> bool:
    with file.open(encoding="utf-8-sig", errors="replace") as stream:
        return "slide_id" in stream.readline()


def recognise(folder: Path) -> str | None:
    """The kind of a raw folder of slides or features with a table, or None."""
    if not any(_names_slides(file) for file in folder.glob("*.csv")):
        return None
    try:
        find_bags(folder)
    except BadDataError:
        from medssm.data.slides import find_slides

        try:
            return "slides" if find_slides(folder) else None
        except BadDataError:
            return None
    return "features"


def _import_bags(source: Path, home: Path, name: str | None) -> Workspace:
    """Write one feature file a bag under the data set's raw folder, and the table."""
    bags = read_bag_table(source)
    workspace = register_dataset(home, source, "pathology", name, {"kind": "bags"})
    folder = workspace.raw_folder / "bags"
    for bag, (_, features) in progress(bags.items(), len(bags), "bags"):
        write_bag(folder / f"{bag}.h5", features, None)
    rows = [SlideRow(bag, bag, label) for bag, (label, _) in bags.items()]
    labels = write_slide_table(workspace.raw_folder / LABELS, rows)
    say("%s: %d bags", source, len(bags))
    content = {"kind": "bags", "labels": str(labels), "bags": str(folder)}
    return register_dataset(home, source, "pathology", workspace.dataset, content)


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
