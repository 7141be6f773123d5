"""Where `conf/` and `data_manifests/` lie: beside the package, or inside it in a wheel."""

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
