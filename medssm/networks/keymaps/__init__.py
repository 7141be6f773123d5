"""Tables from official checkpoint keys to ours, and the one loader that uses them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from medssm.core.errors import BadDataError
from medssm.core.registry import Table
from medssm.networks import NETWORKS
from medssm.networks.keymaps.rules import KeyMap, LoadReport, unwrap

KEYMAPS = Table(
    "key map",
    {
        "lightm_unet": "medssm.networks.keymaps.lightm_unet:KEYMAP",
        "mhs_vm": "medssm.networks.keymaps.mhs_vm:KEYMAP",
        "msvm_unet": "medssm.networks.keymaps.msvm_unet:KEYMAP",
        "vm_unet": "medssm.networks.keymaps.vm_unet:KEYMAP",
    },
    "medssm.keymaps",
)

__all__ = ["KEYMAPS", "KeyMap", "LoadReport", "load_official", "to_official"]


def load_official(
    name: str,
    weights: Mapping[str, Any] | Path | str,
    *,
    allow_partial: bool = False,
    **hints: Any,
) -> tuple[nn.Module, LoadReport]:
    """Build the network that official weights belong to, and fill it.

    Args:
        name: A name that is both a network and a key map.
        weights: A state dict, a checkpoint that holds one, or its file.
        allow_partial: Accept missing and left-over keys; the report names them.
        **hints: Arguments of the network that overrule what the shapes say, or say what leaves no
            trace in them, e.g. ``mixer={"threshold": 0.4}`` for MHS-VM.

    Returns:
        The network in evaluation mode, and what happened to every key.

    Raises:
        BadDataError: The file is no checkpoint, or a key does not fit.
        UsageError: There is no such key map, or a hint does not fit.
    """
    keymap: KeyMap = KEYMAPS.load(name)
    state = unwrap(_read(weights) if isinstance(weights, str | Path) else weights)
    arguments = _merged(keymap.infer(state), hints)
    network: nn.Module = NETWORKS.build(**{"name": name, **arguments})
    fitted, report = keymap.to_ours(state, network.state_dict(), _rank(network))
    if not allow_partial:
        report.raise_unless_complete()
    network.load_state_dict(fitted, strict=False)
    return network.eval(), report


def _merged(inferred: Mapping[str, Any], hints: Mapping[str, Any]) -> dict[str, Any]:
    """Inferred arguments overruled by hints; a hint about the mixer names only what it changes."""
    merged = {**inferred, **hints}
    for name, hint in hints.items():
        known = inferred.get(name)
        if isinstance(hint, Mapping) and isinstance(known, Mapping):
            other = hint.get("name", known.get("name")) != known.get("name")
            merged[name] = dict(hint) if other else {**known, **hint}
    return merged


def to_official(name: str, network: nn.Module) -> dict[str, Tensor]:
    """Our weights under the official names and in the official shapes.

    Raises:
        BadDataError: A weight of ours has no official name.
    """
    keymap: KeyMap = KEYMAPS.load(name)
    return keymap.to_official(network.state_dict(), _rank(network))


def _rank(network: nn.Module) -> int:
    """Number of spatial axes of a network."""
    divisors: tuple[int, ...] = network.divisors  # type: ignore[assignment]
    return len(divisors)


def _read(file: Path | str) -> Mapping[str, Any]:
    """A checkpoint file as plain data."""
    path = Path(file)
    if not path.is_file():
        raise BadDataError(f"{path}: there is no such file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise BadDataError(
            f"{path} could not be read as a checkpoint of plain tensors "
            f"({type(error).__name__}: {str(error).splitlines()[0]}). A file that holds Python "
            f"objects is refused; save its state dict alone with torch.save."
        ) from error
    if not isinstance(content, Mapping):
        raise BadDataError(f"{path} holds a {type(content).__name__}, expected a state dict")
    return content
