"""What was predicted from what: a record beside every output tells a whole one from the rest."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medssm.core.errors import BadDataError
from medssm.core.files import RECORDS, read_json, sha256, write_json


@dataclass(frozen=True)
class PredictionRecord:
    """One predicted case.

    Args:
        case: Its name.
        key: Hash of model and settings.
        inputs: sha256 of every input file, by its path.
        outputs: sha256 of every output file, by its name.
        seconds: How long the case took.
    """

    case: str
    key: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    seconds: float


def record_file(folder: Path, case: str) -> Path:
    """Where the record of a case lies."""
    return folder / RECORDS / "predictions" / f"{case}.json"


def hash_files(files: Sequence[Path]) -> dict[str, str]:
    """sha256 of files, by path."""
    return {str(file): sha256(file) for file in files}


def write_record(folder: Path, record: PredictionRecord) -> None:
    """Write the record of a case; its outputs must be whole by now."""
    write_json(record_file(folder, record.case), asdict(record))


def read_record(folder: Path, case: str) -> PredictionRecord | None:
    """The record of a case, or None where there is none that can be read."""
    try:
        content: Any = read_json(record_file(folder, case))
        return PredictionRecord(**content)
    except (BadDataError, TypeError):
        return None


def why_again(folder: Path, case: str, key: str, inputs: Callable[[], Mapping[str, str]]) -> str:
    """Say why a case must be predicted (again); empty where its output is whole and fits.

    Args:
        folder: Of the predictions.
        case: Its name.
        key: Hash of model and settings.
        inputs: Gives sha256 of every input, by name.
    """
    record = read_record(folder, case)
    if record is None:
        return "no record of a finished prediction"
    if record.key != key:
        return "made with another model or other settings"
    for name, expected in record.outputs.items():
        output = folder / name
        if not output.is_file():
            return f"{name} is missing"
        if sha256(output) != expected:
            return f"{name} was damaged or changed"
    # the same content under another path is the same input
    if sorted(record.inputs.values()) != sorted(inputs().values()):
        return "its input has changed"
    return ""
