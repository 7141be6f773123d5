"""A data set as its dataset.json says it: cases, channels, labels, patients."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medssm.core.errors import BadDataError
from medssm.core.files import is_temporary, read_json
from medssm.core.inert import file_ending, file_name
from medssm.data.labels import Labels, read_labels

_CHANNEL = re.compile(r"^(?P<case>.+)_(?P<channel>\d{4})$")


@dataclass(frozen=True)
class Case:
    """One labelled image.

    Args:
        name: The case's identifier.
        images: One file a channel, in channel order.
        label: The label map, or None where there is none.
        patient: Whose case it is; splits keep a patient on one side.
    """

    name: str
    images: tuple[Path, ...]
    label: Path | None
    patient: str


@dataclass(frozen=True)
class Manifest:
    """A data set in nnU-Net's raw format, wherever its files lie.

    Args:
        name: DatasetNNN_Name.
        folder: Where dataset.json lies.
        field: What is learned from it, e.g. "segmentation".
        channels: Channel index to name; the name decides the normalisation.
        labels: What label values mean.
        file_ending: Such as ".nii.gz".
        cases: Training cases by name, sorted.
        content: The whole dataset.json.
    """

    name: str
    folder: Path
    field: str
    channels: Mapping[str, str]
    labels: Labels
    file_ending: str
    cases: Mapping[str, Case]
    content: Mapping[str, Any]

    def without(self, names: frozenset[str] | set[str]) -> "Manifest":
        """The same data set without some cases."""
        kept = {name: case for name, case in self.cases.items() if name not in names}
        return replace(self, cases=kept)


def read_manifest(folder: Path) -> Manifest:
    """Read a data set's dataset.json.

    Raises:
        BadDataError: The file is missing, cut off, or breaks a rule of the format.
    """
    folder = Path(folder).absolute()
    file = folder / "dataset.json"
    content = read_json(file)
    if not isinstance(content, Mapping):
        raise BadDataError(f"{file}: holds a {type(content).__name__}. Expected an object.")
    ending = file_ending(content.get("file_ending"), file)
    channels = content.get("channel_names", content.get("modality"))
    if not isinstance(channels, Mapping) or not channels:
        raise BadDataError(f'{file}: channel_names is missing. Expected {{"0": "CT"}}.')
    patients = content.get("patients", {})
    listed = content.get("dataset")
    cases = (
        _listed_cases(listed, folder, file, patients)
        if isinstance(listed, Mapping)
        else _found_cases(folder, ending, patients)
    )
    return Manifest(
        name=folder.name,
        folder=folder,
        field=str(content.get("field", "segmentation")),
        channels={str(key): str(value) for key, value in channels.items()},
        labels=read_labels(content, str(file)),
        file_ending=ending,
        cases={name: cases[name] for name in sorted(cases)},
        content=content,
    )


def _listed_cases(
    listed: Mapping[str, Any], folder: Path, file: Path, patients: Mapping[str, str]
) -> dict[str, Case]:
    cases = {}
    for name, entry in listed.items():
        file_name(name, "the name of a case", file)
        if not isinstance(entry, Mapping) or not isinstance(entry.get("images"), list):
            raise BadDataError(
                f'{file}: case {name!r} is {entry!r}. Expected {{"images": [...], "label": ...}}.'
            )
        label = entry.get("label")
        cases[name] = Case(
            name=name,
            images=tuple(_resolve(folder, image) for image in entry["images"]),
            label=_resolve(folder, label) if label else None,
            patient=str(patients.get(name, name)),
        )
    return cases


def _resolve(folder: Path, path: str) -> Path:
    return Path(path) if Path(path).is_absolute() else (folder / path).resolve()


def _found_cases(folder: Path, ending: str, patients: Mapping[str, str]) -> dict[str, Case]:
    images: dict[str, dict[int, Path]] = {}
    for path in sorted((folder / "imagesTr").glob(f"*{ending}")):
        match = _CHANNEL.match(path.name[: -len(ending)])
        if match and not is_temporary(path):
            images.setdefault(match["case"], {})[int(match["channel"])] = path
    cases = {}
    for name, channels in images.items():
        label = folder / "labelsTr" / f"{name}{ending}"
        cases[name] = Case(
            name=name,
            images=tuple(channels[key] for key in sorted(channels)),
            label=label if label.exists() else None,
            patient=str(patients.get(name, name)),
        )
    return cases
