"""Weights to start from: what fits is taken, what does not is named, tensor by tensor."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn

from medssm.core.errors import BadDataError, UsageError
from medssm.networks.keymaps import keymap_of, read_checkpoint_file, translate
from medssm.training.checkpoints import WEIGHTS
from medssm.training.pretrained import ENCODER, ENCODER_FACTS

# a pre-trained encoder of a network whose own keys do not say so
_PREFIX = "encoder."


@dataclass(frozen=True)
class Transfer:
    """What moved into a network.

    Args:
        file: Where it came from.
        moved: Our name to its name in the file.
        new: Our names that start fresh.
        left: Names in the file that nothing took, and why.
        note: What else is to be said.
    """

    file: Path
    moved: Mapping[str, str]
    new: tuple[str, ...]
    left: Mapping[str, str]
    note: str = ""

    def describe(self) -> str:
        """The transfer in a sentence."""
        if self.note:
            return self.note
        total = len(self.moved) + len(self.new)
        text = f"Starting from {self.file}: {len(self.moved)} of {total} tensors taken"
        for word, names in (("new", self.new), ("left over", tuple(self.left))):
            if names:
                text += f"; {word}: {', '.join(names[:4])}{', …' if len(names) > 4 else ''}"
        return text + "."

    def plain(self) -> dict[str, Any]:
        """Every tensor, as plain data for a file."""
        return {
            "file": str(self.file),
            "moved": dict(self.moved),
            "new": list(self.new),
            "left_over": dict(self.left),
        }


def load_initial_weights(network: nn.Module, source: Path) -> str:
    """Copy the tensors that fit by name and shape into a network.

    Args:
        network: Gets the weights.
        source: As for `transfer`.

    Returns:
        A sentence that says what was taken and what was left.

    Raises:
        BadDataError: As for `transfer`.
    """
    return transfer(network, source).describe()


def transfer(network: nn.Module, source: Path) -> Transfer:
    """Copy the tensors that fit by name and shape into a network.

    Args:
        network: Gets the weights.
        source: A model folder (a pre-trained encoder, or its first fold), a .safetensors file, a
            checkpoint of ours, or one of the authors' of a network: its trained weights or its
            pretrained encoder.

    Returns:
        What moved, what starts fresh and what was left.

    Raises:
        BadDataError: The file is missing or damaged, or nothing fits; of a pre-trained encoder
            anything does not, of an author's weights anything but the head.
    """
    file = _weights_file(source)
    weights = _read(file)
    own = network.state_dict()
    named = _under_names_of(own, weights)
    fitting = {
        name: key
        for name, key in named.items()
        if name in own and own[name].shape == weights[key].shape
    }
    if not fitting:
        return _from_authors(network, weights, file)
    left = {
        key: "of another shape" if name in own else "the network has no such tensor"
        for name, key in named.items()
        if name not in fitting
    }
    if file.name == ENCODER and left:
        key, why = next(iter(left.items()))
        raise BadDataError(
            f"{file}: {len(left)} of {len(weights)} tensors of the pre-trained encoder do not fit "
            f"the network, e.g. {key}: {why}. Give the network the arguments that "
            f"{ENCODER_FACTS} beside it names."
        )
    network.load_state_dict({name: weights[key] for name, key in fitting.items()}, strict=False)
    return Transfer(file, fitting, tuple(sorted(set(own) - set(fitting))), left)


def _under_names_of(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Our name to the file's; an encoder that a pre-training held as a part loses its prefix."""
    plain = {key: key for key in weights}
    bare = {key.removeprefix(_PREFIX): key for key in weights if key.startswith(_PREFIX)}
    return max(plain, bare, key=lambda names: sum(name in own for name in names))


def _from_authors(network: nn.Module, weights: dict[str, Any], file: Path) -> Transfer:
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
    new = tuple(sorted(set(network.state_dict()) - set(fitted)))
    moved = {ours: theirs for theirs, ours in report.fitted.items()}
    note = f"Starting from {file}, weights of {name}'s authors: {report.describe()}."
    return Transfer(file, moved, new, report.ignored, note)


def _weights_file(source: Path) -> Path:
    if source.is_dir():
        found = [source / ENCODER, source / WEIGHTS, *sorted(source.glob(f"fold_*/{WEIGHTS}"))]
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
