"""The tensors inside a checkpoint of another house: read safely, unwrapped, unprefixed."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from medssm.core.errors import BadDataError
from medssm.networks.keymaps.rules import COUNTER_LEFTOVERS
from medssm.networks.keymaps.trusted import read_trusted

WRAPPERS = ("network_weights", "state_dict", "model_state_dict", "model")
# DIRECT keeps a second network beside the first
BESIDE = ("sensitivity_model",)
PREFIXES = ("module.", "_orig_mod.", "_model.", "network.", "model.")
# nnU-Net keeps its curves as numpy numbers beside the weights: plain data, no code
NUMBERS = (
    np._core.multiarray.scalar,  # type: ignore[attr-defined]
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),  # type: ignore[attr-defined]
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1")),
)


def read_checkpoint_file(file: Path | str, *, trust: bool = False) -> Mapping[str, Any]:
    """A checkpoint file as plain data; nothing in it is run.

    Args:
        file: Safetensors, or what torch.save wrote.
        trust: Whether the user asked to have arrays and containers read, as `read_trusted` does,
            out of a file that holds more than tensors.

    Raises:
        BadDataError: There is no such file, it is damaged, or it holds more than plain data.
    """
    path = Path(file)
    if not path.is_file():
        raise BadDataError(f"{path}: there is no such file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        _check_sums(path)
        with torch.serialization.safe_globals(list(NUMBERS)):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if trust and isinstance(error, UnpicklingError):
            return read_trusted(path)
        raise BadDataError(
            f"{path} could not be read as a checkpoint of plain tensors "
            f"({type(error).__name__}{_told(error)}). A file that holds Python "
            f"objects is refused, because opening one can run any code. Save its state dict alone "
            f"with torch.save and give that; or medssm import ... --trust, which reads tensors, "
            f"arrays and containers out of it in a process of its own."
        ) from error
    if not isinstance(content, Mapping):
        raise BadDataError(f"{path} holds a {type(content).__name__}, expected a state dict")
    return content


def _told(error: Exception) -> str:
    """The first line of an error; torch's own on objects names the switch that would run them."""
    lines = str(error).splitlines()
    return f": {lines[0]}" if lines and not isinstance(error, UnpicklingError) else ""


def _check_sums(path: Path) -> None:
    """Compare the checksums of a zipped checkpoint; old ones are no archives and have none."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise BadDataError(f"damaged, the checksum of {damaged} does not fit")


def _beside(state: Mapping[str, object]) -> dict[str, Tensor]:
    """The weights of further networks, each key after the name of its network."""
    others = {name: inner for name in BESIDE if isinstance(inner := state.get(name), Mapping)}
    return {f"{name}.{key}": each for name, inner in others.items() for key, each in inner.items()}


def unwrap(state: Mapping[str, object]) -> dict[str, Tensor]:
    """Find the tensors in a checkpoint: take off wrappers and prefixes.

    Raises:
        BadDataError: There is no mapping of names to tensors inside.
    """
    for wrapper in WRAPPERS:
        inner = state.get(wrapper)
        if isinstance(inner, Mapping):
            return unwrap(inner) | _beside(state)
    tensors = {str(key): value for key, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise BadDataError(
            f"no weights found: expected tensors, or one of {', '.join(WRAPPERS)}; "
            f"found the keys {', '.join(map(str, list(state)[:5])) or '(none)'}"
        )
    weights = [key for key in tensors if not key.endswith(COUNTER_LEFTOVERS)]
    for prefix in PREFIXES:
        if weights and all(key.startswith(prefix) for key in weights):
            return unwrap({key.removeprefix(prefix): value for key, value in tensors.items()})
    return tensors
