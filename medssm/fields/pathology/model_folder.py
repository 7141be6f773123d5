"""A trained model as a folder: what describes it, and the networks of its folds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file

import medssm
from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import digest, read_json, sha256, write_json, write_text
from medssm.fields.pathology.bag_answer import Kind
from medssm.fields.pathology.plan_file import PLAN, Plan, read_plan, write_plan
from medssm.fields.pathology.store import Inventory, Standard, read_standard
from medssm.fields.pathology.tile_origin import TileOrigin
from medssm.networks import BAG_NETWORKS
from medssm.networks.bags import BagNetwork
from medssm.training.checkpoints import CheckpointFiles

Checkpoint = Literal["final", "best"]
STANDARD, EDGES = "standard.json", "edges.json"
_WEIGHTS = {"final": "weights.safetensors", "best": "weights_best.safetensors"}
# the folds of a model are averaged, so they must agree in these
_SHARED = ("network", "plan_digest", "order", "width", "encoder")


def model_content(
    network: Mapping[str, Any], plan: Plan, inventory: Inventory, dataset: str,
    settings: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """What model.json says: all that a prediction needs beside the weights.

    Args:
        network: Name and arguments.
        plan: The study.
        inventory: Its features.
        dataset: Its name.
        settings: ``order`` of the tiles, ``loss`` and where the ``inventory`` lies.
    """
    return {
        "format": 1,
        "field": "pathology",
        "dataset": dataset,
        "network": plain(network),
        "task": plan.task,
        "unit": plan.unit,
        "classes": list(plan.classes),
        "width": inventory.width,
        "encoder": inventory.encoder,
        "order_of_files": list(inventory.orders),
        "recipe": dict(inventory.recipe),
        "plan_digest": plan.digest(),
        **settings,
        "medssm_version": medssm.__version__,
    }


def write_model(folder: Path, fold: str, content: Mapping[str, Any], plan: Plan) -> None:
    """Write model.json and plan.json.

    Raises:
        UsageError: Another fold in the folder was trained with other settings.
    """
    file = folder / "model.json"
    if file.is_file():
        before = read_json(file)
        differs = [name for name in _SHARED if before.get(name) != content[name]]
        others = [
            path.name
            for path in sorted(folder.glob("fold_*"))
            if path.name != fold and CheckpointFiles(path).last() is not None
        ]
        if differs and others:
            raise UsageError(
                f"{folder}: {', '.join(others)} was trained with another {' and '.join(differs)}; "
                "the folds of a model folder must agree. Give this run its own name with run=NAME."
            )
    write_plan(folder / PLAN, plan)
    write_json(file, content)


def write_config(folder: Path, config: Any) -> None:
    """Write config.yaml: every value of a typed configuration, defaults included."""
    text = yaml.safe_dump(plain(vars(config)), sort_keys=False, allow_unicode=True)
    write_text(folder / "config.yaml", text)


def plain(value: Any) -> Any:
    """Data classes, mappings and sequences as dicts and lists."""
    if hasattr(value, "__dataclass_fields__"):
        return plain(vars(value))
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, (list, tuple)) else value


@dataclass(frozen=True)
class FoldModel:
    """One fold's network, ready to answer.

    Args:
        fold: Its number.
        network: In evaluation mode.
        standard: Applied to features, if any.
    """

    fold: int
    network: BagNetwork
    standard: Standard | None


@dataclass(frozen=True)
class TrainedModel:
    """What a model folder says.

    Args:
        folder: The folder.
        content: Its model.json.
        plan: Its plan.json.
        weights: Weights file of every fold.
    """

    folder: Path
    content: Mapping[str, Any]
    plan: Plan
    weights: Mapping[int, Path]

    @property
    def cox(self) -> bool:
        """Whether the output is one relative risk."""
        return self.content.get("loss") == "cox"

    @property
    def kind(self) -> Kind:
        """What the logits mean."""
        if self.cox:
            return "risk"
        return "survival" if self.content["task"] == "survival" else "classification"

    @property
    def origin(self) -> TileOrigin:
        """Where the tiles of training came from."""
        content = self.content
        orders = tuple(map(str, content["order_of_files"]))
        encoder = content["encoder"] or None
        return TileOrigin(content["network"]["name"], str(content["order"]), orders, encoder)

    def digest(self, folds: Sequence[int]) -> str:
        """Hash of everything that decides what the model answers."""
        parts = {str(fold): sha256(self.weights[fold]) for fold in folds}
        told = {key: self.content[key] for key in ("network", "order", "width", "loss")}
        return digest([parts, told])

    def network(self, fold: int) -> FoldModel:
        """Build the network of a fold.

        Raises:
            BadDataError: A weights file is damaged or belongs to another network.
        """
        network: BagNetwork = BAG_NETWORKS.build(**self.content["network"])
        file = self.weights[fold]
        try:
            network.load_state_dict(load_file(file))
        except (SafetensorError, OSError, RuntimeError) as error:
            raise BadDataError(
                f"{file}: no weights of the network that model.json names "
                f"({str(error).splitlines()[0]}). Restore the file, or leave this fold out with "
                "folds=[...]."
            ) from error
        return FoldModel(fold, network.eval(), read_standard(file.parent / STANDARD))


def open_model(
    folder: Path, folds: Sequence[int] | None = None, checkpoint: Checkpoint = "final"
) -> TrainedModel:
    """Read a model folder.

    Args:
        folder: The folder that `medssm train` names at its end.
        folds: Folds to use; None takes all that have weights.
        checkpoint: The weights of the end of training, or those that validated best.

    Raises:
        BadDataError: It is no model folder, or no fold has weights.
        UsageError: A fold that was asked for has none.
    """
    folder = Path(folder)
    if not (folder / "model.json").is_file():
        raise BadDataError(
            f"{folder}: no model.json in it, so it is no model folder. Give the folder that "
            "`medssm train` names in its last line (it holds model.json and fold_0)."
        )
    name = _WEIGHTS[checkpoint]
    found = {
        int(path.name.removeprefix("fold_")): path / name
        for path in folder.glob("fold_*")
        if (path / name).is_file()
    }
    wanted = sorted(found) if folds is None else list(folds)
    missing = [str(fold) for fold in wanted if fold not in found]
    if missing or not wanted:
        have = ", ".join(map(str, sorted(found))) or "none"
        raise UsageError(f"{folder}: fold {', '.join(missing) or '0'} has no {name}; have: {have}.")
    return TrainedModel(
        folder,
        read_json(folder / "model.json"),
        read_plan(folder / PLAN),
        {fold: found[fold] for fold in wanted},
    )
