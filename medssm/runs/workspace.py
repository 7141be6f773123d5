"""Every path that a run reads or writes, from one data set and one home folder."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from medssm.core.errors import BadDataError, UsageError, nearest
from medssm.core.files import read_json
from medssm.core.log import say

DATASET_NAME = re.compile(r"^Dataset\d{3}_\w[\w.-]*$")


@dataclass(frozen=True)
class Workspace:
    """Where one data set lies and where everything made from it goes.

    Args:
        home: The folder that holds raw/, preprocessed/ and results/.
        dataset: The data set's name, DatasetNNN_Name.
        raw_folder: The folder with dataset.json; it may lie anywhere.
        preprocessed_folder: A preprocessed folder outside of home, as stock nnU-Net left it.
    """

    home: Path
    dataset: str
    raw_folder: Path
    preprocessed_folder: Path | None = None

    @property
    def preprocessed(self) -> Path:
        """The folder in nnU-Net's preprocessed format: plans, splits and stores."""
        return self.preprocessed_folder or self.home / "preprocessed" / self.dataset

    @property
    def results(self) -> Path:
        """The folder of all model folders of this data set."""
        return self.home / "results" / self.dataset

    @property
    def has_raw(self) -> bool:
        """Whether the raw images are there, or only what a preprocessing left."""
        return self.raw_folder != self.preprocessed

    def plans_file(self, plans_name: str) -> Path:
        """The plan of that name."""
        return self.preprocessed / f"{plans_name}.json"

    def store(self, data_identifier: str) -> Path:
        """The folder of the preprocessed cases of one configuration."""
        return self.preprocessed / data_identifier

    def model_folder(self, run_name: str) -> Path:
        """The folder that `predict` takes."""
        return self.results / run_name

    def fold_folder(self, run_name: str, fold: int | str) -> Path:
        """The folder of one fold's weights, curves and validation."""
        return self.model_folder(run_name) / f"fold_{fold}"


def open_workspace(dataset: str, home: Path) -> Workspace:
    """Find a data set by path, name or number; import a plain or MSD folder on the way.

    Args:
        dataset: A folder (nnU-Net raw, nnU-Net preprocessed, images/ + labels/, MSD), or a name
            or number of a data set under `home`.
        home: The folder for raw/, preprocessed/ and results/.

    Raises:
        UsageError: There is no such data set; the message offers the nearest.
        BadDataError: The folder is none of the known layouts.
    """
    home = Path(home).expanduser().absolute()
    # without following links: a linked data set keeps the name of its link
    folder = Path(os.path.normpath(Path(dataset).expanduser().absolute()))
    if folder.is_dir():
        return _open_folder(folder, home)
    if folder.name == "dataset.json" and folder.is_file():
        return _open_folder(folder.parent, home)
    return _open_named(dataset, home)


def _open_folder(folder: Path, home: Path) -> Workspace:
    if _is_preprocessed(folder):
        return Workspace(home, _name_of(folder), folder, preprocessed_folder=folder)
    from medssm.data.layouts import import_dataset, recognise_layout, renew_import

    kind = recognise_layout(folder)
    if kind == "nnunet":
        renew_import(folder)
        return Workspace(home, _name_of(folder), folder)
    if kind is None:
        raise BadDataError(
            f"{folder}: not a data set that medssm knows. Expected dataset.json with imagesTr/ and "
            "labelsTr/ (nnU-Net or MSD), plans beside dataset.json (nnU-Net preprocessed), or the "
            "folders images/ and labels/. See: medssm import --help"
        )
    imported = _imported_before(folder, home)
    if imported is None:
        imported = import_dataset(kind, folder, home, None).folder
        say("imported %s as %s (nothing copied)", folder, imported.name)
    renew_import(imported)
    return Workspace(home, imported.name, imported)


def _is_preprocessed(folder: Path) -> bool:
    """Whether a folder is what an nnU-Net preprocessing leaves."""
    return (folder / "dataset.json").is_file() and (
        (folder / "dataset_fingerprint.json").is_file() or any(folder.glob("*[pP]lans*.json"))
    )


def _name_of(folder: Path) -> str:
    if DATASET_NAME.match(folder.name):
        return folder.name
    name = str(read_json(folder / "dataset.json").get("name", ""))
    if DATASET_NAME.match(name):
        return name
    raise BadDataError(
        f"{folder}: the folder is called {folder.name!r}; expected DatasetNNN_Name with three "
        "digits. Rename it, or link it under a new name with: "
        f"medssm import nnunet {folder} --name Dataset001_{_word(folder.name)}"
    )


def _word(text: str) -> str:
    return re.sub(r"\W+", "", text.title()) or "Name"


def _imported_before(source: Path, home: Path) -> Path | None:
    """The data set under home that was imported from this very folder."""
    for file in sorted((home / "raw").glob("Dataset*/dataset.json")):
        if read_json(file).get("source") == str(source):
            return file.parent
    return None


def datasets_under(home: Path) -> dict[str, Path]:
    """The data sets of a home folder, name to folder, raw ones first."""
    found: dict[str, Path] = {}
    for part in ("raw", "preprocessed"):
        for file in sorted((home / part).glob("Dataset*/dataset.json")):
            found.setdefault(file.parent.name, file.parent)
    return dict(sorted(found.items()))


def _open_named(dataset: str, home: Path) -> Workspace:
    known = datasets_under(home)
    names = [dataset]
    if dataset.isdigit():
        names = [name for name in known if name.startswith(f"Dataset{int(dataset):03d}_")]
    if len(names) > 1:
        raise UsageError(
            f"number {dataset} stands for {' and '.join(names)} under {home}; write the whole name."
        )
    if not names or names[0] not in known:
        raise UsageError(
            f"there is no folder and no data set {dataset!r} under {home}; "
            f"{nearest(dataset, known)} Import one with: medssm import folder SRC"
        )
    folder = known[names[0]]
    if folder.parent == home / "preprocessed":
        return Workspace(home, names[0], folder, preprocessed_folder=folder)
    from medssm.data.layouts import renew_import

    renew_import(folder)
    return Workspace(home, names[0], folder)
