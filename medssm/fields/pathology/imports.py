"""Import slides, feature files or a table of bags: registered where they lie, with their labels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medssm.core.errors import BadDataError, UsageError
from medssm.core.log import progress, say
from medssm.data.bags import (
    SlideRow,
    find_bags,
    read_bag_table,
    read_slide_table,
    write_bag,
    write_slide_table,
)
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
