"""A model folder of reconstruction: what training writes and prediction opens."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

import medssm
from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import digest, read_json, sha256, write_json, write_text
from medssm.core.signature import make
from medssm.fields.reconstruction.preparation import Preparation
from medssm.fields.reconstruction.train_config import SamplingConfig, TrainConfig
from medssm.networks import RECONSTRUCTION_NETWORKS
from medssm.runs.workspace import Workspace

Checkpoint = Literal["final", "best"]
WEIGHTS = {"final": "weights.safetensors", "best": "weights_best.safetensors"}


@dataclass(frozen=True)
class ReconModel:
    """A trained model.

    Args:
        folder: Its folder.
        content: Its model.json.
        weights: The file that is used.
        preparation: How its slices are prepared.
        sampling: Which masks it learned with.
    """

    folder: Path
    content: Mapping[str, Any]
    weights: Path
    preparation: Preparation
    sampling: SamplingConfig

    def network(self) -> nn.Module:
        """Build and fill the network.

        Raises:
            BadDataError: The weights are damaged or of another network.
        """
        network: nn.Module = RECONSTRUCTION_NETWORKS.build(**self.content["network"])
        try:
            network.load_state_dict(load_file(self.weights))
        except (SafetensorError, OSError, RuntimeError) as error:
            raise BadDataError(
                f"{self.weights}: the weights cannot be used "
                f"({str(error).splitlines()[0]}). They and model.json must be of one training; "
                "restore the file or train again."
            ) from error
        return network.eval()

    def digest(self) -> str:
        """Hash of everything that decides what the model answers."""
        parts = [dict(self.content["network"]), asdict(self.preparation)]
        return digest([sha256(self.weights), *parts])


def write_model(
    folder: Path, config: TrainConfig, preparation: Preparation, supervision: str,
    where: tuple[Workspace, int],
) -> None:  # fmt: skip
    """Write model.json and the plan beside it.

    Args:
        folder: Of the model.
        config: Of the training.
        preparation: Of slices.
        supervision: Once "auto" is settled.
        where: The data set's places, and how many neighbouring slices the network sees at once.
    """
    workspace, slices = where
    write_json(
        folder / "model.json",
        {
            "format": 1,
            "field": "reconstruction",
            "dataset": workspace.dataset,
            "raw_folder": str(workspace.raw_folder.absolute()),
            "network": plain(config.network),
            "preparation": asdict(preparation),
            "sampling": asdict(config.sampling),
            "supervision": supervision,
            "slices_at_once": slices,
            "medssm_version": medssm.__version__,
        },
    )
    for name in ("plan.json", "splits.json"):
        if (workspace.preprocessed / name).is_file():
            write_json(folder / name, read_json(workspace.preprocessed / name))


def write_config(folder: Path, config: TrainConfig) -> None:
    """Write config.yaml: every value, defaults included."""
    text = yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True)
    write_text(folder / "config.yaml", text)


def plain(value: Any) -> Any:
    """Data classes, mappings and sequences as dicts and lists."""
    if is_dataclass(value):
        return plain(vars(value))
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def open_model(
    folder: Path, fold: int | None = None, checkpoint: Checkpoint = "final"
) -> ReconModel:
    """Read a model folder.

    Args:
        folder: What `medssm train` names in its last line.
        fold: Which fold's weights; the lowest that has some when not given.
        checkpoint: Weights of the end, or those that validated best.

    Raises:
        BadDataError: It is no model folder of reconstruction.
        UsageError: The fold has no such weights.
    """
    folder = Path(folder)
    if not (folder / "model.json").is_file():
        raise BadDataError(
            f"{folder}: no model.json in it, so it is no model folder. Give the folder that "
            "`medssm train` names in its last line."
        )
    content = read_json(folder / "model.json")
    if content.get("field") != "reconstruction":
        raise BadDataError(
            f"{folder}: a model of the field {content.get('field')!r}, expected reconstruction."
        )
    name = WEIGHTS[checkpoint]
    pattern = "fold_*" if fold is None else f"fold_{fold}"
    found = sorted(path / name for path in folder.glob(pattern) if (path / name).is_file())
    if not found:
        ended = checkpoint == "best" and any(
            (path / WEIGHTS["final"]).is_file() for path in folder.glob(pattern)
        )
        remedy = "Train it first, or take another fold or checkpoint."
        if ended:
            remedy = (
                "Its training ended before the first epoch did, so nothing was chosen: take "
                "checkpoint=final, or train longer or with fewer trainer.steps_per_epoch."
            )
        raise UsageError(f"{folder}: {pattern} has no {name}. {remedy}")
    return ReconModel(
        folder,
        content,
        found[0],
        make(Preparation, content["preparation"], "preparation"),
        make(SamplingConfig, content["sampling"], "sampling"),
    )
