"""The authors' checkpoint of a network as a folder of ours: to predict with, or to start from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

import medssm
from medssm.core.files import write_json
from medssm.core.inert import file_name
from medssm.core.signature import parameters_of
from medssm.fields.segmentation.plan_file import read_plan
from medssm.layers.mixers import MIXERS
from medssm.networks import NETWORKS
from medssm.networks.keymaps import (
    KEYMAPS,
    LoadReport,
    load_arguments,
    load_official,
    read_checkpoint_file,
)
from medssm.training.checkpoints import WEIGHTS, write_weights


@dataclass(frozen=True)
class Imported:
    """What an import made.

    Args:
        folder: Where it was written.
        network: Name and arguments of the network.
        report: What happened to every key.
        parameters: Learned numbers of the network.
        predicts: Whether the folder is a model folder; else it holds weights to start from.
    """

    folder: Path
    network: Mapping[str, Any]
    report: LoadReport
    parameters: int
    predicts: bool


def import_checkpoint(
    name: str,
    file: Path,
    folder: Path,
    hints: Mapping[str, Any] | None = None,
    *,
    trust: bool = False,
) -> Imported:
    """Bring official weights under our names.

    A checkpoint of nnU-Net's trainer tells its plan and its data set, so that a whole model folder
    comes of it. Of any other the network and its weights are written: ``train ... init=FOLDER``.

    Args:
        name: The network.
        file: The checkpoint.
        folder: Where to write.
        hints: Arguments of the network that leave no trace in weights.
        trust: Whether a file that holds more than tensors is read all the same, in a process of
            its own that admits arrays and containers only.

    Raises:
        BadDataError: The file is no checkpoint, or a key does not fit.
        UsageError: There is no such network, or a hint does not fit.
    """
    KEYMAPS.load(name)  # a slip in the name is told before a large file is read
    content = read_checkpoint_file(file, trust=trust)
    arguments = load_arguments(name, content, **(hints or {}))
    network, report = load_official(name, content, **(hints or {}))
    facts = {"name": name, **_chosen(name, arguments)}
    count = sum(each.numel() for each in network.parameters())
    init = content.get("init_args")
    predicts = isinstance(init, Mapping) and {"plans", "configuration", "dataset_json"} <= set(init)
    if predicts:
        _write_model(folder, facts, content, network)
    else:
        write_json(folder / "network.json", facts)
        write_weights(folder / WEIGHTS, network.state_dict())
    return Imported(folder, facts, report, count, predicts)


def _chosen(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that differ from a network's defaults."""
    plain = {key: _plain(value) for key, value in arguments.items()}
    if plain.get("decoder_mixer") == plain.get("mixer"):
        plain.pop("decoder_mixer", None)
    return _unlike_defaults(NETWORKS.load(name), plain)


def _plain(value: Any) -> Any:
    """A mixer by what differs from its own defaults, anything else as it is."""
    if not isinstance(value, Mapping):
        return value
    mixer = MIXERS.load(value["name"])
    return {"name": value["name"], **_unlike_defaults(mixer, value)}


def _unlike_defaults(maker: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    defaults = {key: each.default for key, each in parameters_of(maker).items()}
    return {
        key: value
        for key, value in arguments.items()
        if key in defaults and _comparable(value) != _comparable(defaults[key])
    }


def _comparable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return tuple(value) if isinstance(value, list) else value


def _write_model(
    folder: Path, facts: Mapping[str, Any], content: Mapping[str, Any], network: nn.Module
) -> None:
    """Write the model folder that nnU-Net's own facts make."""
    init = content["init_args"]
    write_json(folder / "plans.json", init["plans"])
    write_json(folder / "dataset.json", init["dataset_json"])
    plan = read_plan(folder / "plans.json", init["configuration"])
    fold = file_name(f"fold_{init.get('fold', 'all')}", "the fold", "the checkpoint")
    write_weights(folder / fold / WEIGHTS, network.state_dict())
    write_json(
        folder / "model.json",
        {
            "format": 1,
            "field": "segmentation",
            "dataset": str(init["plans"].get("dataset_name", "unknown")),
            "network": facts,
            "configuration": plan.configuration,
            "plans_name": plan.plans_name,
            "patch_size": list(plan.patch_size),
            "mirror_axes": list(content.get("inference_allowed_mirroring_axes") or ()),
            "medssm_version": medssm.__version__,
        },
    )
