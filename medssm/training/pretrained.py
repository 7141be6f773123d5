"""The arguments that a pre-trained encoder asks of the network that starts from it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medssm.core.errors import UsageError
from medssm.core.files import read_json

ENCODER, ENCODER_FACTS = "encoder.safetensors", "encoder.json"
"""What a pre-training leaves in its model folder: the encoder, and the network that it fits."""


def with_pretrained(network: Mapping[str, Any], source: Path) -> dict[str, Any]:
    """A network's arguments with those of the pre-trained encoder filled in.

    Args:
        network: Name and arguments as a user chose them; what they say stays.
        source: A model folder. What is no pre-training's changes nothing.

    Raises:
        UsageError: The encoder belongs to another network, or the user said otherwise of it.
    """
    file = source / ENCODER_FACTS
    if not file.is_file():
        return dict(network)
    wanted = dict(read_json(file)["network"])
    if network.get("name") != wanted["name"]:
        raise UsageError(
            f"init={source}: holds an encoder of {wanted['name']}, found network.name="
            f"{network.get('name')!r}. Take network={wanted['name']}."
        )
    differs = [
        f"{key}={network[key]!r}, the encoder has {value!r}"
        for key, value in wanted.items()
        if network.get(key) is not None and network[key] != value
    ]
    if differs:
        raise UsageError(
            f"init={source}: network.{'; network.'.join(differs)}. Leave these out; they come from "
            "the pre-training."
        )
    return {**network, **wanted}
