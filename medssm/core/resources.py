"""Where `conf/` and `data_manifests/` lie: beside the package, or inside it in a wheel."""

from importlib.metadata import distribution
from pathlib import Path

from medssm.core.errors import MachineError


def resource_folder(name: str) -> Path:
    """Find a folder that ships with the package.

    Raises:
        MachineError: The installation is incomplete.
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package / name, package.parent / name):
        if folder.is_dir():
            return folder
    raise MachineError(f"{name}/ is missing beside or inside {package}; install medssm again.")


def conf_folder() -> Path:
    """The Hydra configuration groups."""
    return resource_folder("conf")


def manifests_folder() -> Path:
    """The manifests of public data sets."""
    return resource_folder("data_manifests")


def licence_text() -> str:
    """The licence of this package, to go along with what is copied from it.

    Raises:
        MachineError: The installation is incomplete.
    """
    beside = Path(__file__).resolve().parent.parent.parent / "LICENSE"
    if beside.is_file():
        return beside.read_text(encoding="utf-8")
    found = distribution("medssm").read_text("licenses/LICENSE")
    if found is None:
        raise MachineError("the LICENSE of medssm is missing; install medssm again.")
    return found
