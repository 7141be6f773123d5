"""What a run was: its configuration, overrides, versions and the hashes of its inputs."""

import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import yaml

from medssm import __version__
from medssm.core.errors import UsageError
from medssm.core.files import digest, read_json, write_json, write_text

State = Literal["running", "done", "interrupted", "failed"]
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


@dataclass(frozen=True)
class RunRecord:
    """What it takes to make a run again.

    Args:
        config: The resolved configuration, plain data.
        overrides: What the user asked for, as typed.
        command: The words of the command line.
        inputs: Name of an input to the hash of its content.
    """

    config: Mapping[str, Any]
    overrides: Sequence[str] = ()
    command: Sequence[str] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)


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


def write_record(folder: Path, record: RunRecord) -> None:
    """Save config.yaml and environment.json into the folder of a run."""
    text = yaml.safe_dump(_plain(record.config), sort_keys=False)
    write_text(folder / "config.yaml", text)
    content = environment() | {
        "overrides": list(record.overrides),
        "command": list(record.command),
        "inputs": dict(record.inputs),
        "config_digest": digest(_plain(record.config)),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_json(folder / "environment.json", content)


def write_status(folder: Path, state: State, **facts: Any) -> None:
    """Say in status.json how a run stands."""
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(folder / "status.json", {"state": state, "time": moment, **facts})


def read_status(folder: Path) -> dict[str, Any]:
    """How the run of a folder stands; an empty mapping where nothing ran yet.

    Raises:
        UsageError: status.json is not an object.
    """
    file = folder / "status.json"
    if not file.is_file():
        return {}
    content = read_json(file)
    if not isinstance(content, dict):
        raise UsageError(f"{file}: expected an object; delete the file and run again.")
    return content


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value
