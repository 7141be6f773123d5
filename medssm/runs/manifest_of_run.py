"""What a run was: what was asked for, with which versions, on which inputs."""

import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from medssm import __version__
from medssm.core.files import write_json

FILE = "run.json"
PACKAGES = (
    "torch",
    "monai",
    "lightning",
    "nnunetv2",
    "batchgeneratorsv2",
    "hydra-core",
    "numpy",
    "SimpleITK",
    "nibabel",
    "blosc2",
)


def versions() -> dict[str, str]:
    """Versions of medssm, Python and the packages that can change a result."""
    found = {"medssm": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def environment() -> dict[str, Any]:
    """The machine and the versions, as plain data for a report."""
    return {
        "versions": versions(),
        "system": platform.platform(),
        "machine": platform.machine(),
        "executable": Path(sys.executable).name,
    }


def write_manifest(
    folder: Path, dataset: str, overrides: Sequence[str], inputs: Mapping[str, str]
) -> Path:
    """Save run.json beside the configuration of a run: what it takes to make the run again.

    Args:
        folder: The folder of the run.
        dataset: The data set's name.
        overrides: What was asked for, the chosen budget among it.
        inputs: Name of an input to the hash of its content.

    Returns:
        The file.
    """
    content = {
        "dataset": dataset,
        "overrides": list(overrides),
        "inputs": dict(inputs),
        **environment(),
    }
    write_json(folder / FILE, content)
    return folder / FILE
