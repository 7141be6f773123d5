"""Tables from official checkpoint keys to ours, and the one loader that uses them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from medssm.core.errors import BadDataError, UsageError
from medssm.core.registry import Table
from medssm.networks import table_of
from medssm.networks.keymaps.checkpoint_files import read_checkpoint_file, unwrap
from medssm.networks.keymaps.pretrained import PretrainedEncoder
from medssm.networks.keymaps.rules import KeyMap, LoadReport

KEYMAPS = Table(
    "key map",
    {
        "ecg_mamba": "medssm.networks.keymaps.ecg_mamba:KEYMAP",
        "attention_mil": "medssm.networks.keymaps.bag_networks:ATTENTION_MIL",
        "clam": "medssm.networks.keymaps.bag_networks:CLAM",
        "hybrid_mamba": "medssm.networks.keymaps.hybrid_mamba:KEYMAP",
        "instance_mil": "medssm.networks.keymaps.bag_networks:INSTANCE_MIL",
        "lightm_unet": "medssm.networks.keymaps.lightm_unet:KEYMAP",
        "mamba_mil": "medssm.networks.keymaps.mamba_mil:KEYMAP",
        "mamba_mim": "medssm.networks.keymaps.mamba_mim:KEYMAP",
        "mhs_vm": "medssm.networks.keymaps.mhs_vm:KEYMAP",
        "msvm_unet": "medssm.networks.keymaps.msvm_unet:KEYMAP",
        "s4_mil": "medssm.networks.keymaps.bag_networks:S4_MIL",
        "trans_mil": "medssm.networks.keymaps.bag_networks:TRANS_MIL",
        "recurrent_varnet": "medssm.networks.keymaps.recurrent_varnet:KEYMAP",
        "vm_unet": "medssm.networks.keymaps.vm_unet:KEYMAP",
    },
    "medssm.keymaps",
)
PRETRAINED = Table(
    "pretrained encoder",
    {
        "hybrid_mamba": "medssm.networks.keymaps.hybrid_mamba:PRETRAINED",
        "mamba_mim": "medssm.networks.keymaps.mamba_mim:PRETRAINED",
        "msvm_unet": "medssm.networks.keymaps.msvm_unet:PRETRAINED",
        "vm_unet": "medssm.networks.keymaps.pretrained:VM_UNET",
    },
    "medssm.pretrained",
)

__all__ = [
    "KEYMAPS",
    "PRETRAINED",
    "KeyMap",
    "LoadReport",
    "fill_network",
    "keymap_of",
    "load_arguments",
    "load_official",
    "read_checkpoint_file",
    "to_official",
    "translate",
]

HEADS = ("head.", "deep_heads.")
"""Beginnings of our names that depend on the number of classes."""
Weights = Mapping[str, Any] | Path | str


def load_official(
    name: str, weights: Weights, *, allow_partial: bool = False, **hints: Any
) -> tuple[nn.Module, LoadReport]:
    """Build the network that official weights belong to, and fill it.

    Args:
        name: A name that is both a network and a key map.
        weights: A state dict, a checkpoint that holds one, or its file. For VM-UNet and MSVM-UNet
            also a VMamba classifier, which fills the encoder; the report names what starts fresh.
        allow_partial: Accept missing and left-over keys; the report names them.
        **hints: Arguments of the network that overrule what the shapes say, or say what leaves no
            trace in them, e.g. ``mixer={"threshold": 0.4}`` for MHS-VM. Networks over bags also
            take the words of their authors: ``type="SRMamba", rate=5, act="gelu"``.

    Returns:
        The network in evaluation mode, and what happened to every key.

    Raises:
        BadDataError: The file is no checkpoint, or a key does not fit.
        UsageError: There is no such key map, or a hint does not fit.
    """
    KEYMAPS.load(name)  # a slip in the name is told before a large file is read
    state = _state(weights)
    arguments = load_arguments(name, state, **hints)
    network: nn.Module = table_of(name).build(**{"name": name, **arguments})
    report = fill_network(name, network, state, allow_partial=allow_partial)
    return network.eval(), report


def load_arguments(name: str, weights: Weights, **hints: Any) -> dict[str, Any]:
    """The arguments of the network that official weights belong to.

    Raises:
        BadDataError: The weights are not this network's.
        UsageError: There is no such key map.
    """
    keymap: KeyMap = KEYMAPS.load(name)
    state = _state(weights)
    encoder = _encoder(name, state)
    infer = keymap.infer if encoder is None else encoder.encoder.infer
    try:
        inferred = infer(state)
        said = hints if keymap.hints is None else keymap.hints(state, hints)
        return _merged(inferred, said)
    except KeyError as error:
        raise BadDataError(f"these are no whole {name} weights: {error} is missing") from None


def fill_network(
    name: str, network: nn.Module, weights: Weights, *, allow_partial: bool = False
) -> LoadReport:
    """Fill a network that is there already, from official weights or a pretrained encoder.

    Args:
        name: What the network is called.
        network: Gets the weights.
        weights: As for `load_official`.
        allow_partial: As for `load_official`.

    Raises:
        BadDataError: The file is no checkpoint, or a key does not fit; the network is unchanged.
        UsageError: There is no such key map.
    """
    fitted, report = translate(name, network, weights)
    if not allow_partial:
        report.raise_unless_complete()
    network.load_state_dict(fitted, strict=False)
    return report


def translate(
    name: str, network: nn.Module, weights: Weights, *, new_head: bool = False
) -> tuple[dict[str, Tensor], LoadReport]:
    """Official weights under our names, for a network that keeps its own until they are loaded.

    Args:
        name: What the network is called.
        network: Says which names and shapes it has; it is left as it was.
        weights: As for `load_official`.
        new_head: Let a head of another number of classes start fresh, and heads of ours that the
            authors do not have.

    Raises:
        BadDataError: The file is no checkpoint, or a classifier that does not go with the network.
        UsageError: There is no such key map.
    """
    keymap: KeyMap = KEYMAPS.load(name)
    state = _state(weights)
    encoder = _encoder(name, state)
    if encoder is None:
        fitted, report = keymap.to_ours(state, network.state_dict(), _rank(network))
        if new_head:
            _renew_heads(keymap, report)
        return fitted, report
    encoder.encoder.infer(state)  # says so where it is a classifier of the wrong time
    return encoder.to_ours(state, network, _rank(network))


def _renew_heads(keymap: KeyMap, report: LoadReport) -> None:
    """Take what is missing of the heads as starting fresh."""
    for name in [name for name in report.missing if name.startswith(HEADS)]:
        report.missing.remove(name)
        report.fresh[name] = "a new head"
    for key in list(report.misshapen):
        if keymap.name_of(key) in report.fresh:
            report.ignored[key] = f"the head is new: {report.misshapen.pop(key)}"


def to_official(name: str, network: nn.Module) -> dict[str, Tensor]:
    """Our weights under the official names and in the official shapes.

    Raises:
        BadDataError: A weight of ours has no official name.
    """
    keymap: KeyMap = KEYMAPS.load(name)
    return keymap.to_official(network.state_dict(), _rank(network))


def keymap_of(network: nn.Module, weights: Weights) -> str:
    """The key map whose layout is nearest to some weights and to a network.

    Raises:
        UsageError: No key map knows one of the keys.
    """
    state, ours = _state(weights), network.state_dict()

    def fitting(name: str) -> int:
        encoder = _encoder(name, state)
        keymap: KeyMap = KEYMAPS.load(name) if encoder is None else encoder.encoder
        return sum(keymap.name_of(key) in ours for key in state)

    best = max(KEYMAPS, key=fitting)
    if not fitting(best):
        raise UsageError(
            f"no key map knows weights such as {next(iter(state))}; known: {', '.join(KEYMAPS)}"
        )
    return best


def _state(weights: Weights) -> dict[str, Tensor]:
    return unwrap(read_checkpoint_file(weights) if isinstance(weights, str | Path) else weights)


def _encoder(name: str, state: Mapping[str, Tensor]) -> PretrainedEncoder | None:
    """The rules for a classifier's weights, if that is what these are."""
    if name not in PRETRAINED:
        return None
    encoder: PretrainedEncoder = PRETRAINED.load(name)
    return encoder if encoder.recognises(state) else None


def _merged(inferred: Mapping[str, Any], hints: Mapping[str, Any]) -> dict[str, Any]:
    """Inferred arguments overruled by hints; a hint about the mixer names only what it changes."""
    merged = {**inferred, **hints}
    for name, hint in hints.items():
        known = inferred.get(name)
        if isinstance(hint, Mapping) and isinstance(known, Mapping):
            other = hint.get("name", known.get("name")) != known.get("name")
            merged[name] = dict(hint) if other else {**known, **hint}
    return merged


def _rank(network: nn.Module) -> int:
    """Number of spatial axes of a network."""
    divisors: tuple[int, ...] = network.divisors  # type: ignore[assignment]
    return len(divisors)
