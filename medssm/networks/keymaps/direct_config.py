"""What DIRECT's config.yaml says beside a checkpoint and its weights do not."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml
from torch import nn

from medssm.core.errors import BadDataError, UsageError
from medssm.layers.conv_gru import ConvGRU, NormalisedUnit
from medssm.networks.keymaps import load_official, to_official
from medssm.networks.keymaps.recurrent_varnet import SENSITIVITY
from medssm.networks.keymaps.rules import LoadReport
from medssm.networks.recurrent_varnet import RecurrentVarNet

NETWORK = "RecurrentVarNet"
_STARTS = {"sense": "sense", "zero_filled": "zero_filled", "input_image": "image"}
# DIRECT's own defaults, where a file leaves a key out
_DEFAULT_STEPS, _DEFAULT_DILATIONS = 15, (1, 1, 2, 4)


def load_direct(weights: Path | str, config: Path | str) -> tuple[nn.Module, LoadReport]:
    """A network of DIRECT's from its checkpoint and its config.yaml.

    Args:
        weights: model_148500.pt or the like; its sensitivity U-Net is taken along.
        config: The YAML of the same training.

    Returns:
        The network in evaluation mode, and what happened to every key.

    Raises:
        BadDataError: A file cannot be read, is another network's, or they do not belong together.
    """
    return load_official("recurrent_varnet", weights, **hints_of(read_config(config)))


def read_config(file: Path | str) -> Mapping[str, Any]:
    """The YAML as plain data.

    Raises:
        BadDataError: It is missing or no YAML mapping.
    """
    try:
        content = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadDataError(f"{file}: no configuration of DIRECT can be read ({error}).") from None
    if not isinstance(content, Mapping):
        raise BadDataError(f"{file}: holds no keys with values. Expected DIRECT's config.yaml.")
    return content


def hints_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `RecurrentVarNet` that leave no trace in weights.

    Raises:
        BadDataError: The configuration is another network's, or has none.
    """
    model = config.get("model")
    if not isinstance(model, Mapping):
        raise BadDataError(f"no key `model` in the configuration; found {', '.join(config)}.")
    name = str(model.get("model_name", NETWORK))
    if NETWORK.lower() not in name.replace("_", "").lower():
        raise BadDataError(f"the configuration is of {name!r}. Expected {NETWORK}.")
    physics = config.get("physics") or {}
    operators = [str(physics.get(f"{way}_operator", "")) for way in ("forward", "backward")]
    hints: dict[str, Any] = {
        "centred": not any(re.search(r"centered\s*=\s*False", each) for each in operators),
        "num_steps": int(model.get("num_steps", _DEFAULT_STEPS)),
        "shared": model.get("no_parameter_sharing", True) is False,
    }
    if model.get("learned_initializer", True):
        start = str(model.get("initializer_initialization", "sense"))
        if start not in _STARTS:
            raise BadDataError(
                f"initializer_initialization: {start!r}. Expected one of {', '.join(_STARTS)}."
            )
        hints["initializer"] = _STARTS[start]
        hints["initializer_dilations"] = list(
            model.get("initializer_dilations", _DEFAULT_DILATIONS)
        )
    return hints


def config_of(network: RecurrentVarNet) -> dict[str, Any]:
    """What DIRECT's config.yaml says of a network: its physics, its model and the U-Net beside it.

    Raises:
        UsageError: The network has a part that DIRECT's has not.
    """
    unit: Any = network.blocks[0].unit
    normalised = isinstance(unit, NormalisedUnit)
    inner = unit.unit if normalised else unit
    _refuse_ours(inner)
    centred = f"(centered={network.centred})"
    model: dict[str, Any] = {
        "model_name": "recurrentvarnet.recurrentvarnet.RecurrentVarNet",
        "num_steps": network.num_steps,
        "recurrent_hidden_channels": inner.gates[0].reset[-1].out_channels,
        "recurrent_num_layers": inner.num_layers,
        "no_parameter_sharing": not network.shared,
        "normalized": normalised,
        "learned_initializer": network.initializer is not None,
    }
    if network.initializer is not None:
        convs: list[Any] = [each[-1] for each in cast(Any, network.initializer.convs)]
        model |= {
            "initializer_initialization": _back(network.initialises_from),
            "initializer_channels": [each.out_channels for each in convs],
            "initializer_dilations": [each.dilation[0] for each in convs],
            "initializer_multiscale": network.initializer.multiscale,
        }
    config: dict[str, Any] = {
        "physics": {
            "forward_operator": f"fft2{centred}",
            "backward_operator": f"ifft2{centred}",
        },
        "model": model,
    }
    if network.refinement is not None:
        first: Any = network.refinement.down[0]
        config["additional_models"] = {"sensitivity_model": {
            "model_name": "unet.unet_2d.UnetModel2d",
            "in_channels": 2,
            "out_channels": 2,
            "num_filters": first.first.out_channels,
            "num_pool_layers": len(network.refinement.down),
            "dropout_probability": 0.0,
        }}  # fmt: skip
    return config


def checkpoint_of(network: RecurrentVarNet) -> dict[str, Any]:
    """The weights as DIRECT's checkpoints hold them: `model`, and `sensitivity_model` beside it."""
    named = to_official("recurrent_varnet", network)
    beside = {key: named.pop(key) for key in list(named) if key.startswith(SENSITIVITY)}
    found: dict[str, Any] = {"model": named}
    if beside:
        found["sensitivity_model"] = {
            key.removeprefix(SENSITIVITY): each for key, each in beside.items()
        }
    return found


def _back(start: str) -> str:
    return next(theirs for theirs, ours in _STARTS.items() if ours == start)


def _refuse_ours(unit: nn.Module) -> None:
    told = "DIRECT knows the published unit alone (convgru as it stands in its paper)."
    if not isinstance(unit, ConvGRU):
        raise UsageError(f"the network's recurrent unit is {type(unit).__name__}; {told}")
    gate: Any = unit.gates[0]
    first: Any = unit.convs[0]
    published = len(gate.reset) == 1 and gate.reset[-1].kernel_size[0] == 1
    if not published or unit.dense or len(first) != 2:
        raise UsageError(f"the network's unit has arguments of its own; {told}")
