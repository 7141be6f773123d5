"""Manifests of public data sets: where to get them, under which licence, how to import them."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from medssm.core.errors import BadDataError
from medssm.core.resources import manifests_folder
from medssm.core.signature import make


@dataclass(frozen=True)
class PublicFile:
    """One file of a data set, where its size and hash are known."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class PublicDataset:
    """What a manifest says of a public data set.

    Args:
        name: DatasetNNN_Name under which it is imported.
        title: Its own name.
        homepage: Where to get it; it is never downloaded by itself.
        licence: An SPDX name; or "unconfirmed: " and what is known and where to read the terms.
        layout: How it lies on disk once unpacked.
        field: What is learned from it.
        modality: Such as CT or MRI.
        channels: Names of the channels in order.
        labels: Label name to value.
        import_command: The command that registers it.
        steps: How to get it, where that is more than a download.
        splits: How the papers split it, and what comes out of the import.
        recipes: Files of conf/experiment that train on it.
        files: Known files.
        content: How many scans of what, in which format.
        downstream: Which part of it is a test set elsewhere, so that no pre-training may see it.
    """

    name: str
    title: str
    homepage: str
    licence: str
    layout: Literal[
        "folder", "msd", "nnunet", "isic", "lungs", "synapse", "acdc", "lits", "slides", "kspace",
        "archive", "ecg",
    ]  # fmt: skip
    field: str
    modality: str
    channels: tuple[str, ...]
    labels: Mapping[str, Any]
    import_command: str
    steps: tuple[str, ...] = ()
    splits: str = ""
    recipes: tuple[str, ...] = ()
    files: tuple[Mapping[str, Any], ...] = dataclasses.field(default_factory=tuple)
    content: str = ""
    downstream: str = ""


def read_public(file: Path) -> PublicDataset:
    """Read one manifest.

    Raises:
        BadDataError: It is no YAML mapping.
        UsageError: A key is unknown, missing or of the wrong type.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise BadDataError(f"{file}: not valid YAML ({error}).") from None
    if not isinstance(content, dict):
        raise BadDataError(f"{file}: holds {type(content).__name__}. Expected keys with values.")
    content["import_command"] = content.pop("import", None)
    dataset: PublicDataset = make(PublicDataset, content, str(file.name))
    for each in dataset.files:
        make(PublicFile, each, f"{file.name}: files")
    return dataset


def public_datasets() -> dict[str, PublicDataset]:
    """All manifests that ship with the package, by file name."""
    return {file.stem: read_public(file) for file in sorted(manifests_folder().glob("*.yaml"))}
