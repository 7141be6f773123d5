"""The proof of a bundle: MONAI alone checks and runs it, in processes without a network."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from medssm.core.errors import MachineError, MedssmError
from medssm.core.extras import require

# no program of the proof may fetch anything
_NOWHERE = "http://127.0.0.1:9"
_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "no_proxy": "",
    "http_proxy": _NOWHERE,
    "https_proxy": _NOWHERE,
}
_ABSENT = 'raise ImportError("medssm is hidden: this bundle must stand on its own")\n'


def check_tools() -> None:
    """Ask for what MONAI's own checks need, before any work.

    Raises:
        MachineError: A package is missing; the message says which extra brings it.
    """
    for module in ("fire", "jsonschema", "ignite"):
        require(module, "export")


def verify_metadata(bundle: Path, schema: Path) -> None:
    """Let MONAI hold metadata.json against a copy of its schema."""
    _monai(bundle, ["verify_metadata", "--meta_file", "configs/metadata.json",
                    "--filepath", str(schema)])  # fmt: skip


def verify_in_out(bundle: Path, hidden: Path | None) -> None:
    """Let MONAI run the network on the input that metadata.json describes."""
    _monai(bundle, ["verify_net_in_out", "network_def", "--meta_file", "configs/metadata.json",
                    "--config_file", "configs/inference.json"], hidden)  # fmt: skip


def run_inference(
    bundle: Path, images: Path, output: Path, hidden: Path | None, **more: object
) -> None:
    """Let MONAI predict a folder of images; more are settings of the configuration by name."""
    words = [word for name, value in more.items() for word in (f"--{name}", str(value))]
    _monai(bundle, ["run", "--meta_file", "configs/metadata.json",
                    "--config_file", "configs/inference.json", "--bundle_root", str(bundle),
                    "--dataset_dir", str(images), "--output_dir", str(output), *words],
           hidden)  # fmt: skip


def hide_medssm(folder: Path) -> Path:
    """A folder that, first on the path, makes medssm impossible to import."""
    place = folder / "medssm"
    place.mkdir(parents=True, exist_ok=True)
    (place / "__init__.py").write_text(_ABSENT, encoding="utf-8")
    return folder


def _monai(bundle: Path, words: Sequence[str], hidden: Path | None = None) -> None:
    """Run a verb of monai.bundle inside a bundle.

    Raises:
        MachineError: The process was killed.
        MedssmError: It ended with an error; the message holds its last lines.
    """
    path = [str(hidden)] if hidden else []
    environment = {
        **os.environ, **_OFFLINE, "PYTHONPATH": os.pathsep.join([*path, str(bundle)]),
    }  # fmt: skip
    command = [sys.executable, "-W", "ignore", "-m", "monai.bundle", *words]
    done = subprocess.run(
        command, cwd=bundle, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode < 0:
        raise MachineError(f"monai.bundle {words[0]} was ended by signal {-done.returncode}.")
    if done.returncode:
        told = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise MedssmError(f"{bundle}: monai.bundle {words[0]} refused it:\n{told}")


def write_schema(folder: Path) -> Path:
    """The fields that MONAI's schema demands, as a JSON schema of our own."""
    text = {"type": "string"}
    entry = {
        "type": "object",
        "properties": {
            "type": text, "format": text, "num_channels": {"type": "integer"},
            "spatial_shape": {"type": "array", "items": {"type": ["string", "integer"]}},
            "dtype": text, "value_range": {"type": "array", "items": {"type": "number"}},
        },
        "required": ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range"],
    }  # fmt: skip
    plain = {"type": ["number", "string", "boolean"]}
    tensors = {"type": "object", "additionalProperties": {"anyOf": [plain, entry]}}
    names = ("schema", "version", "monai_version", "pytorch_version", "numpy_version", "task",
             "description", "authors", "copyright")  # fmt: skip
    schema = {
        "$schema": "https://json-schema.org/draft/2019-09/schema",
        "type": "object",
        "properties": {
            **dict.fromkeys(names, text),
            "required_packages_version": {"type": "object"},
            "network_data_format": {
                "type": "object",
                "properties": {"inputs": tensors, "outputs": tensors},
                "required": ["inputs", "outputs"],
            },
        },
        "required": [*names, "required_packages_version", "network_data_format"],
    }
    file = folder / "meta_schema.json"
    file.write_text(json.dumps(schema, indent=1), encoding="utf-8")
    return file
