"""What DIRECT's config.yaml says beside a checkpoint and its weights do not."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from medssm.core.errors import BadDataError
from medssm.networks.keymaps import load_official
from medssm.networks.keymaps.rules import LoadReport

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
