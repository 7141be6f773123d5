"""Data sets under the home folder: registered where they lie, each with the field it is for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medssm.core.errors import BadDataError
from medssm.core.files import read_json, write_json
from medssm.data.layouts import dataset_name
from medssm.runs.workspace import Workspace

DEFAULT_FIELD = "segmentation"


def register_dataset(
    home: Path,
    source: Path,
    field: str,
    name: str | None = None,
    content: Mapping[str, Any] | None = None,
) -> Workspace:
    """Write HOME/raw/DatasetNNN_Name/dataset.json for a source; nothing is copied.

    Args:
        home: The folder for raw/, preprocessed/ and results/.
        source: Where the data lies; the same source keeps its number.
        field: What is learned from it, e.g. "ecg".
        name: DatasetNNN_Name; None makes it of the folder's name and a free number.
        content: What the field wants to remember beside.

    Raises:
        BadDataError: The name is taken by a data set of another field.
        UsageError: The name is no DatasetNNN_Name.
    """
    home, source = (Path(each).expanduser().absolute() for each in (home, source))
    found = dataset_name(name, source, home)
    folder = home / "raw" / found
    file = folder / "dataset.json"
    if file.is_file() and (before := field_of_folder(folder)) != field:
        raise BadDataError(
            f"{file}: holds a data set of the field {before!r}, found while registering {source} "
            f"for {field!r}. Take another name with --name DatasetNNN_Name."
        )
    facts = {"name": found, "field": field, "source": str(source), **dict(content or {})}
    if not file.is_file() or read_json(file) != facts:
        write_json(file, facts)
    return Workspace(home, found, folder)


def field_of_folder(folder: Path) -> str:
    """The field that a folder's dataset.json names; segmentation where it names none.

    Raises:
        BadDataError: The file cannot be read.
    """
    return str(read_json(folder / "dataset.json").get("field", DEFAULT_FIELD))


def source_of(workspace: Workspace) -> Path:
    """Where the data of a registered data set lies.

    Raises:
        BadDataError: dataset.json names no source, or it is gone.
    """
    file = workspace.raw_folder / "dataset.json"
    content = read_json(file)
    if "source" not in content:
        return workspace.raw_folder
    source = Path(str(content["source"]))
    if not source.exists():
        raise BadDataError(
            f"{file}: its source {source} is not there. Put the data back, or import it from "
            "where it lies now with the same --name."
        )
    return source
