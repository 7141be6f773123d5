"""Weights to start from: what fits is taken, what does not is named."""

from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn

from medssm.core.errors import BadDataError, UsageError
from medssm.networks.keymaps import keymap_of, read_checkpoint_file, translate
from medssm.training.checkpoints import WEIGHTS


def load_initial_weights(network: nn.Module, source: Path) -> str:
    """Copy the tensors that fit by name and shape into a network.

    Args:
        network: Gets the weights.
        source: A model folder (its first fold), a .safetensors file, a checkpoint of ours, or one
            of the authors' of a network: its trained weights or its pretrained encoder.

    Returns:
        A sentence that says what was taken and what was left.

    Raises:
        BadDataError: The file is missing or damaged, or nothing fits; of an author's weights,
            anything but the head does not.
    """
    file = _weights_file(source)
    weights = _read(file)
    own = network.state_dict()
    fitting = {k: v for k, v in weights.items() if k in own and own[k].shape == v.shape}
    if not fitting:
        return _from_authors(network, weights, file)
    network.load_state_dict(fitting, strict=False)
    fresh = sorted(set(own) - set(fitting))
    left = sorted(set(weights) - set(fitting))
    text = f"Starting from {file}: {len(fitting)} of {len(own)} tensors taken"
    if fresh:
        text += f"; new: {', '.join(fresh[:4])}{', …' if len(fresh) > 4 else ''}"
    if left:
        text += f"; left over: {', '.join(left[:4])}{', …' if len(left) > 4 else ''}"
    return text + "."


def _from_authors(network: nn.Module, weights: dict[str, Any], file: Path) -> str:
    """Fill a network from weights under the names of its authors, all but the head or nothing."""
    try:
        name = keymap_of(network, weights)
    except UsageError:
        raise BadDataError(
            f"{file}: none of its {len(weights)} entries fits the network. Expected names such as "
            f"{next(iter(network.state_dict()))!r}; found {list(weights)[:3]}."
        ) from None
    fitted, report = translate(name, network, weights, new_head=True)
    report.raise_unless_complete()
    network.load_state_dict(fitted, strict=False)
    return f"Starting from {file}, weights of {name}'s authors: {report.describe()}."


def _weights_file(source: Path) -> Path:
    if source.is_dir():
        found = sorted([source / WEIGHTS, *source.glob(f"fold_*/{WEIGHTS}")])
        found = [file for file in found if file.is_file()]
        if not found:
            raise BadDataError(f"{source}: holds no {WEIGHTS} to start from.")
        return found[0]
    if not source.is_file():
        raise BadDataError(f"{source}: no such file to start from.")
    return source


def _read(file: Path) -> dict[str, Tensor]:
    if file.suffix == ".safetensors":
        try:
            return dict(load_file(file))
        except Exception as error:
            raise BadDataError(f"{file}: not a whole safetensors file ({error}).") from error
    content = dict(read_checkpoint_file(file))
    average = content.get("ema", {}).get("average")
    return dict(average or content.get("network_weights", content))
