"""Import of a folder of records: registered where it lies, nothing is copied."""

from collections import Counter
from itertools import islice
from pathlib import Path

from medssm.core.errors import BadDataError, UsageError
from medssm.data.ecg.header import read_header
from medssm.data.ecg.leads import canonical_lead
from medssm.data.ecg.read import find_records, format_of
from medssm.runs.answer import Answer
from medssm.runs.datasets import register_dataset
from medssm.runs.field import ImportRequest

# how far a raw folder is looked into before it is called no folder of records
_LOOK_AT = 400


def import_ecg(request: ImportRequest) -> Answer:
    """Register a folder of records.

    Raises:
        BadDataError: It is no folder, or holds no record.
        UsageError: A word that this import does not take.
    """
    if request.overrides:
        raise UsageError(f"medssm import ecg SOURCE: unexpected word {request.overrides[0]!r}.")
    if request.flags:
        raise UsageError(f"medssm import ecg SOURCE: --{next(iter(request.flags))} does not apply.")
    source = Path(request.source).expanduser().absolute()
    if not source.is_dir():
        raise BadDataError(f"{source}: no such folder. Expected a folder of ECG records.")
    files = find_records(source)
    if not files:
        raise BadDataError(
            f"{source}: no record in it. Expected .hea with .mat or .dat, DICOM, EDF, MUSE XML, "
            "HDF5, CSV or .npy files."
        )
    formats = dict(Counter(str(format_of(file)) for file in files).most_common())
    workspace = register_dataset(request.home, source, "ecg", request.name, {"formats": formats})
    facts = {"dataset": workspace.dataset, "records": len(files), "formats": formats}
    kinds = ", ".join(f"{count} {name}" for name, count in formats.items())
    return Answer(
        facts,
        [f"{workspace.dataset}: {len(files)} records ({kinds})"],
        [workspace.raw_folder / "dataset.json"],
        ("medssm", "train", workspace.dataset),
    )


def recognise(folder: Path) -> str | None:
    """The word ecg for a folder of records; only files that can be nothing else decide."""
    if (folder / "ptbxl_database.csv").is_file():
        return "ecg"
    for path in islice(folder.rglob("*"), _LOOK_AT):
        if path.suffix.lower() in (".hea", ".edf", ".xml") and _is_ecg(path):
            return "ecg"
    return None


def _is_ecg(path: Path) -> bool:
    """A header or an EDF with a lead, or an XML of MUSE."""
    try:
        if path.suffix.lower() == ".hea":
            return any(canonical_lead(line.name) for line in read_header(path).lines)
        with path.open("rb") as stream:
            start = stream.read(8192)
    except (BadDataError, OSError):
        return False
    if path.suffix.lower() == ".xml":
        return b"<RestingECG" in start
    labels = start[256:].decode("ascii", errors="replace")
    return any(canonical_lead(labels[at : at + 16]) for at in range(0, 64 * 16, 16))
