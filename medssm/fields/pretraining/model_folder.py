"""A pre-trained model as a folder: what describes it, its encoder for others, and opening it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import load_file
from torch import nn

import medssm
from medssm.core.errors import BadDataError
from medssm.core.files import digest, read_json, sha256, write_json, write_text
from medssm.data.volume_store import VolumeStore
from medssm.fields.pretraining.train_config import TrainConfig
from medssm.networks import PRETRAINING_NETWORKS
from medssm.runs.workspace import Workspace
from medssm.training.checkpoints import WEIGHTS, write_weights
from medssm.training.pretrained import ENCODER, ENCODER_FACTS

FIELD = "pretraining"
FOLD = "fold_0"
_PREFIX = "encoder."
_CLOSE = 0.05


@dataclass(frozen=True)
class PretrainedModel:
    """A model folder that was opened.

    Args:
        folder: Where it lies.
        content: Its model.json.
        network: With its weights, in evaluation mode.
        key: A hash of weights and description.
    """

    folder: Path
    content: Mapping[str, Any]
    network: nn.Module
    key: str


def write_model(config: TrainConfig, workspace: Workspace, store: VolumeStore) -> None:
    """Write model.json, plan.json and what the archive was used for."""
    folder = workspace.model_folder(config.run_name)
    for name in ("plan.json", "report.json", "splits.json"):
        file = workspace.preprocessed / name
        if file.is_file():
            write_json(folder / name, read_json(file))
    content = {
        "format": 1,
        "field": FIELD,
        "dataset": workspace.dataset,
        "network": plain(config.network),
        "crop": list(config.crop),
        "mask_ratio": config.mask_ratio,
        "window_hu": list(config.window_hu),
        "skip_constant": config.skip_constant,
        "seed": config.seed,
        "corpus_hash": store.corpus_hash,
        "spacing_mm": _spacing(store),
        "medssm_version": medssm.__version__,
    }
    write_json(folder / "model.json", content)


def _spacing(store: VolumeStore) -> float | None:
    """The one spacing of all volumes, mm; None where they keep their own."""
    found = np.array([each.spacing_mm for each in store.volumes.values()])
    same = np.allclose(found, found.flat[0], rtol=_CLOSE)
    return float(found.flat[0]) if same else None


def write_config(folder: Path, config: TrainConfig) -> None:
    """Write config.yaml: every value, defaults included."""
    text = yaml.safe_dump(plain(vars(config)), sort_keys=False, allow_unicode=True)
    write_text(folder / "config.yaml", text)


def write_encoder(folder: Path, network: nn.Module, config: TrainConfig) -> Path:
    """Write the encoder alone, and beside it the network that it fits, for init=FOLDER."""
    weights = {
        name: each.detach().cpu().contiguous()
        for name, each in network.state_dict().items()
        if name.startswith(_PREFIX)
    }
    write_weights(folder / ENCODER, weights)
    encoder = dict(config.network.get("encoder") or {"name": "hybrid_mamba"})
    facts = {
        "format": 1,
        "network": plain(encoder),
        "spatial_dims": len(config.crop),
        "in_channels": int(config.network.get("in_channels", 1)),
        "tensors": sorted(weights),
        "sha256": sha256(folder / ENCODER),
    }
    write_json(folder / ENCODER_FACTS, facts)
    return folder / ENCODER


def open_model(folder: Path) -> PretrainedModel:
    """Build the network of a model folder and fill it.

    Raises:
        BadDataError: It is no pre-trained model, not finished, or damaged.
    """
    content = read_json(folder / "model.json")
    if content.get("field") != FIELD:
        raise BadDataError(
            f"{folder}: a model of the field {content.get('field')!r}, expected {FIELD!r}."
        )
    file = folder / FOLD / WEIGHTS
    if not file.is_file():
        raise BadDataError(f"{file}: is not there; the training has not finished. Run it again.")
    try:
        weights = load_file(file)
    except Exception as error:
        raise BadDataError(f"{file}: not a whole safetensors file ({error}).") from error
    with torch.random.fork_rng():
        network: nn.Module = PRETRAINING_NETWORKS.build(**content["network"])
    network.load_state_dict(weights)
    return PretrainedModel(folder, content, network.eval(), digest([sha256(file), content]))


def plain(value: Any) -> Any:
    """Data classes, mappings and sequences as dicts and lists."""
    if hasattr(value, "__dataclass_fields__"):
        return plain(vars(value))
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, (list, tuple)) else value
